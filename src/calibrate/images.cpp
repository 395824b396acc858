#include "calibrate/images.h"

#include "bitlog2/engine.h"

namespace bitlog2::calibration {

Images images_of(std::span<const RgbImage> crops, const Preprocessing& preprocessing) {
  return {crops.size(), [crops, &preprocessing](std::size_t first, std::size_t count) {
            return normalised_batch(crops.subspan(first, count), preprocessing);
          }};
}

Images images_of(std::span<const float> images, std::size_t count) {
  const std::size_t size = images.size() / count;
  return {count, [images, size](std::size_t first, std::size_t some) {
            const auto part = images.subspan(first * size, some * size);
            return std::vector<float>(part.begin(), part.end());
          }};
}

}  // namespace bitlog2::calibration
