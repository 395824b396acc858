# Arm Cortex-M4 without its FPU. Its programs also run on a Cortex-M7, and on a Cortex-M33 with the
# DSP extension. The compiler is GCC of the package gcc-arm-none-eabi.
set(FIRMWARE_BOARD mps2-an386)
set(FIRMWARE_CPU_FLAGS -mcpu=cortex-m4 -mthumb -mfloat-abi=soft)
include(${CMAKE_CURRENT_LIST_DIR}/arm.cmake)
