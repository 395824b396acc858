// BMP by a reader of its own. No library that Debian has gives Pillow's pixels over the format's
// variants: stb_image does not read run lengths, nor OS/2's later headers, and libnsbmp is not in
// Debian. Odd files (a palette of grays, a run length that leaves its row) are read as in Pillow,
// so that a file looks the same as in training.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "io/image_formats.h"

namespace bitlog2 {
namespace {

constexpr std::size_t kFileHeaderSize = 14;

enum Compression : std::uint32_t { kRaw = 0, kRle8 = 1, kRle4 = 2, kBitfields = 3 };

struct Header {
  std::uint32_t size = 0;  ///< of the header that follows the file's
  std::uint64_t width = 0;
  std::uint64_t height = 0;
  bool top_down = false;
  std::uint32_t bits = 0;  ///< a pixel
  std::uint32_t compression = kRaw;
  std::uint32_t colours = 0;      ///< of the palette
  std::size_t palette_entry = 4;  ///< bytes
  std::size_t masks_end = 0;      ///< where the palette starts
  std::size_t pixels_at = 0;
  std::array<std::uint32_t, 4> masks = {};  ///< red, green, blue, alpha

  /// From one row to the next, bytes.
  std::uint64_t stride() const { return (width * bits + 31) / 32 * 4; }
};

struct BmpPalette {
  std::array<std::array<std::uint8_t, 3>, 256> colours = {};
  unsigned sample_bits = 8;  ///< of an index in a raw row
};

/// Which byte of a pixel is red, green and blue.
struct ByteOrder {
  std::size_t red;
  std::size_t green;
  std::size_t blue;
};

class BmpReader {
 public:
  explicit BmpReader(const ImageFile& file) : file_(file) {}

  RgbImage read() {
    read_header();
    check_size(file_, "BMP", header_.width, header_.height);
    if (header_.compression == kRle8 || header_.compression == kRle4) {
      if (!may_hold_blank(file_, header_.width * header_.height)) {
        throw cannot_hold(file_, "BMP", header_.width, header_.height);
      }
      return read_run_lengths();
    }
    return header_.bits <= 8 ? read_indexed() : read_colours();
  }

 private:
  std::uint8_t byte(std::size_t at) const {
    if (at >= file_.bytes.size()) {
      throw damaged(file_, "BMP", "it ends early");
    }
    return std::to_integer<std::uint8_t>(file_.bytes[at]);
  }

  std::uint32_t word(std::size_t at) const {
    return byte(at) | static_cast<std::uint32_t>(byte(at + 1)) << 8;
  }

  std::uint32_t long_word(std::size_t at) const { return word(at) | word(at + 2) << 16; }

  void read_header() {
    header_.size = long_word(kFileHeaderSize);
    header_.masks_end = kFileHeaderSize + header_.size;
    byte(header_.masks_end - 1);
    if (header_.size == 12) {
      read_core_fields();
    } else {
      read_info_fields();
    }
    if (header_.colours == 0) {
      header_.colours = header_.bits < 32 ? 1U << header_.bits : 0;
    }
    constexpr std::array kDepths = {1U, 4U, 8U, 16U, 24U, 32U};
    if (std::ranges::find(kDepths, header_.bits) == kDepths.end()) {
      throw unsupported(file_, "BMP", fmt::format("of {} bits a pixel", header_.bits));
    }
    check_compression();
    header_.pixels_at = long_word(10);
    const std::size_t palette_size = header_.palette_entry * header_.colours;
    if (header_.pixels_at == 0) {
      header_.pixels_at = header_.masks_end + (header_.bits <= 8 ? palette_size : 0);
    } else if (header_.pixels_at == kFileHeaderSize + header_.size && header_.bits <= 8) {
      header_.pixels_at += palette_size;
    }
  }

  /// OS/2's first header.
  void read_core_fields() {
    header_.width = word(18);
    header_.height = word(20);
    header_.bits = word(24);
    header_.palette_entry = 3;
  }

