// The input pixels that an output pixel of Pillow's resize sums, and their weights; and the outputs
// that a centre crop shows.
#pragma once

#include <cstddef>
#include <cstdint>

#include "resize_filter.h"

namespace bitlog2::runtime {

inline constexpr int kWeightBits =
    22;  // as in Pillow: 32 bits minus 8 for a pixel and 2 for the sums

enum class ResizeMode : std::uint32_t { shorter, squash };
enum class CropRounding : std::uint32_t { torchvision, transformers };

/// How an image becomes a crop: bitlog2::Preprocessing without mean and std.
struct ImageCrop {
  std::uint32_t resize;  // pixels of the shorter side, or of both
  std::uint32_t crop;    // pixels a side
  Filter filter = Filter::bicubic;
  ResizeMode mode = ResizeMode::shorter;
  CropRounding rounding = CropRounding::torchvision;

  /// Pixels of a side after the resize. torchvision and transformers compute int(resize * long /
  /// short) in binary64. The integer division here gives the same, since a quotient of integers
  /// below 2^52 is never rounded up to a whole number.
  std::uint64_t resized(std::uint64_t length, std::uint64_t shorter) const {
    return mode == ResizeMode::squash ? resize : resize * length / shorter;
  }
};

/// The inputs that an output pixel sums.
struct InputRun {
  std::size_t first;
  std::size_t count;
};

/// Resize and crop of one side. Only the outputs that the crop shows are computed; `padding` zeros
/// come before them. `Real` is a binary64 number; its operations and their order are Pillow's, to
/// the last bit.
template <class Real>
class ResizedSide {
 public:
  /// Of `input` pixels, resized to `output`. No length is 0.
  ResizedSide(std::size_t input, std::uint64_t output, const ImageCrop& how)
      : filter_(how.filter),
        input_(input),
        shown_(output < how.crop ? static_cast<std::size_t>(output) : how.crop),
        most_inputs_(static_cast<std::size_t>(
            (std::uint64_t{twice_support(filter_)} * input + output - 1) / output +
            twice_support(filter_) + 2)),
        scale_(Real::ratio(input, output)) {
    place_crop(output, how);
    const Real stretch = scale_ < kOne ? kOne : scale_;
    inverse_stretch_ = kOne / stretch;
    support_ = Real::ratio(twice_support(filter_), 2) * stretch;
    if (filter_ == Filter::nearest) {
      find_nearest();
    }
  }

  std::size_t shown() const { return shown_; }
  std::size_t padding() const { return padding_; }

  /// The largest number of inputs of an output.
  std::size_t most_inputs() const { return most_inputs_; }

  /// The inputs of the next shown output, and their weights times 2^kWeightBits. `exact` and
  /// `weights` have room for most_inputs().
  InputRun next(Real* exact, std::int32_t* weights) {
    const std::size_t output = next_++;
    if (filter_ != Filter::nearest) {
      return inputs_of(output, exact, weights);
    }
    const auto found = static_cast<std::size_t>(nearest_.truncated());
    nearest_ = nearest_ + scale_;
    weights[0] = 1 << kWeightBits;
    return {found < input_ ? found : input_ - 1, 1};
  }

  /// The same for any shown output. Not for Filter::nearest, whose positions are running sums.
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
      exact[i] = ResizeFilter<Real>::at(filter_, distance * inverse_stretch_);
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

  /// Up to here the positions of Filter::nearest are sums; further, the sums would take minutes.
  static constexpr std::uint64_t kLongestSum = 1 << 22;

  void place_crop(std::uint64_t output, const ImageCrop& how) {
    const bool is_torchvision = how.rounding == CropRounding::torchvision;
    if (output < how.crop) {
      padding_ = (how.crop - shown_ + (is_torchvision ? 0 : 1)) / 2;
      return;
    }
    // torchvision's is Python's round((output - crop) / 2): halves go to the even neighbour.
    const std::uint64_t excess = output - how.crop;
    first_ = excess / 2 + (is_torchvision ? (excess % 2) * (excess / 2 % 2) : 0);
  }

  void find_nearest() {
    if (first_ > kLongestSum) {
      nearest_ = (Real::integer(static_cast<std::int64_t>(first_)) + kHalf) * scale_;
      return;
    }
    nearest_ = scale_ * kHalf;
    for (std::uint64_t i = 0; i < first_; ++i) {
      nearest_ = nearest_ + scale_;
    }
  }

  static std::int32_t fixed_point(const Real& weight) {
    const Real scaled = weight * Real::integer(1 << kWeightBits);
    return static_cast<std::int32_t>(
        (weight.is_negative() ? scaled - kHalf : scaled + kHalf).truncated());
  }

  Filter filter_;
  std::size_t input_;
  std::size_t shown_;
  std::size_t padding_ = 0;
  std::size_t most_inputs_;
  std::uint64_t first_ = 0;
  std::size_t next_ = 0;
  Real scale_;
  Real inverse_stretch_;
  Real support_;
  Real nearest_;  // where the next output lies in the input
};

}  // namespace bitlog2::runtime
