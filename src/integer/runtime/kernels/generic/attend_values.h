// Attention times V by a table's own products of bytes.
#pragma once

#include <cstddef>
#include <cstdint>

#include "../kernels.h"
#include "../planes.h"
#include "../portable.h"

namespace bitlog2::runtime {
namespace {

/// Kernels::multiply of the table.
void multiply(const Inputs& inputs, std::size_t rows, const Panel& panel, std::int32_t* sums,
              std::size_t stride);

/// The division of relative BitLog2 where there is nothing faster.
struct DividePortably {
  void operator()(const portable::ContextDivision& division, std::int32_t* context,
                  std::size_t width) const {
    portable::divide(division, context, width);
  }
};

/// Kernels::attend_values; kRows rows of the upper plane are multiplied at a time, with sums on the
/// stack. Sqrt2's weights are not bytes: it uses the portable kernel.
template <std::size_t kRows, class Divide>
inline void attend_values_by(const AttentionRule& rule, const Weights& weights, const Panel& values,
                             std::int32_t zero, std::int32_t* context) {
  if (rule.kind == AttentionKind::sqrt2) {
    return portable::attend_values(rule, weights, values, zero, context);
  }
  constexpr std::int32_t kLargestByte = 255;
  const Planes planes(weights);
  const std::size_t width = values.width;
  multiply({planes.low, planes.stride, kLargestByte}, weights.rows, values, context, width);
  if (*planes.has_high != 0) {
    std::int32_t high[kRows * kPanelWidth];
    for (std::size_t first = 0; first < weights.rows; first += kRows) {
      const std::size_t rows = weights.rows - first < kRows ? weights.rows - first : kRows;
      multiply({planes.high + first * planes.stride, planes.stride, kLargestByte}, rows, values,
               high, width);
      for (std::size_t i = 0; i < rows * width; ++i) {
        context[first * width + i] += high[i] * 256;
      }
    }
  }
  for (std::size_t r = 0; r < weights.rows; ++r) {
    for (std::size_t c = r * width; c < (r + 1) * width; ++c) {
      context[c] -= zero * planes.totals[r];
    }
    if (rule.kind == AttentionKind::relative_bitlog2) {
      const portable::ContextDivision division(static_cast<std::uint32_t>(planes.totals[r]));
      Divide()(division, context + r * width, width);
    }
  }
}

template <class Divide>
inline void attend_values(const AttentionRule& rule, const Weights& weights, const Panel& values,
                          std::int32_t zero, std::int32_t* context) {
  attend_values_by<kRowChunk, Divide>(rule, weights, values, zero, context);
}

}  // namespace
}  // namespace bitlog2::runtime
