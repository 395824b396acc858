#include "calibrate/transforms/pixel_folding.h"

#include "bitlog2/quantized_model.h"

namespace bitlog2::calibration {

void fold_normalisation(Model& model) {
  Preprocessing& preprocessing = model.config.preprocessing;
  Linear& layer = model.patch_embed;
  layer.has_bias = true;
  layer.bias.resize(layer.out_features);
  const std::size_t area = layer.in_features / preprocessing.std.size();
  float* weight = layer.weight.data();
  for (float& bias : layer.bias) {
    double moved = 0;
    for (std::size_t channel = 0; channel < preprocessing.std.size(); ++channel) {
      for (std::size_t i = 0; i < area; ++i, ++weight) {
        *weight /= preprocessing.std[channel];
        moved += static_cast<double>(*weight) * preprocessing.mean[channel];
      }
    }
    bias -= static_cast<float>(moved);
  }
  preprocessing.mean = {0.0F, 0.0F, 0.0F};
  preprocessing.std = {1.0F, 1.0F, 1.0F};
}

Affine pixel_quantizer() {
  return {kPatchEmbeddingInputBits, {1.0F / 255.0F}, {0.0F}};
}

}  // namespace bitlog2::calibration
