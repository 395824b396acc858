// Scale reparameterization moves scales, and does not change what is computed.
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <cmath>
#include <random>

#include "bitlog2/quantized_model.h"

namespace bitlog2 {
namespace {

std::vector<float> affine(const LayerNorm& norm, std::span<const float> normalised) {
  std::vector<float> result;
  for (std::size_t c = 0; c < normalised.size(); ++c) {
    result.push_back(normalised[c] * norm.gamma[c] + norm.beta[c]);
  }
  return result;
}

std::vector<double> outputs_of(const Linear& linear, std::span<const float> x) {
  std::vector<double> y;
  for (std::size_t row = 0; row < linear.out_features; ++row) {
    double sum = linear.bias.empty() ? 0.0 : linear.bias[row];
    for (std::size_t c = 0; c < linear.in_features; ++c) {
      sum += static_cast<double>(linear.weight[row * linear.in_features + c]) * x[c];
    }
    y.push_back(sum);
  }
  return y;
}

RC_GTEST_PROP(Reparameterize, KeepsTheFunctionAndMovesTheGrid, (bool with_bias)) {
  std::mt19937 generator(*rc::gen::arbitrary<unsigned>());
  std::normal_distribution<float> normal;
  std::uniform_real_distribution<float> scales(0.05F, 0.5F);
  const std::size_t channels = *rc::gen::inRange<std::size_t>(1, 20);
  const std::size_t outputs = *rc::gen::inRange<std::size_t>(1, 9);
  LayerNorm norm = {"norm", channels, 1e-6F, {}, {}};
  Linear linear = {"linear", channels, outputs, with_bias, {}, {}, Role::fc1};
  Affine input = {4, {}, {}};
  std::vector<float> normalised;
  for (std::size_t c = 0; c < channels; ++c) {
    norm.gamma.push_back(normal(generator));
    norm.beta.push_back(normal(generator));
    input.scale.push_back(scales(generator));
    input.zero_point.push_back(static_cast<float>(*rc::gen::inRange(0, 16)));
    normalised.push_back(normal(generator));
  }
  for (std::size_t i = 0; i < channels * outputs; ++i) {
    linear.weight.push_back(normal(generator));
  }
  if (with_bias) {
    linear.bias.assign(outputs, 0.25F);
  }

  const std::vector<float> x = affine(norm, normalised);
  const std::vector<double> before = outputs_of(linear, x);
  LayerNorm new_norm = norm;
  Linear new_linear = linear;
  const Affine merged = reparameterize(new_norm, new_linear, input);
  const std::vector<float> new_x = affine(new_norm, normalised);
  const std::vector<double> after = outputs_of(new_linear, new_x);

  RC_ASSERT(merged.scale.size() == 1U);
  RC_ASSERT(new_linear.bias.size() == outputs);
  for (std::size_t row = 0; row < outputs; ++row) {
    RC_ASSERT(std::fabs(before[row] - after[row]) <= 1e-3 * (1 + std::fabs(before[row])));
  }
  // Every channel's levels, [-z_c, 15 - z_c] * scale_c, are now the common ones.
  for (std::size_t c = 0; c < channels; ++c) {
    const double steps = x[c] / input.scale[c] + input.zero_point[c];
    const double new_steps = new_x[c] / merged.scale[0] + merged.zero_point[0];
    RC_ASSERT(std::fabs(steps - new_steps) <= 1e-2);
  }
}

}  // namespace
}  // namespace bitlog2
