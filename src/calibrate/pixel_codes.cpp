#include "calibrate/pixel_codes.h"

#include "bitlog2/quantized_model.h"

namespace bitlog2::fitting {

void absorb_normalisation(Model& model) {
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

std::vector<float> renormalised(std::span<const float> images, std::size_t image_size,
                                const Preprocessing& from, const Preprocessing& to) {
  const std::size_t area = image_size * image_size;
  std::vector<float> result(images.begin(), images.end());
  for (std::size_t plane = 0; plane * area < result.size(); ++plane) {
    const std::size_t channel = plane % from.std.size();
    for (float& value : std::span(result).subspan(plane * area, area)) {
      const float pixel = value * from.std[channel] + from.mean[channel];
      value = (pixel - to.mean[channel]) / to.std[channel];
    }
  }
  return result;
}

UniformQuantizer pixel_quantizer() {
  return {kPatchEmbeddingInputBits, {1.0F / 255.0F}, {0.0F}};
}

}  // namespace bitlog2::fitting
