// Finds the quantizer of a linear layer's input.
#pragma once

#include "bitlog2/quantized_model.h"
#include "calibrate/sequence.h"

namespace bitlog2::calibration {

/// A layer whose input is to be quantized.
struct LayerInput {
  const QuantizationSettings& settings;
  Linear& layer;
  LayerNorm* norm;  ///< the norm that gives the input, for each token or for their mean; or null
  const Sequence&
      x;  ///< the input; changes of the norm or of the layer before it change its values
  ThreadPool& pool;

  int bits() const { return settings.activation_bits(layer.role); }
};

/// Finds the quantizer of the layer's input, as the recipe says. May rewrite the norm and the layer
/// for other coordinates of x, without changing their function.
Quantizer find_input_quantizer(const LayerInput& input);

/// RepQ-ViT's two kinds: a quantile range for each channel, or one for all channels.
Affine find_channel_ranges(const Sequence& x, int bits, ThreadPool& pool);
Affine find_range(const Sequence& x, int bits, ThreadPool& pool);

}  // namespace bitlog2::calibration