  void read_info_fields() {
    header_.width = long_word(18);
    header_.height = long_word(22);
    header_.top_down = byte(25) == 0xFF;
    if (header_.top_down) {
      header_.height = (std::uint64_t{1} << 32) - header_.height;
    }
    header_.bits = word(28);
    header_.compression = long_word(30);
    header_.colours = long_word(46);
    if (header_.compression != kBitfields) {
      return;
    }
    // In the header, or after one that has no room for them.
    const bool has_alpha = header_.size >= 56;
    for (std::size_t i = 0; i < (has_alpha ? 4U : 3U); ++i) {
      header_.masks[i] = long_word(54 + 4 * i);
    }
    if (header_.size == 40) {
      header_.masks_end += 12;
    }
  }

  void check_compression() {
    switch (header_.compression) {
      case kRaw:
        return;
      case kBitfields:
        if (header_.bits <= 8) {
          throw unsupported(file_, "BMP", fmt::format("of bit fields in {} bits", header_.bits));
        }
        return;
      case kRle8:
      case kRle4:
        if (header_.bits > 8) {
          throw unsupported(file_, "BMP", fmt::format("of run lengths in {} bits", header_.bits));
        }
        return;
      default:
        throw unsupported(file_, "BMP", fmt::format("of compression {}", header_.compression));
    }
  }

  /// Pillow drops a palette of plain grays and then takes its indices for the samples, in 8
  /// bits, or in 1 bit if there are no more than two.
  BmpPalette read_palette() const {
    constexpr std::uint32_t kMostColours = 65536;
    if (header_.colours == 0 || header_.colours > kMostColours) {
      throw damaged(file_, "BMP", fmt::format("a palette of {} colours", header_.colours));
    }
    const auto rest = file_.bytes.subspan(std::min(header_.masks_end, file_.bytes.size()));
    const auto entries =
        rest.first(std::min<std::size_t>(rest.size(), header_.palette_entry * header_.colours));
    BmpPalette palette;
    palette.sample_bits = header_.bits;
    const std::size_t count = entries.size() / header_.palette_entry;
    if (is_gray(entries)) {
      const bool is_bilevel = header_.colours <= 2;
      palette.sample_bits = is_bilevel ? 1 : 8;
      for (std::size_t i = 0; i < palette.colours.size(); ++i) {
        palette.colours[i].fill(static_cast<std::uint8_t>(is_bilevel && i > 0 ? 255 : i));
      }
      return palette;
    }
    if (count > palette.colours.size()) {
      throw damaged(file_, "BMP", fmt::format("a palette of {} colours", count));
    }
    for (std::size_t i = 0; i < count; ++i) {
      for (std::size_t channel = 0; channel < 3; ++channel) {
        palette.colours[i][channel] =
            std::to_integer<std::uint8_t>(entries[i * header_.palette_entry + 2 - channel]);
      }
    }
    return palette;
  }

  /// Whether colour i is gray i, or black and white if there are two.
  bool is_gray(std::span<const std::byte> entries) const {
    for (std::size_t i = 0; i < header_.colours; ++i) {
      const std::size_t at = i * header_.palette_entry;
      const auto gray = static_cast<std::byte>(header_.colours == 2 ? i * 255 : i);
      if (at + 3 > entries.size() || entries[at] != gray || entries[at + 1] != gray ||
          entries[at + 2] != gray) {
        return false;
      }
    }
    return true;
  }

  /// The bytes of a row, which need not reach its padding. Checks that all rows are there.
  std::span<const std::byte> row(std::uint64_t y, std::uint64_t size) const {
    const std::uint64_t stored_y = header_.top_down ? y : header_.height - 1 - y;
    return file_.bytes.subspan(header_.pixels_at + stored_y * header_.stride(), size);
  }

  void check_rows(std::uint64_t row_size) const {
    if (row_size > header_.stride()) {
      throw damaged(file_, "BMP", "a palette of grays beside narrower pixels");
    }
    const std::uint64_t need = (header_.height - 1) * header_.stride() + row_size;
    if (header_.pixels_at > file_.bytes.size() || need > file_.bytes.size() - header_.pixels_at) {
      throw cannot_hold(file_, "BMP", header_.width, header_.height);
    }
  }

  RgbImage read_indexed() const {
    const BmpPalette palette = read_palette();
    const unsigned bits = palette.sample_bits;
    const std::uint64_t row_size = (header_.width * bits + 7) / 8;
    check_rows(row_size);
    RgbImage image = start_image(header_.width, header_.height);
    for (std::uint64_t y = 0; y < header_.height; ++y) {
      const auto samples = row(y, row_size);
      for (std::uint64_t x = 0; x < header_.width; ++x) {
        const std::uint64_t bit = x * bits;
        const unsigned shift = 8 - bits - static_cast<unsigned>(bit % 8);
        const unsigned index =
            (std::to_integer<unsigned>(samples[bit / 8]) >> shift) & ((1U << bits) - 1);
        image.pixels.insert(image.pixels.end(), palette.colours[index].begin(),
                            palette.colours[index].end());
      }
    }
    return image;
  }

