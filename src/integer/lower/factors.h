// Real factors and offsets of a layer as integers with a common number of fraction bits.
// Everything here refuses a number that integers cannot hold; nothing is cut off silently.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "bitlog2/error.h"

namespace bitlog2::integer {

/// The Error for numbers that are too large; `what` says which ones of the layer, as in "its bias
/// is".
Error too_large(const std::string& layer, std::string_view what);

/// `value`, rounded. Throws Error if its magnitude is above `limit`.
std::int32_t to_bounded(double value, double limit, const std::string& layer,
                        std::string_view what);

/// The largest magnitude of `values`. Throws Error if one is not finite.
double largest_magnitude(std::span<const double> values, const std::string& layer,
                         std::string_view what);

/// Integers for real factors: factor ~ integer / 2^shift. The largest has 30 bits.
struct FixedFactors {
  std::vector<std::int32_t> integers;
  unsigned shift = 1;
};

/// Throws Error naming the layer if a factor is not finite or too large.
FixedFactors fix_factors(std::span<const double> factors, const std::string& layer);

/// Integers for offsets that are added before the factors' shift:
/// offset ~ integer * 2^bias_shift / 2^shift.
struct FixedOffsets {
  std::vector<std::int32_t> integers;
  unsigned bias_shift = 0;  ///< 0 where 31 bits hold the largest offset
};

/// `shift` is that of the factors. Throws Error naming the layer if an offset is not finite or
/// too large.
FixedOffsets fix_offsets(std::span<const double> offsets, unsigned shift, const std::string& layer);

inline constexpr std::string_view kWeightsAre = "its weights or the scales around it are";

}  // namespace bitlog2::integer
