// A histogram of values that come in parts, to which codebooks are fitted. The width of bins is a
// power of two. Whenever a value lies outside all bins, every two bins are merged to one. So the
// result does not depend on how values are divided into parts, except for the rounding of sums.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "bitlog2/parallel.h"

namespace bitlog2::quant {

class Histogram {
 public:
  /// Values [rows, columns], a row's `step` apart.
  struct Columns {
    const float* values;
    std::size_t rows;
    std::size_t columns;
    std::size_t step;
  };

  /// `column_weights` are the weights of the columns' values, or one for all.
  void add(const Columns& part, std::span<const float> column_weights, ThreadPool& pool);
  void add(std::span<const float> values, std::span<const float> column_weights, ThreadPool& pool);

  /// Adds all values of `other`, multiplied by `factor` > 0.
  void add_scaled(const Histogram& other, double factor);

  /// The smallest and the largest value; infinite if there was one, or NaN.
  float low() const { return low_; }
  float high() const { return high_; }

  /// The number of bins from low() to high(); 0 before the first add().
  std::size_t bins() const { return low_ <= high_ ? index_of(high_) - index_of(low_) + 1 : 0; }
  double centre(std::size_t bin) const;
  double weight(std::size_t bin) const { return weights_[index_of(low_) + bin]; }

  double total() const;
  double root_mean_square() const;

 private:
  static constexpr std::size_t kSize = 1 << 14;  // at least half of it spans the values

  void cover(float low, float high);
  std::size_t index_of(float value) const;

  float low_ = 1.0F;  // above high_: empty
  float high_ = 0.0F;
  int exponent_ = 0;        // of the width
  std::int64_t first_ = 0;  // bin i has the values from (first + i) * width on
  std::vector<double> weights_;
};

}  // namespace bitlog2::quant
