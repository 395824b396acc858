// Every gradient, compared with differences of its function.
#include "simulate/gradients.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <vector>

#include "bitlog2/quantizers.h"
#include "random_values.h"
#include "simulate/loops.h"

namespace bitlog2::simulate {
namespace {

using ::bitlog2::testing::normal_values;

using Loop = std::function<std::vector<float>(std::vector<float>)>;

/// The gradient of the sum of weights[i] * loop(x)[i], by central differences.
std::vector<float> differences(const Loop& loop, const std::vector<float>& x,
                               const std::vector<float>& weights) {
  constexpr float kStep = 1.0F / 128;
  std::vector<float> gradient(x.size());
  for (std::size_t i = 0; i < x.size(); ++i) {
    std::vector<float> above = x;
    std::vector<float> below = x;
    above[i] += kStep;
    below[i] -= kStep;
    gradient[i] = (dot(loop(above), weights) - dot(loop(below), weights)) / (2 * kStep);
  }
  return gradient;
}

void expect_near(const std::vector<float>& found, const std::vector<float>& wanted) {
  ASSERT_EQ(found.size(), wanted.size());
  for (std::size_t i = 0; i < found.size(); ++i) {
    EXPECT_NEAR(found[i], wanted[i], 2e-3F * (1 + std::fabs(wanted[i]))) << i;
  }
}

constexpr std::size_t kSize = 37;  // no multiple of a vector

TEST(Gradients, OfActivations) {
  const std::vector<float> x = normal_values(kSize, 1);
  const std::vector<float> weights = normal_values(kSize, 2);
  for (const Activation function :
       {Activation::gelu, Activation::gelu_tanh, Activation::quick_gelu, Activation::tanh}) {
    const Loop loop = [&](std::vector<float> values) {
      activate(function, values);
      return values;
    };
    std::vector<float> gradient = weights;
    activation_gradient(function, x, gradient);
    expect_near(gradient, differences(loop, x, weights));
  }
}

TEST(Gradients, OfSwiGlu) {
  const std::vector<float> x = normal_values(2 * kSize, 1);
  const std::vector<float> weights = normal_values(kSize, 2);
  const Loop loop = [](const std::vector<float>& values) {
    std::vector<float> result(values.size() / 2);
    swiglu(values, result);
    return result;
  };
  std::vector<float> gradient(2 * kSize);
  swiglu_gradient(x, weights, gradient);
  expect_near(gradient, differences(loop, x, weights));
}

TEST(Gradients, OfActivationsFarFromZeroAreOneAndNone) {
  for (const Activation function :
       {Activation::gelu, Activation::gelu_tanh, Activation::quick_gelu}) {
    std::vector<float> gradient = {1.0F, 1.0F};
    activation_gradient(function, std::vector<float>{1e4F, -1e4F}, gradient);
    EXPECT_NEAR(gradient[0], 1.0F, 1e-6F);
    EXPECT_NEAR(gradient[1], 0.0F, 1e-6F);
  }
}

TEST(Gradients, OfSoftmax) {
  const std::vector<float> x = normal_values(kSize, 3);
  const std::vector<float> weights = normal_values(kSize, 4);
  const Loop loop = [](std::vector<float> values) {
    softmax(values);
    return values;
  };
  std::vector<float> gradient = weights;
  softmax_gradient(loop(x), gradient);
  expect_near(gradient, differences(loop, x, weights));
}

TEST(Gradients, OfLayerNorm) {
  const std::vector<float> x = normal_values(kSize, 5);
  const std::vector<float> gamma = normal_values(kSize, 6);
  const std::vector<float> beta = normal_values(kSize, 7);
  const std::vector<float> weights = normal_values(kSize, 8);
  const auto norm = [&](const std::vector<float>& values, const std::vector<float>& factors) {
    std::vector<float> output(kSize);
    layer_norm(values, factors, beta, 1e-6F, output);
    return output;
  };
  std::vector<float> gradient = weights;
  std::vector<float> of_gamma(kSize);
  layer_norm_gradient(x, gamma, 1e-6F, gradient, of_gamma);
  expect_near(gradient,
              differences([&](const auto& values) { return norm(values, gamma); }, x, weights));
  expect_near(of_gamma,
              differences([&](const auto& values) { return norm(x, values); }, gamma, weights));
}

TEST(Gradients, OfAQuantizerPassThroughWithinItsRangeAndMoveItsScale) {
  const Affine quantizer = {3, {0.5F}, {2.0F}};  // -1 to 2.5
  const std::vector<float> x = {-7.0F, -1.0F, 0.2F, 2.4F, 2.5F, 9.0F};
  const std::vector<float> weights = {1.0F, 2.0F, 3.0F, 4.0F, 5.0F, 6.0F};
  std::vector<float> quantized = x;
  fake_quantize(quantizer, quantized);
  std::vector<float> gradient = weights;
  const float of_scale = quantizer_gradient(x, quantized, -1.0F, 2.5F, gradient);
  EXPECT_EQ(gradient, (std::vector<float>{0.0F, 2.0F, 3.0F, 4.0F, 5.0F, 0.0F}));
  // The derivative of x^ by the scale: outside of the range it is the end, in steps; inside it is
  // what rounding adds to x, in steps.
  EXPECT_NEAR(of_scale, 1.0F * -1.0F + 3.0F * (0.0F - 0.2F) + 4.0F * (2.5F - 2.4F) + 6.0F * 2.5F,
              1e-5F);
}

}  // namespace
}  // namespace bitlog2::simulate
