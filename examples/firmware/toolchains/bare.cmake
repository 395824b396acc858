# The settings that all toolchain files share: there is no operating system and no C library.
set(CMAKE_TRY_COMPILE_TARGET_TYPE STATIC_LIBRARY)  # a test program would not link
list(JOIN FIRMWARE_CPU_FLAGS " " CMAKE_C_FLAGS_INIT)
list(JOIN FIRMWARE_CXX_FLAGS " " CMAKE_CXX_FLAGS_INIT)
string(PREPEND CMAKE_CXX_FLAGS_INIT "${CMAKE_C_FLAGS_INIT} ")
# CMake's default, -O3, needs three times as much flash; -Os needs up to a tenth more time.
foreach(language C CXX)
  set(CMAKE_${language}_FLAGS_RELEASE "-O2 -DNDEBUG" CACHE STRING "Flags of release builds")
endforeach()
