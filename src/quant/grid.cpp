// Grids of integers: quantization to the nearest level, and how levels and scale are found.
#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "bitlog2/quantizers.h"

namespace bitlog2 {
namespace {

constexpr std::size_t kBins = 8192;
constexpr double kLargestLevel = 32000;

/// Values as a histogram, each with the weight of its channel; what grids are fitted to.
struct Histogram {
  double low = 0;
  double width = 1;             // of a bin
  std::vector<double> weights;  // [kBins]

  double centre(std::size_t bin) const { return low + (static_cast<double>(bin) + 0.5) * width; }
};

Histogram weigh(std::span<const float> values, std::span<const float> channel_weights) {
  const auto [low, high] = std::minmax_element(values.begin(), values.end());
  Histogram histogram;
  histogram.low = *low;
  histogram.width = std::max(static_cast<double>(*high) - *low, 1e-12) / kBins;
  histogram.weights.assign(kBins, 0.0);
  for (std::size_t i = 0; i < values.size(); ++i) {
    const double position = (static_cast<double>(values[i]) - histogram.low) / histogram.width;
    const auto bin = std::min(static_cast<std::size_t>(std::max(position, 0.0)), kBins - 1);
    histogram.weights[bin] += channel_weights[i % channel_weights.size()];
  }
  return histogram;
}

/// The weighted squared error of the nearest of `points`, ascending.
double error_of(const Histogram& histogram, std::span<const double> points) {
  double error = 0;
  std::size_t nearest = 0;
  for (std::size_t bin = 0; bin < kBins; ++bin) {
    const double value = histogram.centre(bin);
    while (nearest + 1 < points.size() && value - points[nearest] > points[nearest + 1] - value) {
      ++nearest;
    }
    error += histogram.weights[bin] * (value - points[nearest]) * (value - points[nearest]);
  }
  return error;
}

/// Points at equal shares of the cube root of the density, which is where the best ones of
/// fine grids lie.
std::vector<double> companded(const Histogram& histogram, std::size_t count) {
  std::vector<double> density(kBins);
  std::transform(histogram.weights.begin(), histogram.weights.end(), density.begin(),
                 [](double weight) { return std::cbrt(weight); });
  const double total = std::accumulate(density.begin(), density.end(), 0.0);
  std::vector<double> points;
  double sum = 0;
  for (std::size_t bin = 0; bin < kBins && points.size() < count; ++bin) {
    sum += density[bin];
    while (points.size() < count &&
           sum >= total * (static_cast<double>(points.size()) + 0.5) / static_cast<double>(count)) {
      points.push_back(histogram.centre(bin));
    }
  }
  while (points.size() < count) {
    points.push_back(histogram.centre(kBins - 1));
  }
  return points;
}

void improve(const Histogram& histogram, std::vector<double>& points) {
  constexpr int kRounds = 200;
  for (int round = 0; round < kRounds; ++round) {
    std::vector<double> weights(points.size());
    std::vector<double> sums(points.size());
    std::size_t nearest = 0;
    for (std::size_t bin = 0; bin < kBins; ++bin) {
      const double value = histogram.centre(bin);
      while (nearest + 1 < points.size() && value - points[nearest] > points[nearest + 1] - value) {
        ++nearest;
      }
      weights[nearest] += histogram.weights[bin];
      sums[nearest] += histogram.weights[bin] * value;
    }
    for (std::size_t i = 0; i < points.size(); ++i) {
      points[i] = weights[i] > 0 ? sums[i] / weights[i] : points[i];
    }
  }
}

std::vector<double> scaled(std::span<const std::int16_t> levels, double scale) {
  std::vector<double> points;
  points.reserve(levels.size());
  for (const std::int16_t level : levels) {
    points.push_back(level * scale);
  }
  return points;
}

/// Integers near `points` in steps of `scale`; points that fall together move apart.
GridQuantizer to_integers(std::span<const double> points, double scale) {
  GridQuantizer quantizer;
  quantizer.scale = static_cast<float>(scale);
  for (const double point : points) {
    const double nearest = std::nearbyint(point / scale);
    const double free =
        quantizer.levels.empty() ? nearest : std::max(nearest, quantizer.levels.back() + 1.0);
    quantizer.levels.push_back(static_cast<std::int16_t>(free));
  }
  return quantizer;
}

std::vector<std::int16_t> consecutive(double first, std::size_t count) {
  std::vector<std::int16_t> levels(count);
  std::iota(levels.begin(), levels.end(), static_cast<std::int16_t>(first));
  return levels;
}

/// A grid that has `constant` exactly.
GridQuantizer constant_grid(float constant, std::size_t count) {
  const float scale = constant == 0.0F ? 1.0F : std::fabs(constant);
  return {scale, consecutive(std::copysign(constant == 0.0F ? 0.0 : 1.0, constant), count)};
}

}  // namespace

void fake_quantize(const GridQuantizer& quantizer, std::span<float> values) {
  // Cells of half a level: which of a cell's values round up is decided by one comparison.
  const float inverse = 1.0F / quantizer.scale;
  const int first = quantizer.levels.front();
  const int last = quantizer.levels.back();
  std::vector<float> edges;  // middle between neighbours, in levels
  for (std::size_t i = 1; i < quantizer.levels.size(); ++i) {
    edges.push_back(static_cast<float>(quantizer.levels[i - 1] + quantizer.levels[i]) / 2);
  }
  std::vector<std::uint8_t> code_of(static_cast<std::size_t>(last - first) + 1);  // of a floor
  for (std::size_t i = 0; i < code_of.size(); ++i) {
    const float floor = static_cast<float>(first) + static_cast<float>(i);
    code_of[i] = static_cast<std::uint8_t>(std::upper_bound(edges.begin(), edges.end(), floor) -
                                           edges.begin());
  }
  edges.push_back(std::numeric_limits<float>::infinity());
  for (float& value : values) {
    const float level =
        std::clamp(value * inverse, static_cast<float>(first), static_cast<float>(last));
    std::size_t code = code_of[static_cast<std::size_t>(level - static_cast<float>(first))];
    code += level > edges[code] ? 1 : 0;
    value = static_cast<float>(quantizer.levels[code]) * quantizer.scale;
  }
}

GridQuantizer calibrate_code_book(std::span<const float> values,
                                  std::span<const float> channel_weights, int bits) {
  const std::size_t count = std::size_t{1} << bits;
  const auto [low, high] = std::minmax_element(values.begin(), values.end());
  if (*low == *high) {
    return constant_grid(*low, count);
  }
  const Histogram histogram = weigh(values, channel_weights);
  std::vector<double> points = companded(histogram, count);
  improve(histogram, points);
  const double span = points.back() - points.front();
  // Levels are 16-bit integers, however far from 0 the values lie.
  const double farthest = std::max(std::fabs(points.front()), std::fabs(points.back()));
  const double least_scale = farthest / kLargestLevel;
  for (int steps = kLargestLevelSpan - 1; steps >= (1 << bits) - 1; --steps) {
    // Room is left for points that had to move apart.
    GridQuantizer book = to_integers(points, std::max(span / steps, least_scale));
    if (book.levels.back() - book.levels.front() <= kLargestLevelSpan) {
      return book;
    }
  }
  const double scale = std::max(span / static_cast<double>(count - 1), least_scale);
  return {static_cast<float>(scale), consecutive(std::nearbyint(points.front() / scale), count)};
}

GridQuantizer calibrate_grid_scale(std::span<const float> values,
                                   std::span<const float> channel_weights,
                                   std::span<const std::int16_t> levels) {
  constexpr int kSteps = 160;
  const Histogram histogram = weigh(values, channel_weights);
  const double high = std::max(histogram.centre(kBins - 1), 1e-9);
  GridQuantizer best = {1.0F, {levels.begin(), levels.end()}};
  double lowest = std::numeric_limits<double>::infinity();
  for (int i = 0; i < kSteps; ++i) {
    const double scale = high / levels.back() * std::pow(2.0, -i / 40.0);
    const double error = error_of(histogram, scaled(levels, scale));
    if (error < lowest) {
      lowest = error;
      best.scale = static_cast<float>(scale);
    }
  }
  return best;
}

}  // namespace bitlog2
