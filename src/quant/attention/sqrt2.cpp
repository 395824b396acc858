#include "quant/attention/sqrt2.h"

#include <algorithm>
#include <bit>
#include <limits>
#include <vector>

#include "base/target_clones.h"
#include "quant/loops.h"
#include "quant/tails.h"

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

class Sqrt2Search final : public AttentionSearch {
 public:
  Sqrt2Search(const IntegerAttention& rule, std::size_t count)
      : rule_(rule), tails_(count, 1.0 - kRangeQuantiles[0]) {}

  void add(std::span<const float> probabilities, ThreadPool& pool) override {
    if (!counted_) {
      tails_.add(probabilities, pool);
      return;
    }
    for (Candidate& candidate : candidates_) {
      candidate.error += sum_over_chunks(probabilities, pool, [&](std::span<const float> chunk) {
        return squared_error(step_of(rule_, candidate.delta), chunk);
      });
    }
  }

  bool next_pass() override {
    if (counted_) {
      return false;
    }
    counted_ = true;
    tails_.finish();
    for (const double p : kRangeQuantiles) {
      const float delta = tails_.quantile(p);
      if (delta > std::numeric_limits<float>::min()) {  // else nearly everything is zero
        candidates_.push_back({delta, 0.0});
      }
    }
    return candidates_.size() > 1;
  }

  float delta() const override {
    if (candidates_.empty()) {
      return tails_.maximum() > 0.0F ? tails_.maximum() : 1.0F;
    }
    return std::ranges::min_element(candidates_, {}, &Candidate::error)->delta;
  }

 private:
  struct Candidate {
    float delta;
    double error;
  };

  IntegerAttention rule_;
  Tails tails_;
  bool counted_ = false;
  std::vector<Candidate> candidates_;
};

}  // namespace

IntegerAttention Sqrt2::in_integers(int bits, const AttentionOptions&) const {
  const int codes = 1 << bits;
  return {IntegerAttention::Kind::sqrt2, static_cast<std::uint32_t>(codes),
          static_cast<std::uint32_t>(codes - 1 - dropped_codes_)};
}

std::unique_ptr<AttentionSearch> Sqrt2::search(const AttentionQuantizer& quantizer,
                                               std::size_t count) const {
  return std::make_unique<Sqrt2Search>(in_integers(quantizer.bits, quantizer.options), count);
}

void Sqrt2::fake_quantize(const AttentionQuantizer& quantizer,
                          std::span<float> probabilities) const {
  apply_levels(step_of(in_integers(quantizer.bits, quantizer.options), quantizer.delta),
               probabilities);
}

}  // namespace bitlog2::quant
