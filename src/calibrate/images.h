// The images that calibration reads.
#pragma once

#include <cstddef>
#include <functional>
#include <span>
#include <vector>

#include "bitlog2/image.h"

namespace bitlog2::calibration {

/// The calibration images as the model's input.
struct Images {
  std::size_t count = 0;
  /// [count, 3, S, S], normalised, of images [first, first + count).
  std::function<std::vector<float>(std::size_t first, std::size_t count)> read;
};

/// The crops, by this preprocessing; both are kept by reference.
Images images_of(std::span<const RgbImage> crops, const Preprocessing& preprocessing);

/// `images` [count, 3, S, S], kept by reference.
Images images_of(std::span<const float> images, std::size_t count);

}  // namespace bitlog2::calibration
