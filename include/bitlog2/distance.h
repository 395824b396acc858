// How far values are from what they should be: signal-to-noise ratio and cosine similarity.
#pragma once

#include <cstddef>
#include <span>

#pragma GCC visibility push(default)
namespace bitlog2 {

/// Sums over images, from which the signal-to-noise ratio and the mean cosine similarity follow.
class Distance {
 public:
  /// Adds one image. If the spans differ in size, the first values are compared: the integer engine
  /// leaves out tokens that no later layer reads.
  void add(std::span<const float> reference, std::span<const float> values);

  /// Signal-to-noise ratio over all images in dB, 10 log10(sum reference^2 / sum (values -
  /// reference)^2); 200 where nothing differs.
  double decibels() const;
  /// The mean over images of the cosine of the two vectors, -1 to 1; at least one image was added.
  double cosine() const { return cosines_ / static_cast<double>(images_); }

 private:
  double signal_ = 0;
  double noise_ = 0;
  double cosines_ = 0;
  std::size_t images_ = 0;
};

}  // namespace bitlog2
#pragma GCC visibility pop
