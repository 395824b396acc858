#include "quant/attention/bitlog2.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "base/target_clones.h"
#include "quant/loops.h"

namespace bitlog2::quant {
namespace {

/// An integer below 2^24 is exact as a float, whose exponent is the position of the highest set
/// bit: so BitLog2 only masks the lower bits of the fraction. Half of the last kept bit, added
/// before, carries into the exponent where necessary.
struct BitLog2Step {
  float delta;
  float multiplier;
  std::uint32_t kept_bits;  // of the float's representation
  std::uint32_t half;       // of the last kept bit, or 0
  float largest;            // m^

  BitLog2Step(const BitLog2Levels& levels, float delta)
      : delta(delta),
        multiplier(static_cast<float>(levels.multiplier)),
        kept_bits(~0U << (23 - levels.fraction_bits)),
        half(levels.to_nearest ? 1U << (22 - levels.fraction_bits) : 0U),
        largest(static_cast<float>(levels.largest())) {}

  /// m^, an integer.
  float level(float x) const {
    const float m = std::min(std::floor(x * multiplier), multiplier - 1.0F);
    const auto kept = std::bit_cast<float>((std::bit_cast<std::uint32_t>(m) + half) & kept_bits);
    return std::min(kept, largest);
  }
  float operator()(float x) const { return level(x) / delta; }
};

/// The sums of the closed form.
struct Sums {
  double levels_squared = 0;     // sum of m^ * m^
  double value_times_level = 0;  // sum of x * m^
  float largest_level = 0;       // max m^

  void operator+=(const Sums& other) {
    levels_squared += other.levels_squared;
    value_times_level += other.value_times_level;
    largest_level = std::max(largest_level, other.largest_level);
  }
};

BITLOG2_TARGET_CLONES Sums sums_of(const BitLog2Step& step, std::span<const float> values) {
  Sums sums;
  for (const float value : values) {
    const float level = step.level(value);
    sums.levels_squared += static_cast<double>(level) * level;
    sums.value_times_level += static_cast<double>(value) * level;
    sums.largest_level = std::max(sums.largest_level, level);
  }
  return sums;
}

class BitLog2Search final : public AttentionSearch {
 public:
  explicit BitLog2Search(const BitLog2Levels& levels)
      : step_(levels, 1.0F), largest_(levels.multiplier - 1) {}

  void add(std::span<const float> probabilities, ThreadPool& pool) override {
    sums_ += sum_over_chunks<Sums>(
        probabilities, pool, [&](std::span<const float> chunk) { return sums_of(step_, chunk); });
  }

  float delta() const override {
    if (sums_.levels_squared == 0) {
      return static_cast<float>(largest_);
    }
    // sum (x - m/d)^2 = const - 2 (sum x m) / d + (sum m^2) / d^2, lowest at
    // 1/d = (sum x m) / (sum m^2); of the integers the best is one of its neighbours.
    const double smallest = std::max(1.0F, sums_.largest_level);
    const double optimum = sums_.levels_squared / sums_.value_times_level;
    const double below = std::clamp(std::floor(optimum), smallest, largest_);
    const double above = std::clamp(std::ceil(optimum), smallest, largest_);
    const auto error = [&](double delta) {
      return (sums_.levels_squared / delta - 2 * sums_.value_times_level) / delta;
    };
    return static_cast<float>(error(below) <= error(above) ? below : above);
  }

 private:
  BitLog2Step step_;
  double largest_;
  Sums sums_;
};

BITLOG2_TARGET_CLONES void apply_levels(const BitLog2Step& step, std::span<float> values) {
  apply_step(step, values);
}

}  // namespace

std::uint32_t BitLog2Levels::largest() const {
  BitLog2Levels truncating = *this;
  truncating.to_nearest = false;
  return truncating.round(static_cast<std::uint32_t>(multiplier) - 1U);
}

std::uint32_t BitLog2Levels::round(std::uint32_t m) const {
  const int dropped = std::max(static_cast<int>(std::bit_width(m)) - 1 - fraction_bits, 0);
  if (!to_nearest || dropped == 0) {
    return m >> dropped << dropped;
  }
  return std::min((m + (1U << (dropped - 1))) >> dropped << dropped, largest());
}

std::unique_ptr<AttentionSearch> search_bitlog2(const BitLog2Levels& levels) {
  return std::make_unique<BitLog2Search>(levels);
}

void fake_quantize_bitlog2(const BitLog2Levels& levels, float delta, std::span<float> values) {
  apply_levels(BitLog2Step(levels, delta), values);
}

BitLog2Levels BitLog2::levels(int bits, const AttentionOptions& options) const {
  if (!options.levels_by_bits || bits <= 4) {
    return {multiplier_, fraction_bits_, options.to_nearest};
  }
  // The 16 bits of probabilities that the integer engine has; 2^f levels in each of their
  // octaves are at most 32, 60, 116 and 116.
  return {1 << 16, std::min(bits - 4, 3), options.to_nearest};
}

std::unique_ptr<AttentionSearch> BitLog2::search(const AttentionQuantizer& quantizer,
                                                 std::size_t) const {
  return search_bitlog2(levels(quantizer.bits, quantizer.options));
}

/// Single's levels, over 15 octaves and more, suit flat rows already, and the sum of such weights
/// over a row of many tokens would not fit in 32 bits.
bool BitLog2::normalizes_last(int bits, const AttentionOptions& options) const {
  constexpr int kLargestMultiplier = 512;
  return options.normalizes_last && levels(bits, options).multiplier <= kLargestMultiplier;
}

void BitLog2::fake_quantize(const AttentionQuantizer& quantizer,
                            std::span<float> probabilities) const {
  const BitLog2Levels wanted = levels(quantizer.bits, quantizer.options);
  if (!normalizes_last(quantizer.bits, quantizer.options)) {
    fake_quantize_bitlog2(wanted, quantizer.delta, probabilities);
    return;
  }
  const float largest = std::ranges::max(probabilities);
  for (float& x : probabilities) {
    x /= largest;
  }
  fake_quantize_bitlog2(wanted, 1.0F, probabilities);
  float sum = 0.0F;  // of integers, below 2^24: exact
  for (const float m : probabilities) {
    sum += m;
  }
  for (float& x : probabilities) {
    x /= sum;
  }
}

IntegerAttention BitLog2::in_integers(int bits, const AttentionOptions& options) const {
  const BitLog2Levels wanted = levels(bits, options);
  const auto kind = normalizes_last(bits, options) ? IntegerAttention::Kind::relative_bitlog2
                                                   : IntegerAttention::Kind::bitlog2;
  return {kind, static_cast<std::uint32_t>(wanted.multiplier), 0,
          static_cast<std::uint32_t>(wanted.fraction_bits), wanted.to_nearest};
}

}  // namespace bitlog2::quant
