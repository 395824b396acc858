#include "quant/attention/sqrt2.h"

#include <algorithm>
#include <bit>
#include <limits>

#include "base/target_clones.h"
#include "quant/loops.h"

namespace bitlog2::quant {
namespace {

/// t = round(-2 log2(x / delta)) needs no logarithm: with x / delta = m * 2^e, m in [1, 2),
/// it is -2e minus the number of the thresholds 2^(1/4), 2^(3/4) that m exceeds.
struct Sqrt2Step {
  float delta;
  std::int32_t zero_from;  // t from which on the result is 0
  std::int32_t qmax;       // largest t that is kept

  float operator()(float x) const {
    const auto bits = std::bit_cast<std::uint32_t>(x / delta);
    const auto exponent = static_cast<std::int32_t>(bits >> 23) - 127;
    const auto mantissa = std::bit_cast<float>((bits & 0x7FFFFFU) | 0x3F800000U);
    const std::int32_t t =
        -2 * exponent - (mantissa > 1.189207115F ? 1 : 0) - (mantissa > 1.6817928305F ? 1 : 0);
    const std::int32_t kept = std::clamp(t, 0, qmax);
    const std::int32_t shift = (kept + 1) >> 1;
    const auto power = std::bit_cast<float>(static_cast<std::uint32_t>(127 - shift) << 23);
    const float odd = (kept & 1) != 0 ? 1.41421356F : 1.0F;
    return t >= zero_from ? 0.0F : power * odd * delta;
  }
};

BITLOG2_TARGET_CLONES void apply_levels(const Sqrt2Step& step, std::span<float> values) {
  apply_step(step, values);
}

BITLOG2_TARGET_CLONES double squared_error(const Sqrt2Step& step, std::span<const float> values) {
  return sum_squared_errors(step, values);
}

Sqrt2Step step_of(const IntegerAttention& rule, float delta) {
  return {delta, static_cast<std::int32_t>(rule.multiplier), static_cast<std::int32_t>(rule.qmax)};
}

}  // namespace

IntegerAttention Sqrt2::in_integers(int bits, const AttentionOptions&) const {
  const int codes = 1 << bits;
  return {IntegerAttention::Kind::sqrt2, static_cast<std::uint32_t>(codes),
          static_cast<std::uint32_t>(codes - 1 - dropped_codes_)};
}

float Sqrt2::calibrate(const AttentionQuantizer& quantizer, std::span<const float> probabilities,
                       ThreadPool& pool) const {
  const IntegerAttention rule = in_integers(quantizer.bits, quantizer.options);
  float best = *std::max_element(probabilities.begin(), probabilities.end());
  double lowest = std::numeric_limits<double>::infinity();
  for (const double p : kRangeQuantiles) {
    const float delta = quantile(probabilities, p);
    if (!(delta > std::numeric_limits<float>::min())) {
      continue;  // nearly everything is zero
    }
    const double error = sum_over_chunks(probabilities, pool, [&](std::span<const float> chunk) {
      return squared_error(step_of(rule, delta), chunk);
    });
    if (error < lowest) {
      lowest = error;
      best = delta;
    }
  }
  return best > 0.0F ? best : 1.0F;
}

void Sqrt2::fake_quantize(const AttentionQuantizer& quantizer,
                          std::span<float> probabilities) const {
  apply_levels(step_of(in_integers(quantizer.bits, quantizer.options), quantizer.delta),
               probabilities);
}

}  // namespace bitlog2::quant
