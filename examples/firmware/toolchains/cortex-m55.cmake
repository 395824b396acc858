# Arm Cortex-M55 with Helium (MVE) of integers. No float: +nofp. Vectors share the FPU's registers,
# which is why GCC wants the hard ABI.
set(FIRMWARE_BOARD mps3-an547)
set(FIRMWARE_CPU_FLAGS -mcpu=cortex-m55+nofp -mthumb -mfloat-abi=hard)
include(${CMAKE_CURRENT_LIST_DIR}/arm.cmake)
