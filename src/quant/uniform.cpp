// Uniform quantization: ranges from quantiles, and the fake quantization itself. Results do
// not depend on the number of threads.
#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "bitlog2/quantizers.h"
#include "quant/loops.h"
#include "quant/steps.h"

namespace bitlog2 {
namespace {

using quant::UniformStep;

constexpr std::size_t kTorchQuantileLimit = 16'000'000;
constexpr std::size_t kSampleSize = 16'384;
constexpr std::size_t kColumnsPerTask = 16;  // one cache line of floats

struct Range {
  float scale = 1.0F;
  float zero_point = 0.0F;
};

float top_code(int bits) {
  return static_cast<float>((1 << bits) - 1);
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

/// The range of a constant, which any number of bits reproduces: |c| is the scale.
Range constant_range(float value) {
  return {value == 0.0F ? 1.0F : std::fabs(value), value < 0.0F ? 1.0F : 0.0F};
}

/// Tries the quantile ranges in order; the first with the lowest squared_error(step) wins.
template <class SquaredError>
Range best_range(const Tails& tails, int bits, SquaredError squared_error) {
  if (tails.minimum() == tails.maximum()) {
    return constant_range(tails.minimum());
  }
  const float top = top_code(bits);
  Range best;
  double lowest = std::numeric_limits<double>::infinity();
  const auto consider = [&](float low, float high) {
    const float scale = (high - low) / top;
    if (!(scale > std::numeric_limits<float>::min())) {
      return;  // nearly constant between these quantiles
    }
    const Range range = {scale, std::rint(-low / scale)};
    const double error = squared_error(UniformStep{range.scale, range.zero_point, top});
    if (error < lowest) {
      lowest = error;
      best = range;
    }
  };
  for (const double p : kRangeQuantiles) {
    consider(tails_quantile(tails, 1.0 - p), tails_quantile(tails, p));
  }
  if (std::isinf(lowest)) {  // a few outliers on a constant
    consider(tails.minimum(), tails.maximum());
  }
  return std::isinf(lowest) ? constant_range(tails.maximum()) : best;
}

Range calibrate_serially(std::span<const float> values, int bits) {
  ThreadPool serial(1);
  const Tails tails = find_tails(values, 1.0 - kRangeQuantiles[0], serial);
  return best_range(tails, bits,
                    [&](const UniformStep& step) { return quant::squared_error(step, values); });
}

UniformQuantizer make_quantizer(int bits, std::span<const Range> ranges) {
  UniformQuantizer quantizer;
  quantizer.bits = bits;
  for (const Range& range : ranges) {
    quantizer.scale.push_back(range.scale);
    quantizer.zero_point.push_back(range.zero_point);
  }
  return quantizer;
}

UniformStep step_of(const UniformQuantizer& quantizer, std::size_t channel) {
  return {quantizer.scale[channel], quantizer.zero_point[channel], top_code(quantizer.bits)};
}

}  // namespace

float quantile(std::span<const float> values, double p) {
  ThreadPool serial(1);
  return tails_quantile(find_tails(values, std::min(p, 1.0 - p), serial), p);
}

UniformQuantizer calibrate_uniform(std::span<const float> values, int bits, ThreadPool& pool) {
  const Tails tails = find_tails(values, 1.0 - kRangeQuantiles[0], pool);
  const Range range = best_range(tails, bits, [&](const UniformStep& step) {
    return quant::sum_over_chunks(values, pool, [&](std::span<const float> chunk) {
      return quant::squared_error(step, chunk);
    });
  });
  return make_quantizer(bits, std::span(&range, 1));
}

UniformQuantizer calibrate_rows(std::span<const float> values, std::size_t rows, int bits,
                                ThreadPool& pool) {
  const std::size_t columns = values.size() / rows;
  std::vector<Range> ranges(rows);
  pool.parallel_for(rows, 16, [&](std::size_t begin, std::size_t end) {
    for (std::size_t row = begin; row < end; ++row) {
      ranges[row] = calibrate_serially(values.subspan(row * columns, columns), bits);
    }
  });
  return make_quantizer(bits, ranges);
}

UniformQuantizer calibrate_columns(std::span<const float> values, std::size_t columns, int bits,
                                   ThreadPool& pool) {
  const std::size_t rows = values.size() / columns;
  std::vector<Range> ranges(columns);
  pool.parallel_for(columns, kColumnsPerTask, [&](std::size_t begin, std::size_t end) {
    const std::size_t width = end - begin;
    std::vector<float> transposed(width * rows);
    for (std::size_t row = 0; row < rows; ++row) {
      for (std::size_t i = 0; i < width; ++i) {
        transposed[i * rows + row] = values[row * columns + begin + i];
      }
    }
    for (std::size_t i = 0; i < width; ++i) {
      ranges[begin + i] = calibrate_serially(std::span(transposed).subspan(i * rows, rows), bits);
    }
  });
  return make_quantizer(bits, ranges);
}

void fake_quantize(const UniformQuantizer& quantizer, std::span<float> values) {
  quant::apply(step_of(quantizer, 0), values);
}

void fake_quantize_channel(const UniformQuantizer& quantizer, std::size_t channel,
                           std::span<float> values) {
  quant::apply(step_of(quantizer, channel), values);
}

void fake_quantize_rows(const UniformQuantizer& quantizer, std::span<float> values) {
  const std::size_t columns = values.size() / quantizer.scale.size();
  for (std::size_t row = 0; row < quantizer.scale.size(); ++row) {
    quant::apply(step_of(quantizer, row), values.subspan(row * columns, columns));
  }
}

void fake_quantize_columns(const UniformQuantizer& quantizer, std::span<float> values) {
  quant::apply_columns(quantizer.scale, quantizer.zero_point, top_code(quantizer.bits), values);
}

}  // namespace bitlog2
