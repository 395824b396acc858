#include "calibrate/norm_coordinates.h"

#include <algorithm>
#include <cmath>

namespace bitlog2::calibration {

void change_coordinates(LayerNorm& norm, Linear& layer, std::span<const Coordinate> coordinates) {
  for (std::size_t c = 0; c < coordinates.size(); ++c) {
    norm.gamma[c] /= coordinates[c].unit;
    norm.beta[c] = (norm.beta[c] - coordinates[c].origin) / coordinates[c].unit;
  }
  if (layer.bias.empty()) {
    layer.has_bias = true;
    layer.bias.resize(layer.out_features);
  }
  for (std::size_t row = 0; row < layer.out_features; ++row) {
    double moved = 0;
    for (std::size_t c = 0; c < coordinates.size(); ++c) {
      float& weight = layer.weight[row * layer.in_features + c];
      moved += static_cast<double>(weight) * coordinates[c].origin;
      weight *= coordinates[c].unit;
    }
    layer.bias[row] += static_cast<float>(moved);
  }
}

void SpreadSums::add(std::span<const float> x, ThreadPool& pool) {
  constexpr std::size_t kColumnsPerTask = 32;
  const std::size_t channels = sums_.size();
  const std::size_t rows = x.size() / channels;
  pool.parallel_for(channels, kColumnsPerTask, [&](std::size_t begin, std::size_t end) {
    for (std::size_t row = 0; row < rows; ++row) {
      const auto values = x.subspan(row * channels, channels);
      for (std::size_t c = begin; c < end; ++c) {
        sums_[c] += values[c];
        squares_[c] += static_cast<double>(values[c]) * values[c];
      }
    }
  });
  rows_ += static_cast<double>(rows);
}

std::vector<Spread> SpreadSums::spreads() const {
  std::vector<Spread> spreads;
  for (std::size_t c = 0; c < sums_.size(); ++c) {
    const double mean = sums_[c] / rows_;
    spreads.push_back({mean, std::sqrt(std::max(squares_[c] / rows_ - mean * mean, 0.0))});
  }
  return spreads;
}

void standardize(LayerNorm& norm, Linear& layer, std::span<const Spread> spreads) {
  double mean = 0;
  for (const Spread& spread : spreads) {
    mean += spread.deviation / static_cast<double>(spreads.size());
  }
  std::vector<Coordinate> coordinates;
  for (const Spread& spread : spreads) {
    const double unit = spread.deviation > 1e-6 * mean ? spread.deviation / mean : 1.0;
    coordinates.push_back({static_cast<float>(spread.mean), static_cast<float>(unit)});
  }
  change_coordinates(norm, layer, coordinates);
}

}  // namespace bitlog2::calibration
