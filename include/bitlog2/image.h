// Images from files to the model's input crop, byte for byte as Pillow and
// torchvision do it.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

namespace bitlog2 {

/// 8-bit RGB, rows top to bottom, [height, width, 3].
struct RgbImage {
  int width = 0;
  int height = 0;
  std::vector<std::uint8_t> pixels;
};

/// How a model wants its input.
struct Preprocessing {
  int resize = 256;  ///< the shorter side after resizing, pixels: floor(crop / crop_pct)
  int crop = 224;    ///< side of the centre crop, pixels
  std::array<float, 3> mean = {0.485F, 0.456F, 0.406F};  ///< of channels in [0, 1]
  std::array<float, 3> std = {0.229F, 0.224F, 0.225F};
};

/// Decodes a JPEG or a PNG, told apart by content and never by name, to what Pillow's
/// `Image.open(...).convert("RGB")` gives: alpha is dropped, EXIF orientation and colour
/// profiles are ignored, 16-bit gray is clipped and other 16-bit samples lose their lower
/// byte. `name` is for messages. Throws Error for anything else, for damaged data and for
/// images over 2^28 pixels; a JPEG's flaws that leave no data missing are passed over, as
/// Pillow does, but a PNG's checksums must hold.
RgbImage decode_image(std::span<const std::byte> bytes, const std::string& name);

/// Reads and decodes a file. Throws Error.
RgbImage read_image(const std::filesystem::path& path);

/// Pillow's antialiased bicubic resize (a = -0.5) to width x height, in its 8-bit fixed
/// point. No side of either may be zero.
RgbImage resize_bicubic(const RgbImage& image, int width, int height);

/// Resizes the shorter side to `preprocessing.resize` (the longer to
/// int(resize * long / short)), then cuts the centre crop, with torchvision's rounding.
/// Returns [crop, crop, 3]; where the resized image is smaller than the crop, zeros
/// surround it, as in torchvision. No side may be zero.
RgbImage resize_and_crop(const RgbImage& image, const Preprocessing& preprocessing);

/// (pixel / 255 - mean) / std in float32, to planes: `crop` [S, S, 3] becomes `planes`
/// [3, S, S], which must have its size.
void normalise(const RgbImage& crop, const Preprocessing& preprocessing, std::span<float> planes);

}  // namespace bitlog2
