# What the toolchain files share: no system and no library below the program.
set(CMAKE_TRY_COMPILE_TARGET_TYPE STATIC_LIBRARY)  # a test program would not link
list(JOIN FIRMWARE_CPU_FLAGS " " CMAKE_C_FLAGS_INIT)
list(JOIN FIRMWARE_CXX_FLAGS " " CMAKE_CXX_FLAGS_INIT)
string(PREPEND CMAKE_CXX_FLAGS_INIT "${CMAKE_C_FLAGS_INIT} ")
# CMake's own -O3 takes three times as much flash, -Os up to a tenth more time.
foreach(language C CXX)
  set(CMAKE_${language}_FLAGS_RELEASE "-O2 -DNDEBUG" CACHE STRING "Flags of release builds")
endforeach()