  RgbImage read_colours() const {
    const bool has_masks = header_.compression == kBitfields;
    if (header_.bits == 16) {
      return has_masks && has_565_masks() ? read_16_bits<6>() : read_16_bits<5>();
    }
    return read_bytes(has_masks ? masked_order() : ByteOrder{2, 1, 0});
  }

  bool has_565_masks() const {
    const auto& [red, green, blue, alpha] = header_.masks;
    if (red == 0x7C00 && green == 0x3E0 && blue == 0x1F) {
      return false;
    }
    if (red != 0xF800 || green != 0x7E0 || blue != 0x1F) {
      throw unsupported_masks();
    }
    return true;
  }

  Error unsupported_masks() const {
    return unsupported(file_, "BMP",
                       fmt::format("of bit fields {:x}, {:x}, {:x} and {:x}", header_.masks[0],
                                   header_.masks[1], header_.masks[2], header_.masks[3]));
  }

  /// The layouts that Pillow knows; two of them do not follow the masks.
  ByteOrder masked_order() const {
    struct Layout {
      std::array<std::uint32_t, 4> masks;
      ByteOrder order;
    };
    constexpr std::array<Layout, 8> kLayouts = {{
        {{0xFF0000, 0xFF00, 0xFF, 0}, {2, 1, 0}},
        {{0xFF000000, 0xFF0000, 0xFF00, 0}, {3, 2, 1}},
        {{0xFF000000, 0xFF00, 0xFF, 0}, {3, 1, 0}},
        {{0xFF000000, 0xFF0000, 0xFF00, 0xFF}, {3, 2, 1}},
        {{0xFF, 0xFF00, 0xFF0000, 0xFF000000}, {0, 1, 2}},
        {{0xFF0000, 0xFF00, 0xFF, 0xFF000000}, {2, 1, 0}},
        {{0xFF000000, 0xFF00, 0xFF, 0xFF0000}, {3, 1, 0}},
        {{0, 0, 0, 0}, {2, 1, 0}},
    }};
    if (header_.bits == 24) {
      if (header_.masks[0] != 0xFF0000 || header_.masks[1] != 0xFF00 || header_.masks[2] != 0xFF) {
        throw unsupported_masks();
      }
      return {2, 1, 0};
    }
    const auto* const layout = std::ranges::find(kLayouts, header_.masks, &Layout::masks);
    if (layout == kLayouts.end()) {
      throw unsupported_masks();
    }
    return layout->order;
  }

  /// 5 bits each of blue and red; green between them has `GreenBits`.
  template <unsigned GreenBits>
  RgbImage read_16_bits() const {
    constexpr unsigned kMostGreen = (1U << GreenBits) - 1;
    const std::uint64_t row_size = header_.width * 2;
    check_rows(row_size);
    RgbImage image = start_image(header_.width, header_.height);
    for (std::uint64_t y = 0; y < header_.height; ++y) {
      const auto samples = row(y, row_size);
      for (std::uint64_t x = 0; x < row_size; x += 2) {
        const unsigned pixel =
            std::to_integer<unsigned>(samples[x]) | std::to_integer<unsigned>(samples[x + 1]) << 8;
        for (const unsigned value :
             {(pixel >> (5 + GreenBits) & 31) * 255 / 31,
              (pixel >> 5 & kMostGreen) * 255 / kMostGreen, (pixel & 31) * 255 / 31}) {
          image.pixels.push_back(static_cast<std::uint8_t>(value));
        }
      }
    }
    return image;
  }

  RgbImage read_bytes(ByteOrder order) const {
    const std::size_t pixel_size = header_.bits / 8;
    const std::uint64_t row_size = header_.width * pixel_size;
    check_rows(row_size);
    RgbImage image = start_image(header_.width, header_.height);
    for (std::uint64_t y = 0; y < header_.height; ++y) {
      const auto samples = row(y, row_size);
      for (std::uint64_t x = 0; x < row_size; x += pixel_size) {
        for (const std::size_t channel : {order.red, order.green, order.blue}) {
          image.pixels.push_back(std::to_integer<std::uint8_t>(samples[x + channel]));
        }
      }
    }
    return image;
  }

