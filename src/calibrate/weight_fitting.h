// The weights of a linear layer, found for its quantized input.
#pragma once

#include <span>

#include "bitlog2/quantized_model.h"
#include "simulate/tensor.h"

namespace bitlog2::calibration {

/// Finds the weights and bias of `layer` that take the quantized inputs x to the target, rounded
/// where the settings quantize weights, and their quantizer. `row_weights` repeats along the rows.
void fit_weights(const QuantizationSettings& settings, Linear& layer, const simulate::Tensor& x,
                 const simulate::Tensor& target, std::span<const float> row_weights,
                 Quantizers& quantizers, ThreadPool& pool);

}  // namespace bitlog2::calibration
