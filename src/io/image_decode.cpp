// JPEG and PNG to 8-bit RGB, as Pillow's Image.open(...).convert("RGB") gives it. Nothing
// here may believe a size that the file's bytes cannot hold, pass over missing data, or let
// a library print or end the process.
#include <fmt/format.h>
#include <spng.h>

#include <algorithm>
#include <array>
#include <csetjmp>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

// jpeglib.h needs <cstddef> and <cstdio> before it.
// clang-format off
#include <jpeglib.h>
#include <jerror.h>
// clang-format on

#include "bitlog2/error.h"
#include "bitlog2/files.h"
#include "bitlog2/image.h"

namespace bitlog2 {
namespace {

constexpr std::uint64_t kMaxPixels = std::uint64_t{1} << 28;

/// A coded JPEG block takes a bit at least, and the coarsest subsampling leaves a block for
/// every 128 pixels.
constexpr std::uint64_t kMaxJpegPixelsPerByte = 1024;

/// Deflate's best: 258 bytes for 2 bits.
constexpr std::uint64_t kMaxDeflateRatio = 1032;

/// What the compressed streams that accompany a PNG's pixels may grow to, bytes.
constexpr std::size_t kMaxPngMetadata = std::size_t{1} << 24;

Error damaged(const std::string& name, std::string_view format, std::string_view why) {
  return Error(fmt::format("{}: damaged {} ({}); replace or remove it", name, format, why));
}

void check_size(std::uint64_t width, std::uint64_t height, const std::string& name) {
  // Both formats keep a side under 2^31, so the product cannot wrap.
  if (width * height > kMaxPixels) {
    throw Error(fmt::format("{}: {}x{} pixels is over the limit of {}; shrink or remove it", name,
                            width, height, kMaxPixels));
  }
}

/// An image whose rows are yet to come: memory is set aside, and touched only as they do, so
/// that a false size costs nothing.
RgbImage start_image(std::uint64_t width, std::uint64_t height) {
  RgbImage image{static_cast<int>(width), static_cast<int>(height), {}};
  image.pixels.reserve(width * height * 3);
  return image;
}

/// libjpeg over bytes in memory. Its errors become Error; its warnings are ignored, as
/// Pillow does, but for missing data.
class JpegReader {
 public:
  JpegReader(std::span<const std::byte> bytes, const std::string& name)
      : bytes_(bytes), name_(name) {}
  ~JpegReader() { jpeg_destroy_decompress(&jpeg_); }
  JpegReader(const JpegReader&) = delete;
  JpegReader& operator=(const JpegReader&) = delete;

  RgbImage read() {
    guarded([this] { read_header(); });
    check_header();
    guarded([this] { jpeg_start_decompress(&jpeg_); });
    RgbImage image = start_image(jpeg_.output_width, jpeg_.output_height);
    if (jpeg_.out_color_space == JCS_CMYK) {
      read_cmyk_rows(image);
    } else {
      read_rgb_rows(image);
    }
    return image;
  }

 private:
  /// Runs `step`, which may call libjpeg and own nothing: when libjpeg fails, control comes
  /// back here by longjmp, past any destructor.
  template <typename Step>
  void guarded(const Step& step) {
    if (setjmp(failure_) == 0) {
      step();
    } else {
      throw damaged(name_, "JPEG", message_.data());
    }
  }

  void read_header() {
    jpeg_.err = jpeg_std_error(&errors_);
    errors_.error_exit = fail;
    errors_.output_message = [](j_common_ptr) {};
    jpeg_.client_data = this;
    jpeg_create_decompress(&jpeg_);
    source_.next_input_byte = reinterpret_cast<const JOCTET*>(bytes_.data());
    source_.bytes_in_buffer = bytes_.size();
    source_.init_source = [](j_decompress_ptr) {};
    source_.fill_input_buffer = [](j_decompress_ptr jpeg) -> boolean { fail_at_end(jpeg); };
    source_.skip_input_data = skip;
    source_.resync_to_restart = jpeg_resync_to_restart;
    source_.term_source = [](j_decompress_ptr) {};
    jpeg_.src = &source_;
    while (jpeg_read_header(&jpeg_, FALSE) == JPEG_HEADER_TABLES_ONLY) {
    }
  }

