// Attention weights as planes of bytes, for the tables of kernels that multiply bytes.
#pragma once

#include "kernels.h"

namespace bitlog2::runtime {

/// weight = low + 256 * high [rows, stride]; `totals` has the sum of each row's weights.
struct Planes {
  explicit Planes(const Weights& weights)
      : totals(reinterpret_cast<std::int32_t*>(weights.memory)),
        has_high(totals + kRowChunk),
        stride(round_up(weights.tokens, kPanelWidth)),
        low(reinterpret_cast<std::uint8_t*>(totals + 2 * kRowChunk)),
        high(low + kRowChunk * stride) {}

  std::int32_t* totals;
  std::int32_t* has_high;  // 0 if all of `high` is
  std::size_t stride;
  std::uint8_t* low;
  std::uint8_t* high;
};

}  // namespace bitlog2::runtime
