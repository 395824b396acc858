// Affine quantization: ranges from quantiles, and the fake quantization itself. Results do
// not depend on the number of threads.
#include "quant/affine.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "base/target_clones.h"
#include "bitlog2/quantizers.h"
#include "quant/loops.h"

namespace bitlog2 {
namespace {

using quant::affine_of;
using quant::AffineStep;
using quant::qmax_of;

constexpr std::size_t kTorchQuantileLimit = 16'000'000;
constexpr std::size_t kSampleSize = 16'384;
constexpr std::size_t kColumnsPerTask = 16;  // one cache line of floats

BITLOG2_TARGET_CLONES double squared_error(const AffineStep<>& step,
                                           std::span<const float> values) {
  return quant::sum_squared_errors(step, values);
}

/// The `count` first of `values` in the order of `before`, sorted. On large inputs a sample
/// tells which values can be among them, so that only few are moved.
template <class Before>
std::vector<float> first_sorted(std::span<const float> values, std::size_t count, Before before) {
  std::vector<float> chosen;
  if (values.size() > 8 * kSampleSize) {
    std::vector<float> sample;
    const std::size_t stride = values.size() / kSampleSize;
    for (std::size_t i = 0; i < values.size(); i += stride) {
      sample.push_back(values[i]);
    }
    // Twice as far into the sample as needed, and a little: rarely too few.
    const std::size_t rank =
        std::min(2 * count * sample.size() / values.size() + 8, sample.size() - 1);
    std::nth_element(sample.begin(), sample.begin() + static_cast<std::ptrdiff_t>(rank),
                     sample.end(), before);
    const float limit = sample[rank];
    for (const float value : values) {
      if (!before(limit, value)) {
        chosen.push_back(value);
      }
    }
  }
  if (chosen.size() < count) {
    chosen.assign(values.begin(), values.end());
  }
  const auto end = chosen.begin() + static_cast<std::ptrdiff_t>(count);
  if (end != chosen.end()) {
    std::nth_element(chosen.begin(), end, chosen.end(), before);
    chosen.erase(end, chosen.end());
  }
  std::sort(chosen.begin(), chosen.end(), before);
  return chosen;
}

/// The sorted values at both ends, as far in as any quantile of calibration reaches.
struct Tails {
  std::size_t size = 0;     // of the whole
  std::vector<float> low;   // ascending
  std::vector<float> high;  // descending

