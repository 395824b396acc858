// Calibration: from a model and a few images to a quantized model, as a recipe says
// (bitlog2/recipe.h).
#pragma once

#include <functional>
#include <span>

#include "bitlog2/image.h"
#include "bitlog2/parallel.h"
#include "bitlog2/quantized_model.h"

#pragma GCC visibility push(default)
namespace bitlog2 {

struct Calibration {
  QuantizedModel quantized;
  Quantizers after_initial_calibration;  ///< RepQ-ViT's before scale reparameterization
};

/// Called as calibration goes on: layers done, of how many.
using CalibrationProgress = std::function<void(std::size_t done, std::size_t total)>;

/// A quantized model from `crops`, at least one, each [S, S, 3] as resize_and_crop gives them.
/// The recipe `repq` is RepQ-ViT: one forward pass in which every quantizer calibrates itself on
/// data already quantized upstream; then scale reparameterization; then the weights behind it
/// again. Any other recipe transforms the model first and then finds quantizers and weights layer
/// by layer, beside a float stream. An exception of `progress` ends it.
Calibration calibrate(Model model, const QuantizationSettings& settings,
                      std::span<const RgbImage> crops, ThreadPool& pool,
                      const CalibrationProgress& progress = {});

/// `model` in the coordinates in which `recipe` calibrates it, of its residual stream and of its
/// pixels (config.preprocessing): the same function of an image, and the float network whose layers
/// a calibrated one's can be compared with.
Model in_recipe_coordinates(Model model, const Recipe& recipe);

}  // namespace bitlog2
#pragma GCC visibility pop
