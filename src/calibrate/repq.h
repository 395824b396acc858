// RepQ-ViT's calibration, as published.
#pragma once

#include "bitlog2/calibrate.h"
#include "calibrate/images.h"

namespace bitlog2::calibration {

/// calibrate() for the recipe `repq`.
Calibration calibrate_repq(Model model, const QuantizationSettings& settings, const Images& images,
                           ThreadPool& pool, const CalibrationContext& context);

}  // namespace bitlog2::calibration
