# The settings that Arm's toolchain files share.
set(CMAKE_SYSTEM_NAME Generic)
set(CMAKE_SYSTEM_PROCESSOR arm)
set(FIRMWARE_PROCESSOR cortex_m)
set(CMAKE_C_COMPILER arm-none-eabi-gcc)
set(CMAKE_CXX_COMPILER arm-none-eabi-g++)
include(${CMAKE_CURRENT_LIST_DIR}/bare.cmake)
