// Loops over many values for a quantizer's step (quant/affine.h, quant/attention/*), written so
// that they vectorize. The file that has a step compiles them with BITLOG2_TARGET_CLONES:
// contraction is off and sums have a fixed order, so that all instruction sets give the same bits.
#pragma once

#include <array>
#include <cstddef>
#include <span>
#include <vector>

#include "bitlog2/parallel.h"

namespace bitlog2::quant {

/// Columns of one task, where columns are searched separately: one cache line of floats.
inline constexpr std::size_t kColumnsPerTask = 16;

/// values <- step(value).
template <class Step>
[[gnu::always_inline]] inline void apply_step(const Step step, std::span<float> values) {
  for (float& value : values) {
    value = step(value);
  }
}

/// Sum of (value - step(value))^2.
template <class Step>
[[gnu::always_inline]] inline double sum_squared_errors(const Step step,
                                                        std::span<const float> values) {
  constexpr std::size_t kLanes = 8;  // partial sums; fixed, so that the order of adding is
  std::array<double, kLanes> lanes = {};
  const std::size_t whole = values.size() / kLanes * kLanes;
  for (std::size_t i = 0; i < whole; i += kLanes) {
    for (std::size_t lane = 0; lane < kLanes; ++lane) {
      const double error = values[i + lane] - step(values[i + lane]);
      lanes[lane] += error * error;
    }
  }
  for (std::size_t i = whole; i < values.size(); ++i) {
    const double error = values[i] - step(values[i]);
    lanes[i - whole] += error * error;
  }
  double sum = 0;
  for (const double lane : lanes) {
    sum += lane;
  }
  return sum;
}

inline constexpr std::size_t kChunk = 1 << 16;

/// The sum of `sum(chunk)`, a Part, over fixed chunks of `values`. The order of additions does not
/// depend on the number of threads.
template <class Part = double, class Sum>
Part sum_over_chunks(std::span<const float> values, ThreadPool& pool, Sum sum) {
  std::vector<Part> parts((values.size() + kChunk - 1) / kChunk);
  pool.parallel_for(values.size(), kChunk, [&](std::size_t begin, std::size_t end) {
    parts[begin / kChunk] = sum(values.subspan(begin, end - begin));
  });
  Part total = {};
  for (const Part& part : parts) {
    total += part;
  }
  return total;
}

}  // namespace bitlog2::quant