  void check_header() {
    const std::uint64_t width = jpeg_.image_width;
    const std::uint64_t height = jpeg_.image_height;
    check_size(width, height, name_);
    if (width * height > bytes_.size() * kMaxJpegPixelsPerByte) {
      throw damaged(name_, "JPEG",
                    fmt::format("{} bytes cannot hold {}x{} pixels", bytes_.size(), width, height));
    }
    switch (jpeg_.num_components) {
      case 1:
      case 3:
        jpeg_.out_color_space = JCS_RGB;
        break;
      case 4:
        jpeg_.out_color_space = JCS_CMYK;
        break;
      default:
        throw Error(fmt::format("{}: a JPEG of {} channels; convert it to RGB", name_,
                                jpeg_.num_components));
    }
  }

  void read_rgb_rows(RgbImage& image) {
    const std::size_t stride = std::size_t{jpeg_.output_width} * 3;
    while (jpeg_.output_scanline < jpeg_.output_height) {
      image.pixels.resize(image.pixels.size() + stride);
      read_row(image.pixels.data() + image.pixels.size() - stride);
    }
  }

  void read_cmyk_rows(RgbImage& image) {
    std::vector<std::uint8_t> row(std::size_t{jpeg_.output_width} * 4);
    while (jpeg_.output_scanline < jpeg_.output_height) {
      read_row(row.data());
      append_cmyk(row, image);
    }
  }

  void read_row(std::uint8_t* row) {
    guarded([this, &row] { jpeg_read_scanlines(&jpeg_, &row, 1); });
  }

  /// Pillow takes every CMYK JPEG as Adobe's, which store 255 - ink, whether it says so or
  /// not, and knows no colour profile.
  static void append_cmyk(std::span<const std::uint8_t> row, RgbImage& image) {
    for (std::size_t i = 0; i < row.size(); i += 4) {
      const int white = row[i + 3];
      for (std::size_t channel = 0; channel < 3; ++channel) {
        const int product = (255 - row[i + channel]) * white + 128;
        const int ink = ((product >> 8) + product) >> 8;  // product / 255, rounded
        image.pixels.push_back(static_cast<std::uint8_t>(white - ink));
      }
    }
  }

  [[noreturn]] static void fail(j_common_ptr jpeg) {
    auto* reader = static_cast<JpegReader*>(jpeg->client_data);
    jpeg->err->format_message(jpeg, reader->message_.data());
    std::longjmp(reader->failure_, 1);
  }

  /// libjpeg's own source would warn and make up the rest.
  [[noreturn]] static void fail_at_end(j_decompress_ptr jpeg) {
    jpeg->err->msg_code = JWRN_JPEG_EOF;
    fail(reinterpret_cast<j_common_ptr>(jpeg));
  }

  static void skip(j_decompress_ptr jpeg, long count) {
    if (count <= 0) {
      return;
    }
    const auto skipped = static_cast<std::size_t>(count);
    if (skipped > jpeg->src->bytes_in_buffer) {
      fail_at_end(jpeg);
    }
    jpeg->src->next_input_byte += skipped;
    jpeg->src->bytes_in_buffer -= skipped;
  }

