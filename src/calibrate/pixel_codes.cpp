#include "calibrate/pixel_codes.h"

#include "bitlog2/quantized_model.h"

namespace bitlog2::fitting {

void absorb_normalisation(Model& model) {
  Preprocessing& preprocessing = model.config.preprocessing;
  Linear& layer = model.patch_embed;
  layer.has_bias = true;
  layer.bias.resize(layer.out_features);
  const std::size_t area = layer.in_features / 3;
  for (std::size_t row = 0; row < layer.out_features; ++row) {
    double moved = 0;
    for (std::size_t i = 0; i < layer.in_features; ++i) {
      float& weight = layer.weight[row * layer.in_features + i];
      weight /= preprocessing.std[i / area];
      moved += static_cast<double>(weight) * preprocessing.mean[i / area];
    }
    layer.bias[row] -= static_cast<float>(moved);
  }
  preprocessing.mean = {0.0F, 0.0F, 0.0F};
  preprocessing.std = {1.0F, 1.0F, 1.0F};
}

std::vector<float> renormalised(std::span<const float> images, std::size_t image_size,
                                const Preprocessing& from, const Preprocessing& to) {
  const std::size_t area = image_size * image_size;
  std::vector<float> result(images.begin(), images.end());
  for (std::size_t i = 0; i < result.size(); ++i) {
    const std::size_t channel = i / area % 3;
    const float pixel = result[i] * from.std[channel] + from.mean[channel];
    result[i] = (pixel - to.mean[channel]) / to.std[channel];
  }
  return result;
}

UniformQuantizer pixel_quantizer() {
  return {kPatchEmbeddingInputBits, {1.0F / 255.0F}, {0.0F}};
}

}  // namespace bitlog2::fitting
