// Codebooks fitted to a histogram.
#pragma once

#include <cstdint>
#include <span>

#include "bitlog2/quantizers.h"
#include "quant/histogram.h"

namespace bitlog2::quant {

/// calibrate_codebook (bitlog2/quantizers.h) for the values of `histogram`, which has at least one.
Codebook fit_codebook(const Histogram& histogram, int bits, int span = kLargestLevelSpan);

/// calibrate_codebook_scale for these.
Codebook fit_codebook_scale(const Histogram& histogram, std::span<const std::int16_t> levels);

}  // namespace bitlog2::quant
