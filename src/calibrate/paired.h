// Calibration layer by layer, with a float stream beside the quantized one: what the recipes
// beyond RepQ-ViT need.
#pragma once

#include "bitlog2/calibrate.h"
#include "calibrate/images.h"

namespace bitlog2::calibration {

/// calibrate() for any recipe, of a model that is transformed already. In order of execution, each
/// layer's input quantizer and weights are found so that its output, from what the quantized
/// network above really gives it, comes close to the float network's.
Calibration calibrate_paired(Model model, const QuantizationSettings& settings,
                             const Images& images, ThreadPool& pool,
                             const CalibrationContext& context);

}  // namespace bitlog2::calibration
