// Calibration: from a model and a few images to a quantized model (RepQ-ViT; SPEC 4).
#pragma once

#include <functional>
#include <span>

#include "bitlog2/parallel.h"
#include "bitlog2/quantized_model.h"

namespace bitlog2 {

struct Calibration {
  QuantizedModel quantized;
  Quantizers after_initial_calibration;  ///< before scale reparameterization
};

/// Called as calibration goes on: layers done, of how many.
using CalibrationProgress = std::function<void(std::size_t done, std::size_t total)>;

/// One forward pass over `images` ([batch, 3, S, S], normalised, batch >= 1) in which every
/// quantizer calibrates itself on data already quantized upstream; then scale
/// reparameterization; then the weights behind it again. An exception of `progress` ends it.
Calibration calibrate(Model model, const QuantizationSettings& settings,
                      std::span<const float> images, ThreadPool& pool,
                      const CalibrationProgress& progress = {});

/// `model` in the coordinates in which `recipe` calibrates it, of its residual stream and of its
/// pixels (config.preprocessing): the same function of an image, and the float network whose layers
/// a calibrated one's can be compared with.
Model in_recipe_coordinates(Model model, const Recipe& recipe);

}  // namespace bitlog2
