// BitLog2's attention maps: a probability's code is the position of its highest set bit.
#pragma once

#include <cstdint>

#include "quant/attention/scheme.h"

namespace bitlog2::quant {

/// Probabilities become integers m in [0, multiplier), of which the highest set bit and
/// `fraction_bits` bits below it are kept.
struct BitLog2Levels {
  int multiplier = 256;     ///< at most 65536
  int fraction_bits = 1;    ///< 0 to 7
  bool to_nearest = false;  ///< adds half of the last kept bit before the lower bits are dropped

  /// The largest m^: multiplier - 1 with its lower bits dropped.
  std::uint32_t largest() const;

  /// m^: `m` < multiplier, cut down to its highest bits. 0 stays 0.
  std::uint32_t round(std::uint32_t m) const;
};

/// x^ = m^ / delta, m = min(floor(x * multiplier), multiplier - 1). delta is the integer in
/// [largest m^, multiplier - 1] with the lowest mean squared error, in closed form: the error is a
/// quadratic in 1 / delta.
///
/// With normalizes_last, m = min(floor(x / max x * multiplier), multiplier - 1) and
/// x^ = m^ / sum m^, over a row of the map. So rows that are flat use all levels, too.
// Never deleted through its base, whose destructor is protected.
// NOLINTNEXTLINE(cppcoreguidelines-virtual-class-destructor)
class BitLog2 final : public AttentionMethod {
 public:
  /// The published levels.
  constexpr BitLog2(int multiplier, int fraction_bits)
      : multiplier_(multiplier), fraction_bits_(fraction_bits) {}

  /// The published ones are 16 or 17, whatever `bits` is.
  BitLog2Levels levels(int bits, const AttentionOptions& options) const;

  bool has_delta(int bits, const AttentionOptions& options) const override {
    return !normalizes_last(bits, options);
  }
  std::unique_ptr<AttentionSearch> search(const AttentionQuantizer& quantizer,
                                          std::size_t count) const override;
  void fake_quantize(const AttentionQuantizer& quantizer,
                     std::span<float> probabilities) const override;
  IntegerAttention in_integers(int bits, const AttentionOptions& options) const override;
  double unit(float delta) const override { return 1.0 / delta; }

 private:
  bool normalizes_last(int bits, const AttentionOptions& options) const;

  int multiplier_;
  int fraction_bits_;
};

/// search() for any levels.
std::unique_ptr<AttentionSearch> search_bitlog2(const BitLog2Levels& levels);

/// values <- m^ / delta.
void fake_quantize_bitlog2(const BitLog2Levels& levels, float delta, std::span<float> values);

}  // namespace bitlog2::quant
