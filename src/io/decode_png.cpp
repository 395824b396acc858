// PNG through libspng.
#include <fmt/format.h>
#include <spng.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <vector>

#include "io/image_formats.h"

namespace bitlog2 {
namespace {

/// What the compressed streams that accompany a PNG's pixels may grow to, bytes.
constexpr std::size_t kMaxPngMetadata = std::size_t{1} << 24;

void check_png(int code, const ImageFile& file) {
  if (code != 0) {
    throw damaged(file, "PNG", spng_strerror(code));
  }
}

using PngContext = std::unique_ptr<spng_ctx, decltype(&spng_ctx_free)>;

PngContext open_png(const ImageFile& file) {
  PngContext png(spng_ctx_new(0), &spng_ctx_free);
  if (png == nullptr) {
    throw Error(fmt::format("{}: no memory to decode it", file.name));
  }
  const std::size_t limit = std::max(file.bytes.size(), kMaxPngMetadata);
  check_png(spng_set_chunk_limits(png.get(), limit, limit), file);
  check_png(spng_set_png_buffer(png.get(), file.bytes.data(), file.bytes.size()), file);
  return png;
}

std::uint64_t samples_per_pixel(const spng_ihdr& header) {
  switch (header.color_type) {
    case SPNG_COLOR_TYPE_TRUECOLOR:
      return 3;
    case SPNG_COLOR_TYPE_GRAYSCALE_ALPHA:
      return 2;
    case SPNG_COLOR_TYPE_TRUECOLOR_ALPHA:
      return 4;
    default:
      return 1;
  }
}

spng_ihdr read_png_header(spng_ctx* png, const ImageFile& file) {
  spng_ihdr header{};
  check_png(spng_get_ihdr(png, &header), file);
  check_size(file, "PNG", header.width, header.height);
  const std::uint64_t bits = samples_per_pixel(header) * header.bit_depth * header.width;
  if ((bits + 7) / 8 * header.height > file.bytes.size() * kMaxDeflateRatio) {
    throw cannot_hold(file, "PNG", header.width, header.height);
  }
  return header;
}

/// All rows in `format`, `pixel_size` bytes each pixel, appended to the empty `pixels`.
void read_png_rows(spng_ctx* png, const spng_ihdr& header, spng_format format,
                   std::size_t pixel_size, const ImageFile& file,
                   std::vector<std::uint8_t>& pixels) {
  const std::size_t stride = header.width * pixel_size;
  check_png(spng_decode_image(png, nullptr, 0, format, SPNG_DECODE_PROGRESSIVE), file);
  spng_row_info row{};
  int code = spng_get_row_info(png, &row);
  while (code == 0) {
    // An interlaced image's rows come once a pass, in leaps.
    pixels.resize(std::max(pixels.size(), (row.row_num + std::size_t{1}) * stride));
    code = spng_decode_row(png, pixels.data() + row.row_num * stride, stride);
    if (code == 0) {
      code = spng_get_row_info(png, &row);
    }
  }
  check_png(code == SPNG_EOI ? 0 : code, file);
}

/// Pillow reads 16-bit gray as integers and clips them to 8 bits; it takes the upper byte of
/// every other 16-bit sample, as libspng does.
void read_gray16_png(spng_ctx* png, const spng_ihdr& header, const ImageFile& file,
                     std::vector<std::uint8_t>& pixels) {
  std::vector<std::uint8_t> samples;
  read_png_rows(png, header, SPNG_FMT_PNG, sizeof(std::uint16_t), file, samples);
  for (std::size_t i = 0; i < samples.size(); i += sizeof(std::uint16_t)) {
    std::uint16_t sample = 0;
    std::memcpy(&sample, samples.data() + i, sizeof(sample));
    pixels.insert(pixels.end(), 3, static_cast<std::uint8_t>(std::min<int>(sample, 255)));
  }
}

}  // namespace

/// Alpha and transparent colours are dropped, not composited.
RgbImage decode_png(const ImageFile& file) {
  const PngContext png = open_png(file);
  const spng_ihdr header = read_png_header(png.get(), file);
  RgbImage image = start_image(header.width, header.height);
  if (header.color_type == SPNG_COLOR_TYPE_GRAYSCALE && header.bit_depth == 16) {
    read_gray16_png(png.get(), header, file, image.pixels);
  } else {
    read_png_rows(png.get(), header, SPNG_FMT_RGB8, 3, file, image.pixels);
  }
  return image;
}

}  // namespace bitlog2
