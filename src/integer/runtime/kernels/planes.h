// Attention weights as planes of bytes: how the tables that multiply bytes keep them.
#pragma once

#include "kernels.h"
#include "portable.h"

namespace bitlog2::runtime {

/// weight = low + 256 * high [rows, stride]; `totals` has what each row's weights add up to.
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

/// Kernels::apply by a table's own multiply(); Sqrt2's, which is no product of bytes, is portable.
/// Inlined, so that its loops have the instructions that the table has.
[[gnu::always_inline]] inline void apply_planes(decltype(Kernels::multiply) multiply,
                                                const AttentionRule& rule, const Weights& weights,
                                                const Panel& values, std::int32_t zero,
                                                std::int32_t* context) {
  if (rule.kind == AttentionKind::sqrt2) {
    return portable::apply(rule, weights, values, zero, context);
  }
  constexpr std::int32_t kLargestByte = 255;
  const Planes planes(weights);
  const std::size_t width = values.width;
  multiply({planes.low, planes.stride, kLargestByte}, weights.rows, values, context, width);
  if (*planes.has_high != 0) {
    std::int32_t high[kRowChunk * kPanelWidth];
    multiply({planes.high, planes.stride, kLargestByte}, weights.rows, values, high, width);
    for (std::size_t i = 0; i < weights.rows * width; ++i) {
      context[i] += high[i] * 256;
    }
  }
  for (std::size_t r = 0; r < weights.rows; ++r) {
    for (std::size_t c = r * width; c < (r + 1) * width; ++c) {
      context[c] -= zero * planes.totals[r];
    }
  }
}

}  // namespace bitlog2::runtime
