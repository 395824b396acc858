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

/// context [rows, values.width] = the sum over tokens of weight * value, one plane after the other;
/// kRows rows of the upper plane are multiplied at a time, with sums on the stack.
template <std::size_t kRows>
struct MultiplyEachPlane {
  void operator()(const Planes& planes, std::size_t rows, const Panel& values,
                  std::int32_t* context) const {
    constexpr std::int32_t kLargestByte = 255;
    const std::size_t width = values.width;
    multiply({planes.low, planes.stride, kLargestByte}, rows, values, context, width);
    if (*planes.has_high == 0) {
      return;
    }
    std::int32_t high[kRows * kPanelWidth];
    for (std::size_t first = 0; first < rows; first += kRows) {
      const std::size_t here = rows - first < kRows ? rows - first : kRows;
      multiply({planes.high + first * planes.stride, planes.stride, kLargestByte}, here, values,
               high, width);
      for (std::size_t i = 0; i < here * width; ++i) {
        context[first * width + i] += high[i] * 256;
      }
    }
  }
};

/// Kernels::attend_values. Sqrt2's weights are not bytes: it uses the portable kernel.
template <class MultiplyPlanes, class Divide>
inline void attend_values_by(const AttentionRule& rule, const Weights& weights, const Panel& values,
                             std::int32_t zero, std::int32_t* context) {
  if (rule.kind == AttentionKind::sqrt2) {
    return portable::attend_values(rule, weights, values, zero, context);
  }
  const Planes planes(weights);
  const std::size_t width = values.width;
  MultiplyPlanes()(planes, weights.rows, values, context);
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
  attend_values_by<MultiplyEachPlane<kRowChunk>, Divide>(rule, weights, values, zero, context);
}

}  // namespace
}  // namespace bitlog2::runtime
