// The weights of a linear layer, found for its quantized input.
#pragma once

#include <cstddef>

#include "bitlog2/quantized_model.h"
#include "calibrate/least_squares.h"

namespace bitlog2::calibration {

/// Whether fit_weights needs moments for a layer of this role.
bool wants_moments(const QuantizationSettings& settings, Role role);

/// Finds the weights and bias of `layer` that bring its output from quantized inputs close to the
/// targets; `moments` are those of inputs and targets on `rows` rows. Where the settings quantize
/// weights, they are rounded, and their quantizer is added to `quantizers`.
void fit_weights(const QuantizationSettings& settings, Linear& layer, Moments moments,
                 std::size_t rows, Quantizers& quantizers, ThreadPool& pool);

/// As RepQ-ViT rounds: each row by its own error, each weight to its nearest code.
Affine round_by_rows(Linear& layer, int bits, ThreadPool& pool);

}  // namespace bitlog2::calibration
