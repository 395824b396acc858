// Requantization of integer sums.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>

#include "../kernels.h"
#include "../portable.h"
#include "lanes.h"

namespace bitlog2::runtime {
namespace {

/// Which bits of a 64-bit product are needed, and whether they must be clamped.
enum class Narrowing {
  upper,  // a shift of 32 or more: they are in the upper half
  fits,   // a shorter shift, after which the value is known to be an int32
  wide,   // a shorter shift, after which the value may be larger and is clamped in 64 bits
};

/// The factors of kValues channels from c on.
struct RescaleLanes {
  RescaleLanes(const Rescale& rescale, std::size_t c)
      : zeros(rescale.zeros != nullptr ? I32::load(rescale.zeros + c) : I32::all(0)),
        constants(I32::load(rescale.constants + c)),
        multipliers(I32::load(rescale.multipliers + c)),
        offsets(I64::load(rescale.offsets + c)) {}

  I32 zeros;
  I32 constants;
  Factor multipliers;
  I64 offsets;
};

/// Rescales kValues sums at a time.
template <bool HasZeros, Narrowing How>
class Rescaling {
 public:
  explicit Rescaling(const Rescale& rescale)
      : low_(I32::all(rescale.low)),
        high_(I32::all(rescale.high)),
        short_shift_(rescale.shift & 31),
        upper_shift_(rescale.shift & 31),
        clamping_shift_(rescale.shift, rescale.low, rescale.high) {}

  static constexpr bool kMayBeAnEnd = How != Narrowing::fits;  // of int32

  /// The values of kValues sums of row r, clamped only where they would not be int32 otherwise.
  I32 as_int32(const RescaleLanes& lanes, const std::int32_t* sums, const Sums& all,
               std::size_t r) const {
    I32 sum = I32::load(sums) + lanes.constants;
    if constexpr (HasZeros) {
      sum = sum - lanes.zeros * I32::all(all.row_sums[r]);
    }
    const I64 product = I64::product(sum, lanes.multipliers) + lanes.offsets;
    if constexpr (How == Narrowing::upper) {
      return product.upper_halves().shift_right_signed(upper_shift_);
    } else if constexpr (How == Narrowing::fits) {
      return short_shift_(product);
    } else {
      return clamping_shift_(product);
    }
  }

  /// The clamped value of a result of as_int32().
  I32 clamped(I32 value) const {
    return How == Narrowing::wide ? value : value.max(low_).min(high_);
  }

 private:
  I32 low_;
  I32 high_;
  NarrowingShift short_shift_;
  Shift upper_shift_;
  ClampingShift clamping_shift_;
};

/// A Rescaling that chooses for every register: slower by two branches, but one loop instead of
/// six.
class AnyRescaling {
 public:
  explicit AnyRescaling(const Rescale& rescale)
      : low_(I32::all(rescale.low)),
        high_(I32::all(rescale.high)),
        clamping_shift_(rescale.shift, rescale.low, rescale.high),
        upper_shift_(rescale.shift & 31),
        has_zeros_(rescale.zeros != nullptr),
        is_upper_(rescale.shift >= 32) {}

  static constexpr bool kMayBeAnEnd = true;

  I32 as_int32(const RescaleLanes& lanes, const std::int32_t* sums, const Sums& all,
               std::size_t r) const {
    I32 sum = I32::load(sums) + lanes.constants;
    if (has_zeros_) {
      sum = sum - lanes.zeros * I32::all(all.row_sums[r]);
    }
    const I64 product = I64::product(sum, lanes.multipliers) + lanes.offsets;
    return is_upper_ ? product.upper_halves().shift_right_signed(upper_shift_)
                     : clamping_shift_(product);
  }

  I32 clamped(I32 value) const { return value.max(low_).min(high_); }

 private:
  I32 low_;
  I32 high_;
  ClampingShift clamping_shift_;
  Shift upper_shift_;
  bool has_zeros_;
  bool is_upper_;
};

template <bool HasZeros, class Use>
[[gnu::always_inline]] inline void choose_narrowing(const Rescale& rescale, const Use& use) {
  if (rescale.shift >= 32) {
    use(Rescaling<HasZeros, Narrowing::upper>(rescale));
  } else if (rescale.fits) {
    use(Rescaling<HasZeros, Narrowing::fits>(rescale));
  } else {
    use(Rescaling<HasZeros, Narrowing::wide>(rescale));
  }
}

/// Calls `use` with the Rescaling for these factors.
template <class Use>
[[gnu::always_inline]] inline void choose_rescaling(const Rescale& rescale, const Use& use) {
  if constexpr (kCodeIsSmall) {
    use(AnyRescaling(rescale));
  } else {
    rescale.zeros != nullptr ? choose_narrowing<true>(rescale, use)
                             : choose_narrowing<false>(rescale, use);
  }
}

/// Calls use(way, r, c, values) for every kValues values of every row; they are not yet clamped.
template <class Use>
[[gnu::always_inline]] inline void rescale_and(const Rescale& how, const Sums& sums,
                                               const Use& use) {
  choose_rescaling(how, [&](const auto& way) {
    for (std::size_t c = 0; c < sums.channels; c += kValues) {
      const RescaleLanes lanes(how, c);
      for (std::size_t r = 0; r < sums.rows; ++r) {
        use(way, r, c, way.as_int32(lanes, sums.values + r * sums.stride + c, sums, r));
      }
    }
  });
}

inline void rescale(const Rescale& how, const Sums& sums) {
  const bool clamps = how.low != std::numeric_limits<std::int32_t>::min() ||
                      how.high != std::numeric_limits<std::int32_t>::max();
  rescale_and(how, sums, [&](const auto& way, std::size_t r, std::size_t c, I32 values) {
    (clamps ? way.clamped(values) : values).store(sums.values + r * sums.stride + c);
  });
}

inline std::uint64_t rescale_and_add(const Rescale& how, const Sums& sums, std::int32_t* totals,
                                     std::size_t stride) {
  std::uint64_t saturations = 0;
  const auto add = [&]<class Way>(const Way&, std::int32_t* to, I32 value, std::size_t count,
                                  const auto& which) {
    const I32 total = which.load_from(to);
    const I32 sum = total + value;
    // Negative where both have one sign and the sum the other, or the value is an end.
    I32 cut = sum.differs_from_both(value, total);
    if constexpr (Way::kMayBeAnEnd) {
      cut = cut | ((value ^ value.signs()) + I32::all(1));
    }
    if (which.keep(cut).any_negative()) [[unlikely]] {
      std::int32_t values[kValues];
      value.store(values);
      saturations += portable::add({values, 0, nullptr, 1, count}, to, 0);
    } else {
      which.store_to(to, sum);
    }
  };
  rescale_and(how, sums, [&](const auto& way, std::size_t r, std::size_t c, I32 value) {
    std::int32_t* to = totals + r * stride + c;
    const std::size_t left = sums.channels - c;
    if (left >= kValues) [[likely]] {
      add(way, to, value, kValues, AllLanes());
    } else {
      add(way, to, value, left, FirstLanes(left));
    }
  });
  return saturations;
}

}  // namespace
}  // namespace bitlog2::runtime
