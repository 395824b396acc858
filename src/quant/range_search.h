// Ranges of activations by search: finer than three quantiles, and by weighted errors.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "bitlog2/parallel.h"
#include "bitlog2/quantizers.h"

namespace bitlog2::quant {

/// The values that the first and the last code stand for.
struct Range {
  float low = 0.0F;
  float high = 0.0F;
};

/// A search for the range of 2^bits evenly spaced codes with a low squared error of values
/// [rows, channels] that come in parts, of which it looks at a sample.
class RangeSearch {
 public:
  /// For `count` values in total. Errors of channel c are weighted by channel_weights[c]; a single
  /// weight is for all channels.
  RangeSearch(std::size_t count, std::span<const float> channel_weights);

  /// `values` [.., channels].
  void add(std::span<const float> values);

  Range range(int bits) const;

 private:
  std::vector<float> channel_weights_;
  std::size_t stride_;
  std::size_t next_ = 0;  // index, in the next part, of the first value that is looked at
  std::size_t seen_ = 0;
  std::vector<float> values_;
  std::vector<float> weights_;  // of values_
};

/// The same for values that are all in memory.
Range search_range(std::span<const float> values, std::span<const float> channel_weights, int bits);

/// The quantizer of that range, its zero point whole, so that its ends move a little.
Affine affine_of(const Range& range, int bits);

/// A search for every column's range.
class ColumnRangeSearch {
 public:
  ColumnRangeSearch(std::size_t rows, std::size_t columns);

  /// `values` [.., columns].
  void add(std::span<const float> values, ThreadPool& pool);

  std::vector<Range> ranges(int bits, ThreadPool& pool) const;

 private:
  std::vector<RangeSearch> columns_;
};

}  // namespace bitlog2::quant
