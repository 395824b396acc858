#include "io/tiff_pixels.h"

#include <algorithm>
#include <cstring>
#include <utility>

namespace bitlog2 {
namespace {

/// In sixty-fourths, as Pillow does it.
void convert_ycbcr(const std::array<int, 3>& ycbcr, std::uint8_t* to) {
  const auto scaled = [](int value, double factor) {
    const double raised = (value - 128) * factor * 64 + 0.5;
    return static_cast<int>(raised);  // toward zero, also below it
  };
  const auto [y, blue, red] = ycbcr;
  const std::array<int, 3> rgb = {
      y + (scaled(red, 1.402) >> 6),
      y + ((scaled(blue, -0.34414) + scaled(red, -0.71414)) >> 6),
      y + (scaled(blue, 1.772) >> 6),
  };
  for (std::size_t k = 0; k < 3; ++k) {
    to[k] = static_cast<std::uint8_t>(std::clamp(rgb[k], 0, 255));
  }
}

std::array<int, 2> source_of(int x, int y, const RgbImage& image, std::uint16_t orientation) {
  const int right = image.width - 1;
  const int bottom = image.height - 1;
  switch (orientation) {
    case ORIENTATION_TOPRIGHT:
      return {right - x, y};
    case ORIENTATION_BOTRIGHT:
      return {right - x, bottom - y};
    case ORIENTATION_BOTLEFT:
      return {x, bottom - y};
    case ORIENTATION_LEFTTOP:
      return {y, x};
    case ORIENTATION_RIGHTTOP:
      return {y, bottom - x};
    case ORIENTATION_RIGHTBOT:
      return {right - y, bottom - x};
    default:
      return {right - y, x};
  }
}

}  // namespace

void TiffPixels::convert_row(const std::uint8_t* from, std::size_t count, std::uint8_t* to) const {
  switch (kind_) {
    case TiffKind::kGray:
      for (std::size_t i = 0; i < count; ++i) {
        const int most = (1 << layout_.bits) - 1;
        const int value = small_sample(from, i) * 255 / most;
        const bool is_white_zero = layout_.photometric == PHOTOMETRIC_MINISWHITE;
        std::fill_n(to + 3 * i, 3, static_cast<std::uint8_t>(is_white_zero ? 255 - value : value));
      }
      return;
    case TiffKind::kClippedGray:
      for (std::size_t i = 0; i < count; ++i) {
        const auto value = std::clamp<std::int64_t>(large_sample(from, i), 0, 255);
        std::fill_n(to + 3 * i, 3, static_cast<std::uint8_t>(value));
      }
      return;
    case TiffKind::kPalette:
      for (std::size_t i = 0; i < count; ++i) {
        const auto& colour = palette_[static_cast<std::size_t>(small_sample(from, i))];
        std::copy(colour.begin(), colour.end(), to + 3 * i);
      }
      return;
    default:
      for (std::size_t i = 0; i < count; ++i) {
        convert_pixel(from, i, to + 3 * i);
      }
  }
}

/// The first sample of a pixel of at most 8 bits a sample.
int TiffPixels::small_sample(const std::uint8_t* row, std::size_t i) const {
  if (layout_.bits == 8) {
    return row[i * layout_.samples];
  }
  const std::size_t bit = i * layout_.bits;
  return (row[bit / 8] >> (8 - layout_.bits - bit % 8)) & ((1 << layout_.bits) - 1);
}

std::int64_t TiffPixels::large_sample(const std::uint8_t* row, std::size_t i) const {
  if (layout_.bits == 12) {
    const std::uint8_t* pair = row + i / 2 * 3;
    return i % 2 == 0 ? pair[0] << 4 | pair[1] >> 4 : (pair[1] & 15) << 8 | pair[2];
  }
  if (layout_.bits == 16) {
    std::uint16_t value = 0;
    std::memcpy(&value, row + 2 * i, sizeof(value));
    return layout_.format == SAMPLEFORMAT_INT ? static_cast<std::int16_t>(value) : value;
  }
  // Pillow takes 32 bits as signed whatever they are.
  std::int32_t value = 0;
  std::memcpy(&value, row + 4 * i, sizeof(value));
  return value;
}

/// 8 bits of a sample: all, or the upper ones.
std::uint8_t TiffPixels::channel(const std::uint8_t* row, std::size_t i, std::size_t number) const {
  const std::size_t at = i * layout_.samples + number;
  if (layout_.bits == 8) {
    return row[at];
  }
  std::uint16_t value = 0;
  std::memcpy(&value, row + 2 * at, sizeof(value));
  return static_cast<std::uint8_t>(value >> 8);
}

void TiffPixels::convert_pixel(const std::uint8_t* row, std::size_t i, std::uint8_t* to) const {
  const std::array<int, 3> colours = {channel(row, i, 0), channel(row, i, 1), channel(row, i, 2)};
  switch (kind_) {
    case TiffKind::kCmyk:
      for (std::size_t k = 0; k < 3; ++k) {
        to[k] = cmyk_to_rgb(colours[k], 255 - channel(row, i, 3));
      }
      return;
    case TiffKind::kPremultiplied: {
      const int alpha = channel(row, i, 3);
      for (std::size_t k = 0; k < 3; ++k) {
        to[k] = static_cast<std::uint8_t>(alpha == 0 ? 0 : std::min(255, colours[k] * 255 / alpha));
      }
      return;
    }
    case TiffKind::kYcbcr:
      return convert_ycbcr(colours, to);
    default:
      std::copy(colours.begin(), colours.end(), to);
  }
}

RgbImage turn_tiff(RgbImage image, std::uint16_t orientation) {
  if (orientation <= ORIENTATION_TOPLEFT || orientation > ORIENTATION_LEFTBOT) {
    return image;
  }
  const bool swaps_sides = orientation >= ORIENTATION_LEFTTOP;
  RgbImage turned = image;
  if (swaps_sides) {
    std::swap(turned.width, turned.height);
  }
  for (int y = 0; y < turned.height; ++y) {
    for (int x = 0; x < turned.width; ++x) {
      const auto [from_x, from_y] = source_of(x, y, image, orientation);
      const auto from = static_cast<std::ptrdiff_t>(from_y) * image.width + from_x;
      const auto to = static_cast<std::ptrdiff_t>(y) * turned.width + x;
      std::copy_n(image.pixels.begin() + 3 * from, 3, turned.pixels.begin() + 3 * to);
    }
  }
  return turned;
}

}  // namespace bitlog2
