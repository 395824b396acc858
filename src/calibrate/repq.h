// RepQ-ViT's calibration, as published.
#pragma once

#include "bitlog2/calibrate.h"

namespace bitlog2::calibration {

/// calibrate() for the recipe `repq`. `images` [batch, 3, S, S] are normalised.
Calibration calibrate_repq(Model model, const QuantizationSettings& settings,
                           std::span<const float> images, ThreadPool& pool,
                           const CalibrationProgress& progress);

}  // namespace bitlog2::calibration
