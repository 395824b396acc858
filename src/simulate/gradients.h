// The reverse of the float engines' loops (simulate/loops.h): from the gradient of a loss with
// respect to what a loop wrote, to that with respect to what it read. The same bits with all
// instruction sets.
#pragma once

#include <cstddef>
#include <span>

#include "bitlog2/model.h"

namespace bitlog2::simulate {

/// Multiplies the gradient by function'(x), for an activation function at x. Not for swiglu.
void activation_gradient(Activation function, std::span<const float> x, std::span<float> gradient);

/// Of swiglu(): `of_x` <- the gradient of x, from the gradient of the result.
void swiglu_gradient(std::span<const float> x, std::span<const float> gradient,
                     std::span<float> of_x);

/// Replaces the gradient of `probabilities` by that of the scores whose softmax they are.
void softmax_gradient(std::span<const float> probabilities, std::span<float> gradient);

/// Of y = (x - mean) / sqrt(variance + eps) * gamma + beta: gradient <- that of x, and
/// gamma_gradient <- this row's of gamma. That of beta is the gradient itself.
void layer_norm_gradient(std::span<const float> x, std::span<const float> gamma, float eps,
                         std::span<float> gradient, std::span<float> gamma_gradient);

/// Of x^ = scale * level(x / scale), straight through: level is treated as the identity from `low`
/// to `high`, the lowest and highest x^, and as constant beyond them. Replaces the gradient by that
/// of x; returns the gradient of the scale, times the scale.
float quantizer_gradient(std::span<const float> x, std::span<const float> quantized, float low,
                         float high, std::span<float> gradient);

/// The sum of a[i] * b[i].
float dot(std::span<const float> a, std::span<const float> b);

}  // namespace bitlog2::simulate
