#include "quant/range_search.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "base/target_clones.h"
#include "quant/affine.h"
#include "quant/loops.h"

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
      const float code = nearest_code((x - range.low) * inverse, 0.0F, qmax);
      const float error = x - (range.low + code * step);
      lanes[lane] += error * error * weights[i + lane];
    }
  }
  for (std::size_t i = whole; i < values.size(); ++i) {
    const float x = values[i];
    const float code = nearest_code((x - range.low) * inverse, 0.0F, qmax);
    const float error = x - (range.low + code * step);
    lanes[i - whole] += error * error * weights[i];
  }
  double sum = 0;
  for (const float lane : lanes) {
    sum += lane;
  }
  return sum;
}

}  // namespace

RangeSearch::RangeSearch(std::size_t count, std::span<const float> channel_weights)
    : channel_weights_(channel_weights.begin(), channel_weights.end()),
      stride_(std::max<std::size_t>(1, count / kSample) | 1U) {
  // An odd stride that does not divide the channels reaches all of them.
  while (stride_ > 1 && channel_weights_.size() % stride_ == 0) {
    stride_ += 2;
  }
}

void RangeSearch::add(std::span<const float> values) {
  for (; next_ < seen_ + values.size(); next_ += stride_) {
    values_.push_back(values[next_ - seen_]);
    weights_.push_back(channel_weights_[next_ % channel_weights_.size()]);
  }
  seen_ += values.size();
}

Range RangeSearch::range(int bits) const {
  constexpr int kRounds = 3;
  const auto [low, high] = std::minmax_element(values_.begin(), values_.end());
  const Range whole = {*low, *high};
  if (!(whole.high - whole.low > 1e-30F)) {
    return whole;
  }
  const float qmax = qmax_of(bits);
  const float step = 0.02F * (whole.high - whole.low);
  Range best = whole;
  double lowest = squared_error(best, qmax, values_, weights_);
  const auto consider = [&](Range range) {
    if (range.high - range.low < step) {
      return;
    }
    const double error = squared_error(range, qmax, values_, weights_);
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

Range search_range(std::span<const float> values, std::span<const float> channel_weights,
                   int bits) {
  RangeSearch search(values.size(), channel_weights);
  search.add(values);
  return search.range(bits);
}

Affine affine_of(const Range& range, int bits) {
  const AffineStep<> step = step_between(range.low, range.high, bits);
  return affine_of(std::span(&step, 1), bits);
}

ColumnRangeSearch::ColumnRangeSearch(std::size_t rows, std::size_t columns) {
  const float one = 1.0F;
  columns_.assign(columns, RangeSearch(rows, std::span(&one, 1)));
}

void ColumnRangeSearch::add(std::span<const float> values, ThreadPool& pool) {
  const std::size_t columns = columns_.size();
  const std::size_t rows = values.size() / columns;
  pool.parallel_for(columns, kColumnsPerTask, [&](std::size_t begin, std::size_t end) {
    std::vector<float> column(rows);
    for (std::size_t c = begin; c < end; ++c) {
      for (std::size_t row = 0; row < rows; ++row) {
        column[row] = values[row * columns + c];
      }
      columns_[c].add(column);
    }
  });
}

std::vector<Range> ColumnRangeSearch::ranges(int bits, ThreadPool& pool) const {
  std::vector<Range> ranges(columns_.size());
  pool.parallel_for(columns_.size(), kColumnsPerTask, [&](std::size_t begin, std::size_t end) {
    for (std::size_t c = begin; c < end; ++c) {
      ranges[c] = columns_[c].range(bits);
    }
  });
  return ranges;
}

}  // namespace bitlog2::quant
