// How rescaled products of 64 bits become 32, for tables that have wide registers.
#pragma once

#include "kernels.h"

namespace bitlog2::runtime {

/// Which bits of a product count.
enum class Narrowing {
  upper,  // a shift of 32 or more: they are in the upper half
  fits,   // a shorter one, behind which they are known to be an int32
  wide,   // a shorter one, behind which there may be more, so that 64 bits are clamped
};

/// Calls use.operator()<HasZeros, Narrowing>(). Inlined, as all that is shared with files for other
/// CPUs.
template <class Use>
[[gnu::always_inline]] inline void choose_narrowing(const Rescale& rescale, const Use& use) {
  const bool has_zeros = rescale.zeros != nullptr;
  if (rescale.shift >= 32) {
    has_zeros ? use.template operator()<true, Narrowing::upper>()
              : use.template operator()<false, Narrowing::upper>();
  } else if (rescale.fits) {
    has_zeros ? use.template operator()<true, Narrowing::fits>()
              : use.template operator()<false, Narrowing::fits>();
  } else {
    has_zeros ? use.template operator()<true, Narrowing::wide>()
              : use.template operator()<false, Narrowing::wide>();
  }
}

}  // namespace bitlog2::runtime
