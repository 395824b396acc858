// Feeds arbitrary bytes to the image decoders and their output to the resize. For any bytes,
// nothing but Error may be thrown. Seeds: fuzz/corpus/image.
#include <cstddef>
#include <cstdint>
#include <span>

#include "bitlog2/error.h"
#include "bitlog2/image.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  // Larger images cost time and reach no other code.
  constexpr std::uint64_t kMaxPixels = std::uint64_t{1} << 14;
  constexpr int kMaxResized = 1 << 11;
  try {
    const bitlog2::RgbImage image =
        bitlog2::decode_image(std::as_bytes(std::span(data, size)), "fuzz", kMaxPixels);
    if (image.width * image.height <= kMaxResized) {
      bitlog2::resize_and_crop(image, {16, 14, {}, {}});
    }
  } catch (const bitlog2::Error&) {
  }
  return 0;
}
