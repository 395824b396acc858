// From image files to the model's input crop, with the same bytes as Pillow, torchvision and
// transformers.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#pragma GCC visibility push(default)
namespace bitlog2 {

/// 8-bit RGB, rows top to bottom, [height, width, 3].
struct RgbImage {
  int width = 0;
  int height = 0;
  std::vector<std::uint8_t> pixels;
};

/// The filters of Pillow's Image.resize.
enum class Filter : std::uint8_t { bicubic, nearest, box, bilinear, hamming, lanczos };

/// timm's and Pillow's names, in the order of Filter.
inline constexpr std::array<std::string_view, 6> kFilterNames = {"bicubic",  "nearest", "box",
                                                                 "bilinear", "hamming", "lanczos"};

/// The filter of one of kFilterNames. Throws Error, with the choices, for another name.
Filter find_filter(std::string_view name);

/// The filter for a value of Pillow's Image.Resampling, which transformers calls `resample`: 0
/// nearest, 1 lanczos, 2 bilinear, 3 bicubic, 4 box, 5 hamming. Throws Error for other numbers.
Filter filter_from_pillow(int resample);

/// Which sides a resize sets.
enum class ResizeMode : std::uint8_t {
  shorter,  ///< the shorter side becomes `resize` pixels; proportions are kept
  squash,   ///< both sides become `resize` pixels
};

/// How a centre crop is rounded where half a pixel is left over, and where an image that is smaller
/// than the crop lies in the zeros around it.
enum class CropRounding : std::uint8_t {
  torchvision,   ///< halves go to the even pixel; in zeros, half a pixel to the left and top
  transformers,  ///< halves are rounded down; in zeros, half a pixel to the right and bottom
};

/// How a model's input is prepared.
struct Preprocessing {
  int resize = 256;  ///< side after resizing, pixels: floor(crop / crop_pct)
  int crop = 224;    ///< side of the centre crop, pixels
  std::array<float, 3> mean = {0.485F, 0.456F, 0.406F};  ///< of R, G, B in [0, 1]; ImageNet's
  std::array<float, 3> std = {0.229F, 0.224F, 0.225F};
  Filter filter = Filter::bicubic;
  ResizeMode resize_mode = ResizeMode::shorter;
  CropRounding crop_rounding = CropRounding::torchvision;
};

/// The most pixels that an image may have.
inline constexpr std::uint64_t kMaxPixels = std::uint64_t{1} << 28;

/// The formats that this build decodes: JPEG and PNG always, WebP, BMP, GIF and TIFF unless
/// the build leaves them out.
std::vector<std::string_view> image_formats();

/// Decodes an image of one of these formats, which are recognized by content and never by name. The
/// result is that of `Image.open(...).convert("RGB")` in Pillow 13.0:
///
/// - Alpha is dropped, colour profiles are ignored.
/// - Orientation is followed in TIFF and ignored elsewhere.
/// - 16-bit gray is clipped; other 16-bit samples lose their lower byte.
/// - A GIF or WebP animation gives its first frame on its canvas, a TIFF its first page.
///
/// `name` is for messages. Throws Error for anything else, for damaged data, for images over
/// `max_pixels` and for those that Pillow refuses or that are stored in ways that are not
/// supported (TIFF of floating-point or L*a*b* samples, for example). A JPEG's flaws that
/// leave no data missing are passed over, as Pillow does, but a PNG's checksums must hold.
RgbImage decode_image(std::span<const std::byte> bytes, const std::string& name,
                      std::uint64_t max_pixels = kMaxPixels);

/// Reads a file, pipe or device to its end and decodes it; `stop` as for FileBytes. Throws Error as
/// decode_image and FileBytes do.
RgbImage read_image(const std::filesystem::path& path, const std::atomic<bool>* stop = nullptr);

/// Pillow's Image.resize, antialiased but for `nearest`, rows before columns as up to Pillow 12.3
/// (13: columns first where far more height than width is lost). No side of either may be zero.
RgbImage resize_image(const RgbImage& image, int width, int height, Filter filter);

/// Resizes the shorter side to `preprocessing.resize` (the longer to int(resize * long / short)),
/// or both sides, then cuts the centre crop. Returns [crop, crop, 3]; where the resized image is
/// smaller than the crop, zeros surround it. No side may be zero.
RgbImage resize_and_crop(const RgbImage& image, const Preprocessing& preprocessing);

/// (pixel / 255 - mean) / std in float32: `crop` [S, S, 3] becomes `planes` [3, S, S], which must
/// have as many values.
void normalise(const RgbImage& crop, const Preprocessing& preprocessing, std::span<float> planes);

}  // namespace bitlog2
#pragma GCC visibility pop