  float at(std::size_t rank) const { return rank < low.size() ? low[rank] : high[size - 1 - rank]; }
  float minimum() const { return low.front(); }
  float maximum() const { return high.front(); }
};

std::size_t tail_length(std::size_t size, double share) {
  const auto reach = static_cast<std::size_t>(static_cast<double>(size) * share) + 3;
  return 2 * reach >= size ? size : reach;
}

Tails find_tails(std::span<const float> values, double share, ThreadPool& pool) {
  Tails tails;
  tails.size = values.size();
  const std::size_t count = tail_length(values.size(), share);
  pool.parallel_for(2, 1, [&](std::size_t begin, std::size_t end) {
    for (std::size_t i = begin; i < end; ++i) {
      if (i == 0) {
        tails.low = first_sorted(values, count, std::less<>());
      } else {
        tails.high = first_sorted(values, count, std::greater<>());
      }
    }
  });
  return tails;
}

float tails_quantile(const Tails& tails, double p) {
  if (tails.size > kTorchQuantileLimit) {
    const double rank = p * static_cast<double>(tails.size - 1);
    const auto below = static_cast<std::size_t>(rank);
    const std::size_t above = std::min(below + 1, tails.size - 1);
    const double weight = rank - std::floor(rank);
    return static_cast<float>(tails.at(below) * (1 - weight) + tails.at(above) * weight);
  }
  const float rank = static_cast<float>(p) * static_cast<float>(tails.size - 1);
  const auto below = static_cast<std::size_t>(rank);
  const auto above = static_cast<std::size_t>(std::ceil(rank));
  const float weight = rank - std::floor(rank);
  const float a = tails.at(below);
  const float b = tails.at(above);
  // torch's lerp, which starts from the nearer end
  return weight < 0.5F ? a + weight * (b - a) : b - (b - a) * (1.0F - weight);
}

/// Tries the quantile ranges in order; the first with the lowest squared_error(step) wins.
template <class SquaredError>
AffineStep<> best_step(const Tails& tails, int bits, SquaredError squared_error) {
  AffineStep<> best = quant::step_between(tails.maximum(), tails.maximum(), bits);
  double lowest = std::numeric_limits<double>::infinity();
  if (tails.minimum() == tails.maximum()) {
    return best;
  }
  const auto consider = [&](float low, float high) {
    if (!((high - low) / qmax_of(bits) > std::numeric_limits<float>::min())) {
      return;  // nearly constant between these quantiles
    }
    const AffineStep<> step = quant::step_between(low, high, bits);
    const double error = squared_error(step);
    if (error < lowest) {
      lowest = error;
      best = step;
    }
  };
  for (const double p : kRangeQuantiles) {
    consider(tails_quantile(tails, 1.0 - p), tails_quantile(tails, p));
  }
  if (std::isinf(lowest)) {  // a few outliers on a constant
    consider(tails.minimum(), tails.maximum());
  }
  return best;
}

AffineStep<> calibrate_serially(std::span<const float> values, int bits) {
  ThreadPool serial(1);
  const Tails tails = find_tails(values, 1.0 - kRangeQuantiles[0], serial);
  return best_step(tails, bits,
                   [&](const AffineStep<>& step) { return squared_error(step, values); });
}

BITLOG2_TARGET_CLONES void apply_affine(const AffineStep<>& step, std::span<float> values) {
  quant::apply_step(step, values);
}

/// values [rows, columns] <- the step of each column.
BITLOG2_TARGET_CLONES void apply_columns(std::span<const float> scales,
                                         std::span<const float> zero_points, float qmax,
                                         std::span<float> values) {
  const std::size_t columns = scales.size();
  for (std::size_t start = 0; start + columns <= values.size(); start += columns) {
    for (std::size_t c = 0; c < columns; ++c) {
      const AffineStep<> step = {scales[c], zero_points[c], qmax};
      values[start + c] = step(values[start + c]);
    }
  }
}

AffineStep<> step_of(const Affine& quantizer, std::size_t channel) {
  return {quantizer.scale[channel], quantizer.zero_point[channel], qmax_of(quantizer.bits)};
}

}  // namespace

float quantile(std::span<const float> values, double p) {
  ThreadPool serial(1);
  return tails_quantile(find_tails(values, std::min(p, 1.0 - p), serial), p);
}

Affine calibrate_affine(std::span<const float> values, int bits, ThreadPool& pool) {
  const Tails tails = find_tails(values, 1.0 - kRangeQuantiles[0], pool);
  const AffineStep<> found = best_step(tails, bits, [&](const AffineStep<>& step) {
    return quant::sum_over_chunks(
        values, pool, [&](std::span<const float> chunk) { return squared_error(step, chunk); });
  });
  return affine_of(std::span(&found, 1), bits);
}

Affine calibrate_rows(std::span<const float> values, std::size_t rows, int bits, ThreadPool& pool) {
  const std::size_t columns = values.size() / rows;
  std::vector<AffineStep<>> steps(rows);
  pool.parallel_for(rows, 16, [&](std::size_t begin, std::size_t end) {
    for (std::size_t row = begin; row < end; ++row) {
      steps[row] = calibrate_serially(values.subspan(row * columns, columns), bits);
    }
  });
  return affine_of(steps, bits);
}

Affine calibrate_columns(std::span<const float> values, std::size_t columns, int bits,
                         ThreadPool& pool) {
  const std::size_t rows = values.size() / columns;
  std::vector<AffineStep<>> steps(columns);
  pool.parallel_for(columns, kColumnsPerTask, [&](std::size_t begin, std::size_t end) {
    const std::size_t width = end - begin;
    std::vector<float> transposed(width * rows);
    for (std::size_t row = 0; row < rows; ++row) {
      for (std::size_t i = 0; i < width; ++i) {
        transposed[i * rows + row] = values[row * columns + begin + i];
      }
    }
    for (std::size_t i = 0; i < width; ++i) {
      steps[begin + i] = calibrate_serially(std::span(transposed).subspan(i * rows, rows), bits);
    }
  });
  return affine_of(steps, bits);
}

void fake_quantize(const Affine& quantizer, std::span<float> values, std::size_t channel) {
  apply_affine(step_of(quantizer, channel), values);
}

void fake_quantize_rows(const Affine& quantizer, std::span<float> values) {
  const std::size_t columns = values.size() / quantizer.scale.size();
  for (std::size_t row = 0; row < quantizer.scale.size(); ++row) {
    fake_quantize(quantizer, values.subspan(row * columns, columns), row);
  }
}

void fake_quantize_columns(const Affine& quantizer, std::span<float> values) {
  apply_columns(quantizer.scale, quantizer.zero_point, qmax_of(quantizer.bits), values);
}

}  // namespace bitlog2
