// The kinds of TIFF, and which of them Pillow opens.
#pragma once

#include <tiff.h>

#include <cstdint>
#include <vector>

#include "bitlog2/error.h"
#include "io/image_formats.h"

namespace bitlog2 {

/// How a pixel becomes RGB.
enum class TiffKind {
  kGray,           ///< 1 to 8 bits, spread over 0 to 255
  kClippedGray,    ///< 12 to 32 bits, clipped to 255
  kPalette,        ///< an index
  kRgb,            ///< the first three samples
  kPremultiplied,  ///< RGB times alpha, the fourth sample
  kCmyk,
  kYcbcr,      ///< not subsampled, as Pillow converts it
  kYcbcrJpeg,  ///< libjpeg gives RGB
  kYcbcrTiff,  ///< libtiff gives RGB
};

/// The description of the pixels in the file's directory.
struct TiffLayout {
  std::uint32_t width = 0;
  std::uint32_t height = 0;
  std::uint16_t bits = 1;  ///< a sample
  std::uint16_t samples = 1;
  std::uint16_t format = SAMPLEFORMAT_UINT;
  std::uint16_t photometric = PHOTOMETRIC_MINISWHITE;
  std::uint16_t compression = COMPRESSION_NONE;
  std::uint16_t fill_order = FILLORDER_MSB2LSB;
  std::uint16_t orientation = ORIENTATION_TOPLEFT;
  bool separate = false;  ///< each sample in a plane of its own
  bool big_endian = false;
  bool subsampled = false;            ///< YCbCr without compression
  std::vector<std::uint16_t> extras;  ///< the meaning of the samples after the colours

  bool is_compressed() const { return compression != COMPRESSION_NONE; }
  bool is_reversed() const { return fill_order == FILLORDER_LSB2MSB; }
};

/// How the pixels of `layout` become RGB. Throws Error for kinds that Pillow does not open, or
/// misreads.
TiffKind choose_tiff_kind(const ImageFile& file, const TiffLayout& layout);

/// The Error for samples of a number or size that is not decoded.
Error unsupported_tiff_samples(const ImageFile& file, const TiffLayout& layout);

}  // namespace bitlog2
