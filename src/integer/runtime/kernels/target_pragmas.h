// The beginning and the end of a region of functions that may use an instruction set which the rest
// of the program may not. Inline functions of headers are shared with files for other CPUs. So only
// functions within the region, and in an anonymous namespace, are compiled for the instruction set.
// An emulated build (scripts/test_kernels) replaces the intrinsics by plain C++ and has no such
// regions.
#pragma once

// NOLINTBEGIN(cppcoreguidelines-macro-usage): pragmas have no other way
#define BITLOG2_PRAGMA(text) _Pragma(#text)
#if defined(BITLOG2_EMULATED)
#define BITLOG2_BEGIN_TARGET(isa)
#define BITLOG2_END_TARGET
#elif defined(__clang__)
#define BITLOG2_BEGIN_TARGET(isa) \
  BITLOG2_PRAGMA(clang attribute push(__attribute__((target(isa))), apply_to = function))
#define BITLOG2_END_TARGET BITLOG2_PRAGMA(clang attribute pop)
#else
#define BITLOG2_BEGIN_TARGET(isa) BITLOG2_PRAGMA(GCC push_options) BITLOG2_PRAGMA(GCC target(isa))
#define BITLOG2_END_TARGET BITLOG2_PRAGMA(GCC pop_options)
#endif
// NOLINTEND(cppcoreguidelines-macro-usage)
