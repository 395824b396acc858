// Shared by the image decoders: there is one decoder for each format, in its own decode_*.cpp,
// called by image_decode.cpp. A decoder must not trust a size that the file's bytes cannot hold,
// must not ignore missing data, and must not let a library print or end the process.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>

#include "bitlog2/error.h"
#include "bitlog2/image.h"

namespace bitlog2 {

/// The input of a decoder.
struct ImageFile {
  std::span<const std::byte> bytes;
  const std::string& name;  ///< for messages
  std::uint64_t max_pixels = kMaxPixels;
};

/// The highest compression ratio of deflate: 258 bytes for 2 bits.
inline constexpr std::uint64_t kMaxDeflateRatio = 1032;

/// The highest compression ratio of LZW with codes of 12 bits: at most 4096 bytes for a code of one
/// and a half bytes.
inline constexpr std::uint64_t kMaxLzwRatio = 4096;

/// A coded JPEG block takes a bit at least, and the coarsest subsampling leaves a block for
/// every 128 pixels.
inline constexpr std::uint64_t kMaxJpegPixelsPerByte = 1024;

RgbImage decode_jpeg(const ImageFile& file);
RgbImage decode_png(const ImageFile& file);
RgbImage decode_webp(const ImageFile& file);
RgbImage decode_bmp(const ImageFile& file);
RgbImage decode_gif(const ImageFile& file);
RgbImage decode_tiff(const ImageFile& file);

/// True if the file at `path` begins as an image of a format that is decoded. False where it cannot
/// be read.
bool is_image_file(const std::filesystem::path& path);

/// What bytes that no decoder takes are, by their first bytes, and what to do:
/// "a HEIC image; convert it to JPEG or PNG".
std::string describe_other(std::span<const std::byte> bytes);

Error damaged(const ImageFile& file, std::string_view format, std::string_view why);

/// For images that are whole, but of a kind that is not decoded.
Error unsupported(const ImageFile& file, std::string_view format, std::string_view kind);

/// For files that are too small for the pixels that they claim.
Error cannot_hold(const ImageFile& file, std::string_view format, std::uint64_t width,
                  std::uint64_t height);

/// Throws for an image without pixels or with more than allowed. Both sides under 2^32.
void check_size(const ImageFile& file, std::string_view format, std::uint64_t width,
                std::uint64_t height);

/// Throws if the file's bytes cannot hold so many pixels. The size must have been checked.
void check_holds(const ImageFile& file, std::string_view format, std::uint64_t width,
                 std::uint64_t height, std::uint64_t max_pixels_per_byte);

/// Whether to accept so many pixels in a format in which a few bytes can stand for any number of
/// equal ones: up to 2^25 always, more only if the file is not nearly empty.
bool may_hold_blank(const ImageFile& file, std::uint64_t pixels);

/// An image without rows yet: memory is reserved, but used only as rows are added, so that a false
/// size costs nothing.
RgbImage start_image(std::uint64_t width, std::uint64_t height);

bool starts_with(std::span<const std::byte> bytes, std::string_view magic, std::size_t at = 0);

/// Red, green or blue of a CMYK pixel as Pillow converts it, which knows no colour profile.
/// `ink` is cyan, magenta or yellow; `white` is 255 - black.
std::uint8_t cmyk_to_rgb(int ink, int white);

}  // namespace bitlog2
