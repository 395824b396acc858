// Image files to 8-bit RGB, as Pillow's Image.open(...).convert("RGB") gives it: finds the
// decoder by the file's first bytes.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <fstream>
#include <string>
#include <vector>

#include "bitlog2/error.h"
#include "bitlog2/files.h"
#include "bitlog2/image.h"
#include "io/image_formats.h"

namespace bitlog2 {
namespace {

/// How many pixels a file may claim that is not much larger than its header.
constexpr std::uint64_t kMaxBlankPixels = std::uint64_t{1} << 25;
constexpr std::uint64_t kMaxBlankPixelsPerByte = 1024;

bool is_jpeg(std::span<const std::byte> bytes) {
  return starts_with(bytes, "\xff\xd8\xff");
}

bool is_png(std::span<const std::byte> bytes) {
  return starts_with(bytes, "\x89PNG\r\n\x1a\n");
}

bool is_webp(std::span<const std::byte> bytes) {
  return starts_with(bytes, "RIFF") && starts_with(bytes, "WEBP", 8);
}

/// "BM" alone could begin a text; the header's size tells.
bool is_bmp(std::span<const std::byte> bytes) {
  constexpr std::array kHeaderSizes = {12, 40, 52, 56, 64, 108, 124};
  constexpr std::size_t kSizeAt = 14;
  if (!starts_with(bytes, "BM") || bytes.size() < kSizeAt + 4) {
    return false;
  }
  return bytes[kSizeAt + 1] == std::byte{0} && bytes[kSizeAt + 2] == std::byte{0} &&
         bytes[kSizeAt + 3] == std::byte{0} &&
         std::ranges::find(kHeaderSizes, std::to_integer<int>(bytes[kSizeAt])) !=
             kHeaderSizes.end();
}

bool is_gif(std::span<const std::byte> bytes) {
  return starts_with(bytes, "GIF87a") || starts_with(bytes, "GIF89a");
}

/// Either byte order, classic or BigTIFF.
bool is_tiff(std::span<const std::byte> bytes) {
  using namespace std::string_view_literals;
  return starts_with(bytes, "II\x2a\0"sv) || starts_with(bytes, "MM\0\x2a"sv) ||
         starts_with(bytes, "II\x2b\0"sv) || starts_with(bytes, "MM\0\x2b"sv);
}

struct Decoder {
  std::string_view format;
  bool (*matches)(std::span<const std::byte>);
  RgbImage (*decode)(const ImageFile&);  ///< null where the build leaves the format out
};

/// Names `decode` only where it is built. A template, so that the other branch is dropped
/// before anything in it is looked for.
template <bool Built, RgbImage (*decode)(const ImageFile&)>
constexpr auto decoder_if() -> RgbImage (*)(const ImageFile&) {
  if constexpr (Built) {
    return decode;
  } else {
    return nullptr;
  }
}

constexpr std::array kDecoders = {
    Decoder{"JPEG", is_jpeg, decode_jpeg},
    Decoder{"PNG", is_png, decode_png},
    Decoder{"WebP", is_webp, decoder_if<BITLOG2_WEBP, decode_webp>()},
    Decoder{"BMP", is_bmp, decoder_if<BITLOG2_BMP, decode_bmp>()},
    Decoder{"GIF", is_gif, decoder_if<BITLOG2_GIF, decode_gif>()},
    Decoder{"TIFF", is_tiff, decoder_if<BITLOG2_TIFF, decode_tiff>()},
};

}  // namespace

Error damaged(const ImageFile& file, std::string_view format, std::string_view why) {
  return Error(fmt::format("{}: damaged {} ({}); replace or remove it", file.name, format, why));
}

Error unsupported(const ImageFile& file, std::string_view format, std::string_view kind) {
  return Error(fmt::format("{}: a {} {}, which is not supported; convert it to 8-bit RGB",
                           file.name, format, kind));
}

void check_size(const ImageFile& file, std::string_view format, std::uint64_t width,
                std::uint64_t height) {
  if (width == 0 || height == 0) {
    throw damaged(file, format, fmt::format("{}x{} pixels", width, height));
  }
  if (width * height > file.max_pixels) {
    throw Error(fmt::format("{}: {}x{} pixels is over the limit of {}; shrink or remove it",
                            file.name, width, height, file.max_pixels));
  }
}

Error cannot_hold(const ImageFile& file, std::string_view format, std::uint64_t width,
                  std::uint64_t height) {
  return damaged(
      file, format,
      fmt::format("{} bytes cannot hold {}x{} pixels", file.bytes.size(), width, height));
}

void check_holds(const ImageFile& file, std::string_view format, std::uint64_t width,
                 std::uint64_t height, std::uint64_t max_pixels_per_byte) {
  if (width * height > file.bytes.size() * max_pixels_per_byte) {
    throw cannot_hold(file, format, width, height);
  }
}

bool may_hold_blank(const ImageFile& file, std::uint64_t pixels) {
  return pixels <= kMaxBlankPixels || pixels <= file.bytes.size() * kMaxBlankPixelsPerByte;
}

RgbImage start_image(std::uint64_t width, std::uint64_t height) {
  RgbImage image{static_cast<int>(width), static_cast<int>(height), {}};
  image.pixels.reserve(width * height * 3);
  return image;
}

bool starts_with(std::span<const std::byte> bytes, std::string_view magic, std::size_t at) {
  return bytes.size() >= at + magic.size() &&
         std::memcmp(bytes.data() + at, magic.data(), magic.size()) == 0;
}

std::uint8_t cmyk_to_rgb(int ink, int white) {
  const int product = ink * white + 128;
  return static_cast<std::uint8_t>(white - (((product >> 8) + product) >> 8));  // / 255, rounded
}

std::vector<std::string_view> image_formats() {
  std::vector<std::string_view> formats;
  for (const Decoder& decoder : kDecoders) {
    if (decoder.decode != nullptr) {
      formats.push_back(decoder.format);
    }
  }
  return formats;
}

bool is_image_file(const std::filesystem::path& path) {
  constexpr std::size_t kLookedAt = 64;
  std::array<std::byte, kLookedAt> start = {};
  std::ifstream file(path, std::ios::binary);
  file.read(reinterpret_cast<char*>(start.data()), start.size());
  const auto bytes = std::span(start).first(static_cast<std::size_t>(file.gcount()));
  return std::ranges::any_of(kDecoders,
                             [&](const Decoder& decoder) { return decoder.matches(bytes); });
}

RgbImage decode_image(std::span<const std::byte> bytes, const std::string& name,
                      std::uint64_t max_pixels) {
  const auto* const decoder = std::ranges::find_if(
      kDecoders, [&bytes](const Decoder& candidate) { return candidate.matches(bytes); });
  if (decoder == kDecoders.end()) {
    throw Error(fmt::format("{}: {}", name, describe_other(bytes)));
  }
  if (decoder->decode == nullptr) {
    throw Error(fmt::format("{}: a {} image, which this build leaves out; convert it to PNG", name,
                            decoder->format));
  }
  return decoder->decode({bytes, name, max_pixels});
}

RgbImage read_image(const std::filesystem::path& path, const std::atomic<bool>* stop) {
  const FileBytes file(path, kMaxStreamBytes, stop);
  return decode_image(file.bytes(), path.string());
}

}  // namespace bitlog2
