// JPEG through libjpeg.
#include <fmt/format.h>

#include <array>
#include <csetjmp>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <vector>

// jpeglib.h needs <cstddef> and <cstdio> before it.
// clang-format off
#include <jpeglib.h>
#include <jerror.h>
// clang-format on

#include "io/image_formats.h"

namespace bitlog2 {
namespace {

/// libjpeg over bytes in memory. Its errors become Error; its warnings are ignored, as
/// Pillow does, but for missing data.
class JpegReader {
 public:
  explicit JpegReader(const ImageFile& file) : file_(file) {}
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
      throw damaged(file_, "JPEG", message_.data());
    }
  }

  void read_header() {
    jpeg_.err = jpeg_std_error(&errors_);
    errors_.error_exit = fail;
    errors_.output_message = [](j_common_ptr) {};
    jpeg_.client_data = this;
    jpeg_create_decompress(&jpeg_);
    source_.next_input_byte = reinterpret_cast<const JOCTET*>(file_.bytes.data());
    source_.bytes_in_buffer = file_.bytes.size();
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
    check_size(file_, "JPEG", width, height);
    check_holds(file_, "JPEG", width, height, kMaxJpegPixelsPerByte);
    switch (jpeg_.num_components) {
      case 1:
      case 3:
        jpeg_.out_color_space = JCS_RGB;
        break;
      case 4:
        jpeg_.out_color_space = JCS_CMYK;
        break;
      default:
        throw Error(fmt::format("{}: a JPEG of {} channels; convert it to RGB", file_.name,
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

  /// Pillow takes every CMYK JPEG as Adobe's, which store 255 - ink, whether it says so or not.
  void read_cmyk_rows(RgbImage& image) {
    std::vector<std::uint8_t> row(std::size_t{jpeg_.output_width} * 4);
    while (jpeg_.output_scanline < jpeg_.output_height) {
      read_row(row.data());
      for (std::size_t i = 0; i < row.size(); i += 4) {
        for (std::size_t channel = 0; channel < 3; ++channel) {
          image.pixels.push_back(cmyk_to_rgb(255 - row[i + channel], row[i + 3]));
        }
      }
    }
  }

  void read_row(std::uint8_t* row) {
    guarded([this, &row] { jpeg_read_scanlines(&jpeg_, &row, 1); });
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

  const ImageFile& file_;
  jpeg_decompress_struct jpeg_{};
  jpeg_error_mgr errors_{};
  jpeg_source_mgr source_{};
  std::jmp_buf failure_{};
  std::array<char, JMSG_LENGTH_MAX> message_{};
};

}  // namespace

RgbImage decode_jpeg(const ImageFile& file) {
  return JpegReader(file).read();
}

}  // namespace bitlog2
