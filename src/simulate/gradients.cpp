#include "simulate/gradients.h"

#include <cmath>
#include <numbers>

#include "base/target_clones.h"
#include "simulate/loop_terms.h"

namespace bitlog2::simulate {
namespace {

/// The standard normal distribution's density.
inline float normal_density(float x) {
  constexpr float kFactor = 0.398942280401432678F;  // 1 / sqrt(2 pi)
  return kFactor * exp_of_nonpositive(-0.5F * x * x);
}

namespace clones {

BITLOG2_TARGET_CLONES void gelu_gradient(std::span<const float> x, std::span<float> gradient) {
  constexpr float kSqrtHalf = std::numbers::sqrt2_v<float> / 2;
  for (std::size_t i = 0; i < x.size(); ++i) {
    gradient[i] *= 0.5F * (1.0F + error_function(x[i] * kSqrtHalf)) + x[i] * normal_density(x[i]);
  }
}

BITLOG2_TARGET_CLONES void gelu_tanh_gradient(std::span<const float> x, std::span<float> gradient) {
  constexpr float kFactor = 0.797884560802865356F;  // sqrt(2 / pi)
  constexpr float kCubic = 0.044715F;
  for (std::size_t i = 0; i < x.size(); ++i) {
    const float square = x[i] * x[i];
    const float tangent = hyperbolic_tangent(kFactor * (x[i] + kCubic * square * x[i]));
    const float slope = kFactor * (1.0F + 3 * kCubic * square) * (1.0F - tangent * tangent);
    gradient[i] *= 0.5F * (1.0F + tangent) + 0.5F * x[i] * slope;
  }
}

BITLOG2_TARGET_CLONES void quick_gelu_gradient(std::span<const float> x,
                                               std::span<float> gradient) {
  constexpr float kHalf = 0.851F;
  for (std::size_t i = 0; i < x.size(); ++i) {
    const float tangent = hyperbolic_tangent(kHalf * x[i]);
    gradient[i] *= 0.5F * (1.0F + tangent) + 0.5F * x[i] * kHalf * (1.0F - tangent * tangent);
  }
}

BITLOG2_TARGET_CLONES void tanh_gradient(std::span<const float> x, std::span<float> gradient) {
  for (std::size_t i = 0; i < x.size(); ++i) {
    const float tangent = hyperbolic_tangent(x[i]);
    gradient[i] *= 1.0F - tangent * tangent;
  }
}

BITLOG2_TARGET_CLONES void swiglu_gradient(std::span<const float> x,
                                           std::span<const float> gradient, std::span<float> of_x) {
  const std::size_t size = gradient.size();
  for (std::size_t i = 0; i < size; ++i) {
    const float gate = sigmoid(x[i]);
    const float silu = x[i] * gate;
    of_x[i] = gradient[i] * x[size + i] * (gate + silu * (1.0F - gate));
    of_x[size + i] = gradient[i] * silu;
  }
}

BITLOG2_TARGET_CLONES void softmax_gradient(std::span<const float> probabilities,
                                            std::span<float> gradient) {
  const float mean =
      sum_terms(gradient.size(), [&](std::size_t i) { return gradient[i] * probabilities[i]; });
  for (std::size_t i = 0; i < gradient.size(); ++i) {
    gradient[i] = probabilities[i] * (gradient[i] - mean);
  }
}

BITLOG2_TARGET_CLONES void layer_norm_gradient(std::span<const float> x,
                                               std::span<const float> gamma, float eps,
                                               std::span<float> gradient,
                                               std::span<float> gamma_gradient) {
  const std::size_t size = x.size();
  const auto count = static_cast<float>(size);
  const Standardization standard = standardization_of(x, eps);
  const auto standardized = [&](std::size_t i) { return (x[i] - standard.mean) * standard.factor; };
  for (std::size_t i = 0; i < size; ++i) {
    gamma_gradient[i] = gradient[i] * standardized(i);
    gradient[i] *= gamma[i];
  }
  const float mean_gradient = sum_terms(size, [&](std::size_t i) { return gradient[i]; }) / count;
  const float slope =
      sum_terms(size, [&](std::size_t i) { return gradient[i] * standardized(i); }) / count;
  for (std::size_t i = 0; i < size; ++i) {
    gradient[i] = standard.factor * (gradient[i] - mean_gradient - standardized(i) * slope);
  }
}

BITLOG2_TARGET_CLONES float quantizer_gradient(std::span<const float> x,
                                               std::span<const float> quantized, float low,
                                               float high, std::span<float> gradient) {
  const float of_scale = sum_terms(x.size(), [&](std::size_t i) {
    const bool inside = x[i] >= low && x[i] <= high;
    return gradient[i] * (quantized[i] - (inside ? x[i] : 0.0F));
  });
  for (std::size_t i = 0; i < x.size(); ++i) {
    const bool inside = x[i] >= low && x[i] <= high;
    gradient[i] = inside ? gradient[i] : 0.0F;
  }
  return of_scale;
}

BITLOG2_TARGET_CLONES float dot(std::span<const float> a, std::span<const float> b) {
  return sum_terms(a.size(), [&](std::size_t i) { return a[i] * b[i]; });
}

}  // namespace clones
}  // namespace

void activation_gradient(Activation function, std::span<const float> x, std::span<float> gradient) {
  switch (function) {
    case Activation::gelu:
      return clones::gelu_gradient(x, gradient);
    case Activation::gelu_tanh:
      return clones::gelu_tanh_gradient(x, gradient);
    case Activation::quick_gelu:
      return clones::quick_gelu_gradient(x, gradient);
    case Activation::tanh:
      return clones::tanh_gradient(x, gradient);
    case Activation::swiglu:
      break;  // which is not a function of one value
  }
}

void swiglu_gradient(std::span<const float> x, std::span<const float> gradient,
                     std::span<float> of_x) {
  clones::swiglu_gradient(x, gradient, of_x);
}

void softmax_gradient(std::span<const float> probabilities, std::span<float> gradient) {
  clones::softmax_gradient(probabilities, gradient);
}

void layer_norm_gradient(std::span<const float> x, std::span<const float> gamma, float eps,
                         std::span<float> gradient, std::span<float> gamma_gradient) {
  clones::layer_norm_gradient(x, gamma, eps, gradient, gamma_gradient);
}

float quantizer_gradient(std::span<const float> x, std::span<const float> quantized, float low,
                         float high, std::span<float> gradient) {
  return clones::quantizer_gradient(x, quantized, low, high, gradient);
}

float dot(std::span<const float> a, std::span<const float> b) {
  return clones::dot(a, b);
}

}  // namespace bitlog2::simulate
