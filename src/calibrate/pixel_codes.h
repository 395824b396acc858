// Pixels as the codes that they are. A pixel is one of 256 numbers, and normalisation shifts and
// scales each colour channel by its own mean and standard deviation; one quantizer of 8 bits for
// all three channels cannot meet their steps. With (p / 255 - mean) / std moved into the patch
// embedding's weights and bias, its input is p / 255, and the scale 1 / 255 makes p of it, without
// any error.
#pragma once

#include <span>
#include <vector>

#include "bitlog2/image.h"
#include "bitlog2/model.h"
#include "bitlog2/quantizers.h"

namespace bitlog2::fitting {

/// Rewrites `model` to take pixels / 255: the same function of the pixels.
void absorb_normalisation(Model& model);

/// `images` [batch, 3, S, S], normalised as `from` says, as `to` would have it.
std::vector<float> renormalised(std::span<const float> images, std::size_t image_size,
                                const Preprocessing& from, const Preprocessing& to);

/// The input quantizer of the patch embedding then.
UniformQuantizer pixel_quantizer();

}  // namespace bitlog2::fitting
