// Ranges of activations by search: finer than three quantiles, and by weighted errors.
#pragma once

#include <span>

#include "bitlog2/parallel.h"
#include "bitlog2/quantizers.h"

namespace bitlog2::quant {

/// The values that the first and the last code stand for.
struct Range {
  float low = 0.0F;
  float high = 0.0F;
};

/// The range of 2^bits evenly spaced codes with a low squared error of `values`
/// [rows, channels], channel c's errors weighted by channel_weights[c]; one weight means all.
Range search_range(std::span<const float> values, std::span<const float> channel_weights, int bits);

/// The quantizer of that range, its zero point whole, so that its ends move a little.
Affine affine_of(const Range& range, int bits);

/// search_range for every column of `values` [rows, columns].
std::vector<Range> search_columns(std::span<const float> values, std::size_t columns, int bits,
                                  ThreadPool& pool);

}  // namespace bitlog2::quant