  std::span<const std::byte> bytes_;
  const std::string& name_;
  jpeg_decompress_struct jpeg_{};
  jpeg_error_mgr errors_{};
  jpeg_source_mgr source_{};
  std::jmp_buf failure_{};
  std::array<char, JMSG_LENGTH_MAX> message_{};
};

void check_png(int code, const std::string& name) {
  if (code != 0) {
    throw damaged(name, "PNG", spng_strerror(code));
  }
}

using PngContext = std::unique_ptr<spng_ctx, decltype(&spng_ctx_free)>;

PngContext open_png(std::span<const std::byte> bytes, const std::string& name) {
  PngContext png(spng_ctx_new(0), &spng_ctx_free);
  if (png == nullptr) {
    throw Error(fmt::format("{}: no memory to decode it", name));
  }
  const std::size_t limit = std::max(bytes.size(), kMaxPngMetadata);
  check_png(spng_set_chunk_limits(png.get(), limit, limit), name);
  check_png(spng_set_png_buffer(png.get(), bytes.data(), bytes.size()), name);
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

spng_ihdr read_png_header(spng_ctx* png, std::size_t file_size, const std::string& name) {
  spng_ihdr header{};
  check_png(spng_get_ihdr(png, &header), name);
  check_size(header.width, header.height, name);
  const std::uint64_t bits = samples_per_pixel(header) * header.bit_depth * header.width;
  if ((bits + 7) / 8 * header.height > file_size * kMaxDeflateRatio) {
    throw damaged(
        name, "PNG",
        fmt::format("{} bytes cannot hold {}x{} pixels", file_size, header.width, header.height));
  }
  return header;
}

/// All rows in `format`, `pixel_size` bytes each pixel, appended to the empty `pixels`.
void read_png_rows(spng_ctx* png, const spng_ihdr& header, spng_format format,
                   std::size_t pixel_size, const std::string& name,
                   std::vector<std::uint8_t>& pixels) {
  const std::size_t stride = header.width * pixel_size;
  check_png(spng_decode_image(png, nullptr, 0, format, SPNG_DECODE_PROGRESSIVE), name);
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
  check_png(code == SPNG_EOI ? 0 : code, name);
}

/// Pillow reads 16-bit gray as integers and clips them to 8 bits; it takes the upper byte of
/// every other 16-bit sample, as libspng does.
void read_gray16_png(spng_ctx* png, const spng_ihdr& header, const std::string& name,
                     std::vector<std::uint8_t>& pixels) {
  std::vector<std::uint8_t> samples;
  read_png_rows(png, header, SPNG_FMT_PNG, sizeof(std::uint16_t), name, samples);
  for (std::size_t i = 0; i < samples.size(); i += sizeof(std::uint16_t)) {
    std::uint16_t sample = 0;
    std::memcpy(&sample, samples.data() + i, sizeof(sample));
    pixels.insert(pixels.end(), 3, static_cast<std::uint8_t>(std::min<int>(sample, 255)));
  }
}

/// Alpha and transparent colours are dropped, not composited.
RgbImage decode_png(std::span<const std::byte> bytes, const std::string& name) {
  const PngContext png = open_png(bytes, name);
  const spng_ihdr header = read_png_header(png.get(), bytes.size(), name);
  RgbImage image = start_image(header.width, header.height);
  if (header.color_type == SPNG_COLOR_TYPE_GRAYSCALE && header.bit_depth == 16) {
    read_gray16_png(png.get(), header, name, image.pixels);
  } else {
    read_png_rows(png.get(), header, SPNG_FMT_RGB8, 3, name, image.pixels);
  }
  return image;
}

bool starts_with(std::span<const std::byte> bytes, std::string_view magic) {
  return bytes.size() >= magic.size() && std::memcmp(bytes.data(), magic.data(), magic.size()) == 0;
}

}  // namespace

RgbImage decode_image(std::span<const std::byte> bytes, const std::string& name) {
  if (starts_with(bytes, "\xff\xd8\xff")) {
    return JpegReader(bytes, name).read();
  }
  if (starts_with(bytes, "\x89PNG\r\n\x1a\n")) {
    return decode_png(bytes, name);
  }
  throw Error(fmt::format("{}: neither a JPEG nor a PNG; convert or remove it", name));
}

RgbImage read_image(const std::filesystem::path& path) {
  const MappedFile file(path);
  return decode_image(file.bytes(), path.string());
}

}  // namespace bitlog2
