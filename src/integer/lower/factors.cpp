#include "integer/lower/factors.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace bitlog2::integer {
namespace {

/// `value` is known to be within range.
std::int32_t to_int32(double value) {
  return static_cast<std::int32_t>(std::nearbyint(value));
}

}  // namespace

Error too_large(const std::string& layer, std::string_view what) {
  return Error(fmt::format("{}: {} too large for integers", layer, what));
}

std::int32_t to_bounded(double value, double limit, const std::string& layer,
                        std::string_view what) {
  if (!(std::fabs(value) <= limit)) {
    throw too_large(layer, what);
  }
  return to_int32(value);
}

double largest_magnitude(std::span<const double> values, const std::string& layer,
                         std::string_view what) {
  double largest = 0;
  for (const double value : values) {
    if (!std::isfinite(value)) {
      throw too_large(layer, what);
    }
    largest = std::max(largest, std::fabs(value));
  }
  return largest;
}

FixedFactors fix_factors(std::span<const double> factors, const std::string& layer) {
  const double largest = largest_magnitude(factors, layer, kWeightsAre);
  FixedFactors fixed;
  // The largest gets 30 bits.
  const int exponent = largest > 0 ? std::ilogb(largest) : 0;
  if (exponent > 28) {
    throw too_large(layer, kWeightsAre);
  }
  fixed.shift = static_cast<unsigned>(std::min(29 - exponent, 62));
  for (const double factor : factors) {
    fixed.integers.push_back(to_int32(std::ldexp(factor, static_cast<int>(fixed.shift))));
  }
  return fixed;
}

FixedOffsets fix_offsets(std::span<const double> offsets, unsigned shift,
                         const std::string& layer) {
  constexpr unsigned kLargestBiasShift = 30;  // that the runtime takes
  constexpr std::string_view kWhat = "its bias is";
  const double largest =
      std::ldexp(largest_magnitude(offsets, layer, kWhat), static_cast<int>(shift));
  FixedOffsets fixed;
  const int excess = largest > 0 ? std::ilogb(largest) - 29 : 0;
  fixed.bias_shift = static_cast<unsigned>(std::max(excess, 0));
  if (fixed.bias_shift > kLargestBiasShift) {
    throw too_large(layer, kWhat);
  }
  for (const double offset : offsets) {
    fixed.integers.push_back(
        to_int32(std::ldexp(offset, static_cast<int>(shift) - static_cast<int>(fixed.bias_shift))));
  }
  return fixed;
}

}  // namespace bitlog2::integer
