# Arm Cortex-M55 with integer Helium (MVE); +nofp excludes floats. Vectors use the FPU's registers,
# so GCC needs the hard ABI.
set(FIRMWARE_BOARD mps3-an547)
set(FIRMWARE_CPU_FLAGS -mcpu=cortex-m55+nofp -mthumb -mfloat-abi=hard)
include(${CMAKE_CURRENT_LIST_DIR}/arm.cmake)
