// The float engines' element-wise and row-wise loops, compiled for several instruction
// sets and chosen at run time; all give the same bits.
#pragma once

#include <cstddef>
#include <span>

#include "bitlog2/model.h"

namespace bitlog2::simulate {

/// x <- x / 2 * (1 + erf(x / sqrt(2))), the exact GELU, to 5e-7.
void gelu(std::span<float> values);

/// x <- function(x), to 5e-7 of max(|x|, 1).
/// Not for swiglu.
void activate(Activation function, std::span<float> values);

/// result[i] <- SiLU(x[i]) * x[n + i], of n results and 2n values x; SiLU as exact as activate().
void swiglu(std::span<const float> x, std::span<float> result);

/// row <- softmax(row), to 2e-7.
void softmax(std::span<float> row);

/// output <- (row - mean) / sqrt(variance + eps) * gamma + beta.
void layer_norm(std::span<const float> row, std::span<const float> gamma,
                std::span<const float> beta, float eps, std::span<float> output);

/// values <- values * factor.
void scale(std::span<float> values, float factor);

/// values <- values + others.
void add(std::span<float> values, std::span<const float> others);

}  // namespace bitlog2::simulate
