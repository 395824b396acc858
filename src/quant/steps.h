// The quantizers' arithmetic for one value, written without branches so that loops over
// it vectorize. One place per quantizer: calibration and inference both use these.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>

namespace bitlog2::quant {

struct UniformStep {
  float scale;
  float zero_point;
  float top;  // 2^bits - 1

  float operator()(float x) const {
    const float code = std::clamp(std::rint(x / scale) + zero_point, 0.0F, top);
    return (code - zero_point) * scale;
  }
};

/// t = round(-2 log2(x / delta)) needs no logarithm: with x / delta = m * 2^e, m in [1, 2),
/// it is -2e less the number of the thresholds 2^(1/4), 2^(3/4) that m exceeds.
struct Sqrt2Step {
  float delta;
  std::int32_t zero_from;  // t from which on the result is 0
  std::int32_t top;        // largest t that is kept

  float operator()(float x) const {
    const auto bits = std::bit_cast<std::uint32_t>(x / delta);
    const auto exponent = static_cast<std::int32_t>(bits >> 23) - 127;
    const auto mantissa = std::bit_cast<float>((bits & 0x7FFFFFU) | 0x3F800000U);
    const std::int32_t t =
        -2 * exponent - (mantissa > 1.189207115F ? 1 : 0) - (mantissa > 1.6817928305F ? 1 : 0);
    const std::int32_t kept = std::clamp(t, 0, top);
    const std::int32_t shift = (kept + 1) >> 1;
    const auto power = std::bit_cast<float>(static_cast<std::uint32_t>(127 - shift) << 23);
    const float odd = (kept & 1) != 0 ? 1.41421356F : 1.0F;
    return t >= zero_from ? 0.0F : power * odd * delta;
  }
};

/// An integer below 2^24 is exact as a float, whose exponent is the position of the highest
/// set bit: masking the fraction away is all that BitLog2 needs. Half a kept step, added before,
/// carries into the exponent where it must.
struct BitLog2Step {
  float delta;
  float multiplier;
  std::uint32_t kept_bits;  // of the float's representation
  std::uint32_t half;       // of the last kept bit, or 0
  float largest;            // m^

  BitLog2Step(float delta, int multiplier, int fraction_bits, bool to_nearest, float largest)
      : delta(delta),
        multiplier(static_cast<float>(multiplier)),
        kept_bits(~0U << (23 - fraction_bits)),
        half(to_nearest ? 1U << (22 - fraction_bits) : 0U),
        largest(largest) {}

  /// m^, an integer.
  float level(float x) const {
    const float m = std::min(std::floor(x * multiplier), multiplier - 1.0F);
    const auto kept = std::bit_cast<float>((std::bit_cast<std::uint32_t>(m) + half) & kept_bits);
    return std::min(kept, largest);
  }
  float operator()(float x) const { return level(x) / delta; }
};

}  // namespace bitlog2::quant
