// How the quantizer of a linear layer's input is found.
#pragma once

#include "bitlog2/quantized_model.h"
#include "calibrate/sequence.h"

namespace bitlog2::calibration {

/// A layer whose input is to be quantized.
struct LayerInput {
  const QuantizationSettings& settings;
  Linear& layer;
  LayerNorm* norm;    ///< whose output the input is, token by token or a mean of them; or null
  const Sequence& x;  ///< a change of the norm or the layer before it shows in it
  ThreadPool& pool;

  int bits() const { return settings.activation_bits(layer.role); }
};

/// Finds the quantizer of the layer's input, as the recipe says. The norm and the layer may be
/// rewritten for other coordinates of x: the same function.
Quantizer find_input_quantizer(const LayerInput& input);

/// RepQ-ViT's two: one range of quantiles for each channel, or for all.
Affine find_channel_ranges(const Sequence& x, int bits, ThreadPool& pool);
Affine find_range(const Sequence& x, int bits, ThreadPool& pool);

}  // namespace bitlog2::calibration
