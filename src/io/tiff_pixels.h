// TIFF's samples to RGB, by Pillow's rules.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "io/tiff_layout.h"

namespace bitlog2 {

using TiffPalette = std::array<std::array<std::uint8_t, 3>, 256>;

/// Converts rows of unpacked samples.
class TiffPixels {
 public:
  /// `palette` is for TiffKind::kPalette alone.
  TiffPixels(const TiffLayout& layout, TiffKind kind, const TiffPalette& palette)
      : layout_(layout), kind_(kind), palette_(palette) {}

  /// `count` pixels from `from` to `to`, [count, 3]. Samples of a pixel lie together.
  void convert_row(const std::uint8_t* from, std::size_t count, std::uint8_t* to) const;

 private:
  int small_sample(const std::uint8_t* row, std::size_t i) const;
  std::int64_t large_sample(const std::uint8_t* row, std::size_t i) const;
  std::uint8_t channel(const std::uint8_t* row, std::size_t i, std::size_t number) const;
  void convert_pixel(const std::uint8_t* row, std::size_t i, std::uint8_t* to) const;

  const TiffLayout& layout_;
  TiffKind kind_;
  const TiffPalette& palette_;
};

/// The image, turned by TIFF's orientation tag.
RgbImage turn_tiff(RgbImage image, std::uint16_t orientation);

}  // namespace bitlog2
