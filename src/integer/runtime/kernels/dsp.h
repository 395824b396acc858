// The kernels of Cortex-M's DSP instructions one by one, for the table of its vectors (mve.cpp).
#pragma once

#include "kernels.h"

namespace bitlog2::runtime::dsp {

void pack_rows(const Codes& codes, std::size_t channels, const std::int32_t* offsets,
               const Panel& panel, std::int32_t* sums);
void softmax_codes(const AttentionRule& rule, std::int32_t log2_delta, std::int32_t* scores,
                   std::size_t stride, const Weights& weights);

}  // namespace bitlog2::runtime::dsp
