// Feeds arbitrary bytes to the image decoder and its output to the resize. Whatever the
// bytes, nothing but Error may come out. Seeds: fuzz/corpus/image.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>

#include "bitlog2/error.h"
#include "bitlog2/image.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  // Larger images cost time and reach no other code.
  constexpr int kMaxSide = 512;
  try {
    const bitlog2::RgbImage image =
        bitlog2::decode_image(std::as_bytes(std::span(data, size)), "fuzz");
    if (std::max(image.width, image.height) <= kMaxSide) {
      bitlog2::resize_and_crop(image, {16, 14, {}, {}});
    }
  } catch (const bitlog2::Error&) {
  }
  return 0;
}
