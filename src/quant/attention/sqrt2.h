// RepQ-ViT's attention maps: powers of sqrt(2) below a scale.
#pragma once

#include "quant/attention/scheme.h"

namespace bitlog2::quant {

/// t = round(-2 log2(x / delta)); 0 if t >= 2^bits, else t is cut to the largest kept code and
/// x^ = delta * 2^-ceil(t / 2) * (sqrt(2) if t is odd). delta, in (0, 1], is the quantile with the
/// lowest mean squared error.
// Never deleted through its base, whose destructor is protected.
// NOLINTNEXTLINE(cppcoreguidelines-virtual-class-destructor)
class Sqrt2 final : public AttentionMethod {
 public:
  /// `levels` at 4 bits, zero included: 17, which does not fit a 4-bit code, or 16.
  constexpr explicit Sqrt2(int levels) : dropped_codes_(17 - levels) {}

  bool has_delta(int, const AttentionOptions&) const override { return true; }
  std::unique_ptr<AttentionSearch> search(const AttentionQuantizer& quantizer,
                                          std::size_t count) const override;
  void fake_quantize(const AttentionQuantizer& quantizer,
                     std::span<float> probabilities) const override;
  IntegerAttention in_integers(int bits, const AttentionOptions& options) const override;
  double unit(float delta) const override { return delta; }

 private:
  int dropped_codes_;
};

}  // namespace bitlog2::quant
