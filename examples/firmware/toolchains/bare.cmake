# What the toolchain files share: no system and no library below the program.
set(CMAKE_TRY_COMPILE_TARGET_TYPE STATIC_LIBRARY)  # a test program would not link
list(JOIN FIRMWARE_CPU_FLAGS " " CMAKE_C_FLAGS_INIT)
list(JOIN FIRMWARE_CXX_FLAGS " " CMAKE_CXX_FLAGS_INIT)
string(PREPEND CMAKE_CXX_FLAGS_INIT "${CMAKE_C_FLAGS_INIT} ")
# -O2 takes a third more flash than -Os, and up to a tenth less time.
set(CMAKE_C_FLAGS_RELEASE_INIT "-O2 -DNDEBUG")
set(CMAKE_CXX_FLAGS_RELEASE_INIT "-O2 -DNDEBUG")
