// How far values are from what they should be: signal-to-noise ratio and cosine similarity.
#pragma once

#include <cstddef>
#include <span>

#pragma GCC visibility push(default)
namespace bitlog2 {

/// Energies of a signal and of what differs from it, over many values; and cosines, each of one
/// image.
class Distance {
 public:
  /// Adds one image. Compares as far as both go: the integer engine leaves out tokens that nobody
  /// reads.
  void add(std::span<const float> reference, std::span<const float> values);

  /// Signal-to-noise ratio of all images; 200 where nothing differs.
  double decibels() const;
  /// The mean over images, of which there is at least one.
  double cosine() const { return cosines_ / static_cast<double>(images_); }

 private:
  double signal_ = 0;
  double noise_ = 0;
  double cosines_ = 0;
  std::size_t images_ = 0;
};

}  // namespace bitlog2
#pragma GCC visibility pop
