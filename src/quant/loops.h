// Loops over many values for the steps in steps.h, compiled for several instruction sets
// and chosen at run time. Contraction is off, so all of them give the same bits.
#pragma once

#include <algorithm>
#include <cstddef>
#include <span>
#include <vector>

#include "bitlog2/parallel.h"
#include "quant/steps.h"

namespace bitlog2::quant {

/// values <- step(value).
void apply(const UniformStep& step, std::span<float> values);
void apply(const Sqrt2Step& step, std::span<float> values);
void apply(const BitLog2Step& step, std::span<float> values);

/// values [rows, columns] <- the uniform step of each column.
void apply_columns(std::span<const float> scales, std::span<const float> zero_points, float top,
                   std::span<float> values);

/// Sum of (value - step(value))^2.
double squared_error(const UniformStep& step, std::span<const float> values);
double squared_error(const Sqrt2Step& step, std::span<const float> values);

/// What BitLog2's closed form needs of a tensor.
struct BitLog2Sums {
  double levels_squared = 0;     ///< sum of m^ * m^
  double value_times_level = 0;  ///< sum of x * m^
  float largest_level = 0;       ///< max m^
};
BitLog2Sums bitlog2_sums(const BitLog2Step& step, std::span<const float> values);

inline constexpr std::size_t kChunk = 1 << 16;

/// The sum of `sum(chunk)` over fixed chunks of `values`, added in order, whatever the
/// number of threads.
template <class Sum>
double sum_over_chunks(std::span<const float> values, ThreadPool& pool, Sum sum) {
  std::vector<double> parts((values.size() + kChunk - 1) / kChunk);
  pool.parallel_for(values.size(), kChunk, [&](std::size_t begin, std::size_t end) {
    parts[begin / kChunk] = sum(values.subspan(begin, end - begin));
  });
  double total = 0;
  for (const double part : parts) {
    total += part;
  }
  return total;
}

}  // namespace bitlog2::quant
