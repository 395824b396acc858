#include "calibrate/norm_coordinates.h"

#include <algorithm>
#include <cmath>

namespace bitlog2::calibration {

using simulate::Tensor;

void change_coordinates(LayerNorm& norm, Linear& layer, std::span<const Coordinate> coordinates,
                        Tensor& x) {
  const LayerNorm before = norm;
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
  move_affine(before, norm, x);
}

void move_affine(const LayerNorm& before, const LayerNorm& after, Tensor& x) {
  for (std::size_t row = 0; row < x.rows(); ++row) {
    const auto values = x.row(row);
    for (std::size_t c = 0; c < values.size(); ++c) {
      const float factor = before.gamma[c] == 0.0F ? 0.0F : after.gamma[c] / before.gamma[c];
      values[c] = (values[c] - before.beta[c]) * factor + after.beta[c];
    }
  }
}

std::vector<Spread> spreads_of_channels(const Tensor& x) {
  std::vector<double> sums(x.channels());
  std::vector<double> squares(x.channels());
  for (std::size_t row = 0; row < x.rows(); ++row) {
    const auto values = x.row(row);
    for (std::size_t c = 0; c < values.size(); ++c) {
      sums[c] += values[c];
      squares[c] += static_cast<double>(values[c]) * values[c];
    }
  }
  const auto count = static_cast<double>(x.rows());
  std::vector<Spread> spreads;
  for (std::size_t c = 0; c < x.channels(); ++c) {
    const double mean = sums[c] / count;
    spreads.push_back({mean, std::sqrt(std::max(squares[c] / count - mean * mean, 0.0))});
  }
  return spreads;
}

void standardize(LayerNorm& norm, Linear& layer, Tensor& x) {
  const std::vector<Spread> spreads = spreads_of_channels(x);
  double mean = 0;
  for (const Spread& spread : spreads) {
    mean += spread.deviation / static_cast<double>(spreads.size());
  }
  std::vector<Coordinate> coordinates;
  for (const Spread& spread : spreads) {
    const double unit = spread.deviation > 1e-6 * mean ? spread.deviation / mean : 1.0;
    coordinates.push_back({static_cast<float>(spread.mean), static_cast<float>(unit)});
  }
  change_coordinates(norm, layer, coordinates, x);
}

}  // namespace bitlog2::calibration
