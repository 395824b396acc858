#include "simulate/loops.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <numbers>

#include "base/target_clones.h"
#include "simulate/loop_terms.h"

namespace bitlog2::simulate {
namespace {

/// By integers in the same order, since the compiler can vectorize their maximum.
inline float maximum(std::span<const float> row) {
  constexpr std::int32_t kAllButSign = 0x7FFFFFFF;
  const auto ordered = [](std::int32_t bits) { return bits ^ ((bits >> 31) & kAllButSign); };
  std::int32_t largest = ordered(std::bit_cast<std::int32_t>(row[0]));
  for (const float value : row) {
    largest = std::max(largest, ordered(std::bit_cast<std::int32_t>(value)));
  }
  return std::bit_cast<float>(ordered(largest));
}

namespace clones {

BITLOG2_TARGET_CLONES void gelu(std::span<float> values) {
  constexpr float kSqrtHalf = std::numbers::sqrt2_v<float> / 2;
  for (float& value : values) {
    value = value * 0.5F * (1.0F + error_function(value * kSqrtHalf));
  }
}

BITLOG2_TARGET_CLONES void gelu_tanh(std::span<float> values) {
  constexpr float kFactor = 0.797884560802865356F;  // sqrt(2 / pi)
  for (float& value : values) {
    const float cubic = value + 0.044715F * value * value * value;
    value = value * 0.5F * (1.0F + hyperbolic_tangent(kFactor * cubic));
  }
}

BITLOG2_TARGET_CLONES void quick_gelu(std::span<float> values) {
  for (float& value : values) {  // sigmoid(2 z) = (1 + tanh(z)) / 2
    value = value * 0.5F * (1.0F + hyperbolic_tangent(0.851F * value));
  }
}

BITLOG2_TARGET_CLONES void tanh(std::span<float> values) {
  for (float& value : values) {
    value = hyperbolic_tangent(value);
  }
}

BITLOG2_TARGET_CLONES void swiglu(std::span<const float> x, std::span<float> result) {
  const std::size_t size = result.size();
  for (std::size_t i = 0; i < size; ++i) {
    result[i] = x[i] * sigmoid(x[i]) * x[size + i];
  }
}

BITLOG2_TARGET_CLONES void softmax(std::span<float> row) {
  const float largest = maximum(row);
  for (float& value : row) {
    value = exp_of_nonpositive(value - largest);
  }
  const float sum = sum_terms(row.size(), [&](std::size_t i) { return row[i]; });
  for (float& value : row) {
    value /= sum;
  }
}

BITLOG2_TARGET_CLONES void layer_norm(std::span<const float> row, std::span<const float> gamma,
                                      std::span<const float> beta, float eps,
                                      std::span<float> output) {
  const auto [mean, factor] = standardization_of(row, eps);
  for (std::size_t i = 0; i < row.size(); ++i) {
    output[i] = (row[i] - mean) * factor * gamma[i] + beta[i];
  }
}

BITLOG2_TARGET_CLONES void scale(std::span<float> values, float factor) {
  for (float& value : values) {
    value *= factor;
  }
}

BITLOG2_TARGET_CLONES void add(std::span<float> values, std::span<const float> others) {
  for (std::size_t i = 0; i < values.size(); ++i) {
    values[i] += others[i];
  }
}

}  // namespace clones
}  // namespace

void gelu(std::span<float> values) {
  clones::gelu(values);
}

void activate(Activation function, std::span<float> values) {
  switch (function) {
    case Activation::gelu:
      return clones::gelu(values);
    case Activation::gelu_tanh:
      return clones::gelu_tanh(values);
    case Activation::quick_gelu:
      return clones::quick_gelu(values);
    case Activation::tanh:
      return clones::tanh(values);
    case Activation::swiglu:
      break;  // which is not a function of one value
  }
}

void swiglu(std::span<const float> x, std::span<float> result) {
  clones::swiglu(x, result);
}

void softmax(std::span<float> row) {
  clones::softmax(row);
}

void layer_norm(std::span<const float> row, std::span<const float> gamma,
                std::span<const float> beta, float eps, std::span<float> output) {
  clones::layer_norm(row, gamma, beta, eps, output);
}

void scale(std::span<float> values, float factor) {
  clones::scale(values, factor);
}

void add(std::span<float> values, std::span<const float> others) {
  clones::add(values, others);
}

}  // namespace bitlog2::simulate
