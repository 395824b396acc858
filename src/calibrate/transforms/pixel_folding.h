// Normalisation folded into the patch embedding. A pixel is one of 256 numbers, and normalisation
// shifts and scales each colour channel by its own mean and standard deviation; one quantizer of 8
// bits for all three channels cannot meet their steps. With (p / 255 - mean) / std moved into the
// patch embedding's weights and bias, its input is p / 255, and the scale 1 / 255 makes p of it,
// without any error.
#pragma once

#include "bitlog2/model.h"
#include "bitlog2/quantizers.h"

namespace bitlog2::calibration {

/// Rewrites `model` to take pixels / 255: the same function of the pixels.
void fold_normalisation(Model& model);

/// The input quantizer of the patch embedding then.
Affine pixel_quantizer();

}  // namespace bitlog2::calibration
