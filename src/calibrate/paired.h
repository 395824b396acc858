// Calibration layer by layer, with a float stream beside the quantized one: what the recipes
// beyond RepQ-ViT need.
#pragma once

#include "bitlog2/calibrate.h"

namespace bitlog2::calibration {

/// calibrate() for any recipe, of a model that is transformed already. In order of execution, each
/// layer's input quantizer and weights are found so that its output, from what the quantized
/// network above really gives it, comes close to the float network's. `images` [batch, 3, S, S] are
/// normalised.
Calibration calibrate_paired(const Model& model, const QuantizationSettings& settings,
                             std::span<const float> images, ThreadPool& pool,
                             const CalibrationProgress& progress);

}  // namespace bitlog2::calibration
