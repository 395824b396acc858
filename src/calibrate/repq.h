// RepQ-ViT's calibration, as published.
#pragma once

#include "bitlog2/calibrate.h"

namespace bitlog2 {

/// calibrate() for the recipe `repq`.
Calibration calibrate_repq(Model model, const QuantizationSettings& settings,
                           std::span<const float> images, ThreadPool& pool,
                           const CalibrationProgress& progress);

}  // namespace bitlog2
