// The attention scheme Uniform, evenly spaced levels, with which the other schemes are compared.
#pragma once

#include "quant/attention/bitlog2.h"

namespace bitlog2::quant {

/// 2^bits even steps of [0, 1], rounded down as BitLog2's are: m = min(floor(x * 2^bits),
/// 2^bits - 1), x^ = m / delta. In the integer runtime it is BitLog2 that keeps every bit of m.
// Never deleted through its base, whose destructor is protected.
// NOLINTNEXTLINE(cppcoreguidelines-virtual-class-destructor)
class Uniform final : public AttentionMethod {
 public:
  bool has_delta(int, const AttentionOptions&) const override { return true; }
  std::unique_ptr<AttentionSearch> search(const AttentionQuantizer& quantizer,
                                          std::size_t) const override {
    return search_bitlog2(levels(quantizer.bits));
  }
  void fake_quantize(const AttentionQuantizer& quantizer,
                     std::span<float> probabilities) const override {
    fake_quantize_bitlog2(levels(quantizer.bits), quantizer.delta, probabilities);
  }
  IntegerAttention in_integers(int bits, const AttentionOptions&) const override {
    return {IntegerAttention::Kind::bitlog2, 1U << bits, 0, kAllFractionBits, false};
  }
  double unit(float delta) const override { return 1.0 / delta; }

 private:
  static constexpr int kAllFractionBits = 7;  // below the highest of 8 bits

  static BitLog2Levels levels(int bits) { return {1 << bits, kAllFractionBits, false}; }
};

}  // namespace bitlog2::quant
