// The headers that a file of kernels includes before its target region, so that their functions are
// not compiled within it.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>

#include "../fixed_point.h"
#include "code_lookup.h"
#include "kernels.h"
#include "planes.h"
#include "portable.h"
#include "target_pragmas.h"

namespace bitlog2::runtime {

#if defined(BITLOG2_EMULATED)
inline constexpr bool kEmulated = true;
#else
inline constexpr bool kEmulated = false;
#endif

}  // namespace bitlog2::runtime
