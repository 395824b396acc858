// Calibration layer by layer, with the activations of the float network beside those of the
// quantized one, for all recipes but RepQ-ViT's.
#pragma once

#include "bitlog2/calibrate.h"
#include "calibrate/images.h"

namespace bitlog2::calibration {

/// calibrate() for any recipe, of a model that is transformed already. In order of execution, it
/// finds each layer's input quantizer and weights such that its output, from the input that it has
/// in the quantized network, comes close to its target.
Calibration calibrate_paired(Model model, const QuantizationSettings& settings,
                             const Images& images, ThreadPool& pool,
                             const CalibrationContext& context);

}  // namespace bitlog2::calibration
