// Which input pixels an output pixel of Pillow's bicubic resize sums, and with which weights.
#pragma once

#include <cstddef>
#include <cstdint>

namespace bitlog2::runtime {

inline constexpr int kWeightBits = 22;  // as Pillow's: 32, less 8 for a pixel and 2 for the sums

/// The inputs that an output pixel sums.
struct InputRun {
  std::size_t first;
  std::size_t count;
};

/// One side's resize and crop. Of the outputs, those are made that the crop shows; `padding`
/// zeros come before them. `Real` is a number of 64 bits; its operations and their order are
/// Pillow's, to the last bit.
template <class Real>
class ResizedSide {
 public:
  /// No length is 0.
  ResizedSide(std::size_t input, std::uint64_t output, std::uint32_t crop)
      : input_(input),
        shown_(output < crop ? static_cast<std::size_t>(output) : crop),
        padding_(output < crop ? (crop - shown_) / 2 : 0),
        most_inputs_((4 * input + output - 1) / output + 6) {
    if (output >= crop) {
      // Python's round((output - crop) / 2): halves go to the even neighbour.
      const std::uint64_t excess = output - crop;
      first_ = excess / 2 + (excess % 2) * (excess / 2 % 2);
    }
    scale_ = Real::ratio(input, output);
    const Real stretch = scale_ < kOne ? kOne : scale_;
    inverse_stretch_ = kOne / stretch;
    support_ = kTwo * stretch;
  }

  std::size_t shown() const { return shown_; }
  std::size_t padding() const { return padding_; }

  /// No output has more inputs.
  std::size_t most_inputs() const { return most_inputs_; }

  /// The inputs of a shown output, and their weights times 2^kWeightBits. `exact` and `weights`
  /// have room for most_inputs().
  InputRun inputs_of(std::size_t output, Real* exact, std::int32_t* weights) const {
    const Real position = Real::integer(static_cast<std::int64_t>(first_ + output));
    const Real center = (position + kHalf) * scale_;
    const std::int64_t low = (center - support_ + kHalf).truncated();
    const std::int64_t high = (center + support_ + kHalf).truncated();
    const std::size_t first = low < 0 ? 0 : static_cast<std::size_t>(low);
    const std::size_t end =
        static_cast<std::size_t>(high) < input_ ? static_cast<std::size_t>(high) : input_;
    Real sum;
    for (std::size_t i = 0; i < end - first; ++i) {
      const Real distance = Real::integer(static_cast<std::int64_t>(first + i)) - center + kHalf;
      exact[i] = bicubic(distance * inverse_stretch_);
      sum = sum + exact[i];
    }
    for (std::size_t i = 0; i < end - first; ++i) {
      weights[i] = fixed_point(exact[i] / sum);
    }
    return {first, end - first};
  }

 private:
  static constexpr Real kHalf = Real::ratio(1, 2);
  static constexpr Real kOne = Real::integer(1);
  static constexpr Real kTwo = Real::integer(2);

  /// Keys' cubic with a = -1/2.
  static Real bicubic(const Real& at) {
    const Real x = at.magnitude();
    if (x < kOne) {
      return (Real::ratio(3, 2) * x - Real::ratio(5, 2)) * x * x + kOne;
    }
    if (x < kTwo) {
      return (((x - Real::integer(5)) * x + Real::integer(8)) * x - Real::integer(4)) * -kHalf;
    }
    return {};
  }

  static std::int32_t fixed_point(const Real& weight) {
    const Real scaled = weight * Real::integer(1 << kWeightBits);
    return static_cast<std::int32_t>(
        (weight.is_negative() ? scaled - kHalf : scaled + kHalf).truncated());
  }

  std::size_t input_;
  std::size_t shown_;
  std::size_t padding_;
  std::size_t most_inputs_;
  std::uint64_t first_ = 0;
  Real scale_;
  Real inverse_stretch_;
  Real support_;
};

}  // namespace bitlog2::runtime
