// A region of functions that may use an instruction set which the rest of the program may not:
// inline functions of headers are shared with files for other CPUs, so that only what lies within
// the region, and in an anonymous namespace, is compiled for it. An emulated build
// (scripts/test_kernels) has the intrinsics as plain C++ and no such regions.
#pragma once

// What regions use of other headers, so that none of it is compiled within one.
#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>

#include "../fixed_point.h"
#include "code_lookup.h"
#include "kernels.h"
#include "planes.h"
#include "portable.h"

namespace bitlog2::runtime {

#if defined(BITLOG2_EMULATED)
inline constexpr bool kEmulated = true;
#else
inline constexpr bool kEmulated = false;
#endif

}  // namespace bitlog2::runtime

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