  RgbImage read_run_lengths() const {
    const BmpPalette palette = read_palette();
    const std::vector<std::uint8_t> indices = expand_run_lengths();
    RgbImage image = start_image(header_.width, header_.height);
    for (std::uint64_t y = 0; y < header_.height; ++y) {
      const std::uint64_t stored_y = header_.top_down ? y : header_.height - 1 - y;
      for (std::uint64_t x = 0; x < header_.width; ++x) {
        const auto& colour = palette.colours[indices[stored_y * header_.width + x]];
        image.pixels.insert(image.pixels.end(), colour.begin(), colour.end());
      }
    }
    return image;
  }

  std::optional<std::uint8_t> next(std::size_t& at) const {
    if (at >= file_.bytes.size()) {
      return std::nullopt;
    }
    return std::to_integer<std::uint8_t>(file_.bytes[at++]);
  }

  /// One index a pixel, rows in the file's order. As in Pillow, an early end is refused, and an
  /// end of line fills up the row only if something is in it.
  std::vector<std::uint8_t> expand_run_lengths() const {
    const std::size_t size = header_.width * header_.height;
    std::vector<std::uint8_t> indices;
    std::size_t at = header_.pixels_at;
    std::size_t x = 0;
    bool ended = false;
    while (!ended && indices.size() < size) {
      const auto count = next(at);
      const auto value = next(at);
      if (!count || !value) {
        break;
      }
      if (*count > 0) {
        const std::size_t room = header_.width - std::min<std::size_t>(header_.width, x);
        append_run(std::min<std::size_t>(*count, room), *value, indices);
        x += std::min<std::size_t>(*count, room);
      } else {
        ended = !follow_escape(*value, size, at, x, indices);
      }
    }
    if (indices.size() < size) {
      throw damaged(file_, "BMP", "its run lengths end early");
    }
    return indices;
  }

  void append_run(std::size_t count, std::uint8_t value, std::vector<std::uint8_t>& indices) const {
    for (std::size_t i = 0; i < count; ++i) {
      indices.push_back(header_.compression == kRle8 ? value
                        : i % 2 == 0                 ? static_cast<std::uint8_t>(value >> 4)
                                                     : static_cast<std::uint8_t>(value & 15));
    }
  }

  /// What follows a count of 0. False at the end of the bitmap.
  bool follow_escape(std::uint8_t code, std::size_t size, std::size_t& at, std::size_t& x,
                     std::vector<std::uint8_t>& indices) const {
    switch (code) {
      case 0:  // end of line
        indices.resize((indices.size() + header_.width - 1) / header_.width * header_.width);
        x = 0;
        return true;
      case 1:  // end of bitmap
        return false;
      case 2: {  // skip
        const auto right = next(at);
        const auto up = next(at);
        if (!right || !up) {
          return false;
        }
        indices.resize(std::min<std::size_t>(size, indices.size() + *right + *up * header_.width));
        x = indices.size() % header_.width;
        return true;
      }
      default:  // so many pixels as they are
        return append_absolute(code, size, at, x, indices);
    }
  }

  bool append_absolute(std::size_t count, std::size_t size, std::size_t& at, std::size_t& x,
                       std::vector<std::uint8_t>& indices) const {
    const std::size_t wanted = std::min(count, size - indices.size());
    const bool is_rle4 = header_.compression == kRle4;
    for (std::size_t i = 0; i < wanted; ++i) {
      const auto value =
          is_rle4 && i % 2 == 1 ? std::optional<std::uint8_t>(byte(at - 1)) : next(at);
      if (!value) {
        return false;
      }
      indices.push_back(!is_rle4     ? *value
                        : i % 2 == 0 ? static_cast<std::uint8_t>(*value >> 4)
                                     : static_cast<std::uint8_t>(*value & 15));
    }
    x += count;
    at += at % 2;  // padding, to an even place in the file
    return true;
  }

  const ImageFile& file_;
  Header header_;
};

}  // namespace

RgbImage decode_bmp(const ImageFile& file) {
  return BmpReader(file).read();
}

}  // namespace bitlog2
