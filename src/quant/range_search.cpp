#include "quant/range_search.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "base/target_clones.h"
#include "quant/affine.h"

namespace bitlog2::quant {
namespace {

constexpr std::size_t kSample = 1 << 15;  // values looked at
constexpr std::size_t kLanes = 8;

BITLOG2_TARGET_CLONES double squared_error(Range range, float qmax, std::span<const float> values,
                                           std::span<const float> weights) {
  const float step = (range.high - range.low) / qmax;
  const float inverse = 1.0F / step;
  float lanes[kLanes] = {};
  const std::size_t whole = values.size() / kLanes * kLanes;
  for (std::size_t i = 0; i < whole; i += kLanes) {
    for (std::size_t lane = 0; lane < kLanes; ++lane) {
      const float x = values[i + lane];
      const float code = std::clamp(std::rint((x - range.low) * inverse), 0.0F, qmax);
      const float error = x - (range.low + code * step);
      lanes[lane] += error * error * weights[i + lane];
    }
  }
  double sum = 0;
  for (const float lane : lanes) {
    sum += lane;
  }
  return sum;
}

/// Every so many of the values, with the weights of their channels.
struct Sample {
  std::vector<float> values;
  std::vector<float> weights;
};

Sample take_sample(std::span<const float> values, std::span<const float> channel_weights) {
  // An odd stride that does not divide the channels reaches all of them.
  std::size_t stride = std::max<std::size_t>(1, values.size() / kSample) | 1U;
  while (stride > 1 && channel_weights.size() % stride == 0) {
    stride += 2;
  }
  Sample sample;
  for (std::size_t i = 0; i < values.size(); i += stride) {
    sample.values.push_back(values[i]);
    sample.weights.push_back(channel_weights[i % channel_weights.size()]);
  }
  while (sample.values.size() % kLanes != 0) {
    sample.values.push_back(sample.values.back());
    sample.weights.push_back(0.0F);
  }
  return sample;
}

}  // namespace

Range search_range(std::span<const float> values, std::span<const float> channel_weights,
                   int bits) {
  constexpr int kRounds = 3;
  const Sample sample = take_sample(values, channel_weights);
  const auto [low, high] = std::minmax_element(sample.values.begin(), sample.values.end());
  const Range whole = {*low, *high};
  if (!(whole.high - whole.low > 1e-30F)) {
    return whole;
  }
  const float qmax = qmax_of(bits);
  const float step = 0.02F * (whole.high - whole.low);
  Range best = whole;
  double lowest = squared_error(best, qmax, sample.values, sample.weights);
  const auto consider = [&](Range range) {
    if (range.high - range.low < step) {
      return;
    }
    const double error = squared_error(range, qmax, sample.values, sample.weights);
    if (error < lowest) {
      lowest = error;
      best = range;
    }
  };
  // Both ends together, then one at a time.
  for (int i = 1; i < 25; ++i) {
    const float inwards = static_cast<float>(i) * step;
    consider({whole.low + inwards, whole.high - inwards});
  }
  for (int round = 0; round < kRounds; ++round) {
    for (int i = 0; i < 45; ++i) {
      consider({whole.low + static_cast<float>(i) * step, best.high});
    }
    for (int i = 0; i < 45; ++i) {
      consider({best.low, whole.high - static_cast<float>(i) * step});
    }
  }
  return best;
}

Affine affine_of(const Range& range, int bits) {
  const AffineStep<> step = step_between(range.low, range.high, bits);
  return affine_of(std::span(&step, 1), bits);
}

std::vector<Range> search_columns(std::span<const float> values, std::size_t columns, int bits,
                                  ThreadPool& pool) {
  const std::size_t rows = values.size() / columns;
  std::vector<Range> ranges(columns);
  pool.parallel_for(columns, 16, [&](std::size_t begin, std::size_t end) {
    const float one = 1.0F;
    std::vector<float> column(rows);
    for (std::size_t c = begin; c < end; ++c) {
      for (std::size_t row = 0; row < rows; ++row) {
        column[row] = values[row * columns + c];
      }
      ranges[c] = search_range(column, std::span(&one, 1), bits);
    }
  });
  return ranges;
}

}  // namespace bitlog2::quant
