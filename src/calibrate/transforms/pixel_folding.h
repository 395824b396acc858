// Normalisation folded into the patch embedding. A pixel has 256 values, and normalisation shifts
// and scales each colour channel by its own mean and standard deviation; so one 8-bit quantizer for
// all three channels cannot represent them exactly. With (p / 255 - mean) / std moved into the
// patch embedding's weights and bias, its input is p / 255, and with the scale 1 / 255 its code is
// p, without any error.
#pragma once

#include "bitlog2/model.h"
#include "bitlog2/quantizers.h"

namespace bitlog2::calibration {

/// Rewrites `model` to take pixels / 255 as its input; its function of the pixels stays the same.
void fold_normalisation(Model& model);

/// The input quantizer of the patch embedding after that.
Affine pixel_quantizer();

}  // namespace bitlog2::calibration
