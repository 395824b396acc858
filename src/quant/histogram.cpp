#include "quant/histogram.h"

#include <algorithm>
#include <cmath>

#include "base/target_clones.h"

namespace bitlog2::quant {
namespace {

constexpr std::size_t kParts = 8;  // of the rows; fixed, so that the order of adding is

struct Extent {
  float low;
  float high;
};

BITLOG2_TARGET_CLONES Extent extent_of(const Histogram::Columns& part) {
  constexpr std::size_t kLanes = 16;
  std::array<float, kLanes> low = {};
  std::array<float, kLanes> high = {};
  low.fill(part.values[0]);
  high.fill(part.values[0]);
  for (std::size_t row = 0; row < part.rows; ++row) {
    const float* values = part.values + row * part.step;
    const std::size_t whole = part.columns / kLanes * kLanes;
    for (std::size_t i = 0; i < whole; i += kLanes) {
      for (std::size_t lane = 0; lane < kLanes; ++lane) {
        low[lane] = std::min(low[lane], values[i + lane]);
        high[lane] = std::max(high[lane], values[i + lane]);
      }
    }
    for (std::size_t i = whole; i < part.columns; ++i) {
      low[0] = std::min(low[0], values[i]);
      high[0] = std::max(high[0], values[i]);
    }
  }
  return {*std::ranges::min_element(low), *std::ranges::max_element(high)};
}

/// Bins from `first` on of values that are in them.
BITLOG2_TARGET_CLONES void bins_of(const float* values, std::size_t count, float inverse_width,
                                   float first, std::uint32_t* bins) {
  for (std::size_t i = 0; i < count; ++i) {
    bins[i] = static_cast<std::uint32_t>(
        static_cast<std::int32_t>(std::floor(values[i] * inverse_width) - first));
  }
}

void count(const Histogram::Columns& part, std::span<const float> column_weights,
           float inverse_width, float first, std::span<double> weights) {
  constexpr std::size_t kBlock = 256;
  std::array<std::uint32_t, kBlock> bins = {};
  const bool one = column_weights.size() == 1;
  for (std::size_t row = 0; row < part.rows; ++row) {
    for (std::size_t c = 0; c < part.columns; c += kBlock) {
      const std::size_t size = std::min(kBlock, part.columns - c);
      bins_of(part.values + row * part.step + c, size, inverse_width, first, bins.data());
      for (std::size_t i = 0; i < size; ++i) {
        weights[bins[i]] += column_weights[one ? 0 : c + i];
      }
    }
  }
}

Histogram::Columns rows_of(const Histogram::Columns& part, std::size_t begin, std::size_t end) {
  return {part.values + begin * part.step, end - begin, part.columns, part.step};
}

}  // namespace

void Histogram::add(std::span<const float> values, std::span<const float> column_weights,
                    ThreadPool& pool) {
  // One weight for all: rows of any length will do.
  constexpr std::size_t kRow = 4096;
  const std::size_t columns = column_weights.size() > 1 ? column_weights.size() : kRow;
  const std::size_t rows = values.size() / columns;
  add({values.data(), rows, columns, columns}, column_weights, pool);
  const std::size_t rest = values.size() - rows * columns;
  add({values.data() + rows * columns, std::min<std::size_t>(rest, 1), rest, rest}, column_weights,
      pool);
}

void Histogram::add(const Columns& part, std::span<const float> column_weights, ThreadPool& pool) {
  if (part.rows == 0) {
    return;
  }
  const std::size_t grain = (part.rows + kParts - 1) / kParts;
  std::vector<Extent> extents((part.rows + grain - 1) / grain);
  pool.parallel_for(part.rows, grain, [&](std::size_t begin, std::size_t end) {
    extents[begin / grain] = extent_of(rows_of(part, begin, end));
  });
  for (const Extent& extent : extents) {
    cover(extent.low, extent.high);
  }
  if (!std::isfinite(low_) || !std::isfinite(high_)) {
    return;
  }
  const float inverse_width = std::ldexp(1.0F, -exponent_);
  const auto first = static_cast<float>(first_);
  std::vector<std::vector<double>> counted(extents.size());
  pool.parallel_for(part.rows, grain, [&](std::size_t begin, std::size_t end) {
    std::vector<double>& weights = counted[begin / grain];
    weights.resize(kSize);
    count(rows_of(part, begin, end), column_weights, inverse_width, first, weights);
  });
  for (const std::vector<double>& weights : counted) {
    for (std::size_t i = 0; i < kSize; ++i) {
      weights_[i] += weights[i];
    }
  }
}

void Histogram::add_scaled(const Histogram& other, double factor) {
  const auto scaled = [factor](double value) { return static_cast<float>(factor * value); };
  cover(scaled(other.low()), scaled(other.high()));
  for (std::size_t bin = 0; bin < other.bins(); ++bin) {
    const float value = std::clamp(scaled(other.centre(bin)), low_, high_);
    weights_[index_of(value)] += other.weight(bin);
  }
}

/// Widens the histogram to have bins for [low, high], too.
void Histogram::cover(float low, float high) {
  const bool empty = low_ > high_;
  low_ = empty ? low : std::min(low_, low);
  high_ = empty ? high : std::max(high_, high);
  if (!std::isfinite(low_) || !std::isfinite(high_)) {
    return;
  }
  // Bins are told apart by whole numbers that a float holds exactly.
  constexpr int kLargestExponent = 22;
  int exponent = 0;
  std::frexp(std::max({std::fabs(low_), std::fabs(high_), 0x1p-80F}), &exponent);
  exponent -= kLargestExponent;
  exponent = empty ? exponent : std::max(exponent, exponent_);
  const auto bin_of = [&](float value) {
    return static_cast<std::int64_t>(std::floor(std::ldexp(static_cast<double>(value), -exponent)));
  };
  while (bin_of(high_) - bin_of(low_) >= static_cast<std::int64_t>(kSize)) {
    ++exponent;
  }
  const std::int64_t first = bin_of(low_);
  std::vector<double> weights(kSize);
  for (std::size_t i = 0; i < weights_.size(); ++i) {
    if (weights_[i] != 0) {
      const std::int64_t bin = (first_ + static_cast<std::int64_t>(i)) >> (exponent - exponent_);
      weights[static_cast<std::size_t>(bin - first)] += weights_[i];
    }
  }
  weights_ = std::move(weights);
  exponent_ = exponent;
  first_ = first;
}

std::size_t Histogram::index_of(float value) const {
  return static_cast<std::size_t>(
      static_cast<std::int64_t>(std::floor(std::ldexp(static_cast<double>(value), -exponent_))) -
      first_);
}

double Histogram::centre(std::size_t bin) const {
  // Half of the first and the last bin may lie beyond all values.
  const double middle = std::ldexp(
      static_cast<double>(first_ + static_cast<std::int64_t>(index_of(low_) + bin)) + 0.5,
      exponent_);
  return std::clamp(middle, static_cast<double>(low_), static_cast<double>(high_));
}

double Histogram::total() const {
  double sum = 0;
  for (const double weight : weights_) {
    sum += weight;
  }
  return sum;
}

double Histogram::root_mean_square() const {
  double sum = 0;
  for (std::size_t bin = 0; bin < bins(); ++bin) {
    sum += weight(bin) * centre(bin) * centre(bin);
  }
  return std::sqrt(sum / total());
}

}  // namespace bitlog2::quant
