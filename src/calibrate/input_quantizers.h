// How the quantizer of a linear layer's input is found.
#pragma once

#include "bitlog2/quantized_model.h"
#include "simulate/tensor.h"

namespace bitlog2::calibration {

/// A layer whose input is to be quantized.
struct LayerInput {
  const QuantizationSettings& settings;
  Linear& layer;
  LayerNorm* norm;  ///< whose output the input is, token by token or a mean of them; or null
  simulate::Tensor& x;
  ThreadPool& pool;

  int bits() const { return settings.activation_bits(layer.role); }
};

/// Finds the quantizer of the layer's input, as the recipe says, and quantizes x. The norm and the
/// layer may be rewritten for other coordinates of x: the same function.
Quantizer quantize_input(const LayerInput& input);

}  // namespace bitlog2::calibration
