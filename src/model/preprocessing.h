// From crop_pct, the crop's share of the resized image, to sizes in pixels, as in timm.
#pragma once

#include <array>
#include <cmath>
#include <cstddef>

#include "bitlog2/image.h"

namespace bitlog2 {

/// Of red, green and blue.
using Channels = std::array<float, 3>;

/// For a model whose input has `img_size` pixels a side.
inline Preprocessing preprocessing_for(std::size_t img_size, double crop_pct) {
  Preprocessing result;
  result.crop = static_cast<int>(img_size);
  result.resize = static_cast<int>(std::floor(static_cast<double>(img_size) / crop_pct));
  return result;
}

}  // namespace bitlog2
