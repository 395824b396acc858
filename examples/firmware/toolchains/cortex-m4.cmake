# Arm Cortex-M4 without its FPU: also what runs on an M3's successor in any product, M7 and M33
# without FPU included. GCC of the package gcc-arm-none-eabi.
set(FIRMWARE_BOARD mps2-an386)
set(FIRMWARE_CPU_FLAGS -mcpu=cortex-m4 -mthumb -mfloat-abi=soft)
include(${CMAKE_CURRENT_LIST_DIR}/arm.cmake)
