# 32-bit RISC-V with multiplication and compressed instructions, without floats. The compiler is GCC
# of the package gcc-riscv64-unknown-elf.
set(CMAKE_SYSTEM_NAME Generic)
set(CMAKE_SYSTEM_PROCESSOR riscv32)
set(FIRMWARE_BOARD riscv-virt)
set(FIRMWARE_PROCESSOR riscv32)
set(FIRMWARE_CPU_FLAGS -march=rv32imc -mabi=ilp32)
set(CMAKE_C_COMPILER riscv64-unknown-elf-gcc)
set(CMAKE_CXX_COMPILER riscv64-unknown-elf-g++)

# Debian's package has no C++ headers. The few that the runtime includes are the same for every
# target, so those for Arm (libstdc++-arm-none-eabi-newlib) are used.
execute_process(
  COMMAND ${CMAKE_CXX_COMPILER} ${FIRMWARE_CPU_FLAGS} -std=c++20 -ffreestanding -fsyntax-only
          -include span -x c++ /dev/null
  RESULT_VARIABLE has_no_headers OUTPUT_QUIET ERROR_QUIET)
set(FIRMWARE_CXX_FLAGS)
if(has_no_headers)
  execute_process(
    COMMAND arm-none-eabi-g++ -std=c++20 -ffreestanding -M -include span -x c++ /dev/null
    OUTPUT_VARIABLE included)
  foreach(header span bits/c[+][+]config.h)
    string(REGEX MATCH "[^ ]*/${header}" path "${included}")
    string(REGEX REPLACE "/${header}$" "" folder "${path}")
    list(APPEND FIRMWARE_CXX_FLAGS -isystem ${folder})
  endforeach()
endif()
include(${CMAKE_CURRENT_LIST_DIR}/bare.cmake)
