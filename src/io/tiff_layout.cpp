#include "io/tiff_layout.h"

#include <fmt/format.h>

#include <algorithm>

namespace bitlog2 {
namespace {

class KindChooser {
 public:
  KindChooser(const ImageFile& file, const TiffLayout& layout) : file_(file), layout_(layout) {}

  /// Follows the table of what Pillow opens, and throws for the rest.
  TiffKind choose() const {
    if (layout_.format == SAMPLEFORMAT_IEEEFP) {
      throw unsupported_tiff("of floating-point samples");
    }
    if (layout_.format != SAMPLEFORMAT_UINT && layout_.format != SAMPLEFORMAT_INT) {
      throw unsupported_tiff(fmt::format("of sample format {}", layout_.format));
    }
    switch (layout_.photometric) {
      case PHOTOMETRIC_MINISWHITE:
      case PHOTOMETRIC_MINISBLACK:
        return choose_gray();
      case PHOTOMETRIC_PALETTE:
        check_samples(1, layout_.bits == 8 ? 1 : 0, layout_.bits <= 8);
        // Pillow has no reader for the others in reversed bits.
        if (has_extra(EXTRASAMPLE_ASSOCALPHA) ||
            (layout_.is_reversed() && !layout_.is_compressed() && layout_.bits < 8)) {
          throw unsupported_samples();
        }
        return TiffKind::kPalette;
      case PHOTOMETRIC_RGB:
        check_samples(3, layout_.bits == 8 ? 3 : 1, layout_.bits == 8 || layout_.bits == 16);
        return has_extra(EXTRASAMPLE_ASSOCALPHA) ? TiffKind::kPremultiplied : TiffKind::kRgb;
      case PHOTOMETRIC_SEPARATED:
        check_samples(4, layout_.bits == 8 ? 2 : 0, layout_.bits == 8 || layout_.bits == 16);
        if (layout_.is_reversed() || has_extra(EXTRASAMPLE_ASSOCALPHA) ||
            has_extra(EXTRASAMPLE_UNASSALPHA)) {
          throw unsupported_samples();
        }
        return TiffKind::kCmyk;
      case PHOTOMETRIC_YCBCR:
        return choose_ycbcr();
      case PHOTOMETRIC_CIELAB:
        throw unsupported_tiff("in L*a*b*");
      default:
        throw unsupported_tiff(
            fmt::format("of photometric interpretation {}", layout_.photometric));
    }
  }

 private:
  Error unsupported_tiff(std::string_view kind) const { return unsupported(file_, "TIFF", kind); }

  bool has_extra(std::uint16_t kind) const {
    return !layout_.extras.empty() && layout_.extras.front() == kind;
  }

  /// Throws unless there are `colours` samples and no more than `most_extras` others, of which
  /// all behind the first mean nothing, and unless `bits_fit`.
  void check_samples(std::size_t colours, std::size_t most_extras, bool bits_fit) const {
    const bool has_meaning =
        layout_.extras.size() > 1 &&
        std::any_of(layout_.extras.begin() + 1, layout_.extras.end(),
                    [](std::uint16_t extra) { return extra != EXTRASAMPLE_UNSPECIFIED; });
    const std::size_t samples = layout_.samples;
    // Pillow takes an unnamed fourth sample beside RGB for alpha.
    const bool is_named = samples == colours + layout_.extras.size() ||
                          (colours == 3 && samples == 4 && layout_.extras.empty());
    if (!is_named || !bits_fit || has_meaning || samples < colours ||
        samples > colours + most_extras || layout_.format != SAMPLEFORMAT_UINT ||
        (layout_.is_reversed() && (samples > colours || layout_.bits > 8))) {
      throw unsupported_samples();
    }
    // Pillow misreads these.
    if (layout_.separate && layout_.bits > 8 && !layout_.is_compressed()) {
      throw unsupported_tiff("of 16-bit planes without compression");
    }
    if (layout_.separate && samples > colours + layout_.extras.size() && layout_.is_compressed()) {
      throw unsupported_tiff("of compressed planes, one without a meaning");
    }
  }

  Error unsupported_samples() const { return unsupported_tiff_samples(file_, layout_); }
  TiffKind choose_gray() const {
    const bool is_white_zero = layout_.photometric == PHOTOMETRIC_MINISWHITE;
    const bool is_signed = layout_.format == SAMPLEFORMAT_INT;
    const bool is_msb_first = !layout_.is_reversed();
    if (layout_.samples == 2) {
      if (layout_.bits != 8 || is_white_zero || is_signed || !is_msb_first ||
          layout_.extras.empty() || has_extra(EXTRASAMPLE_ASSOCALPHA)) {
        throw unsupported_samples();
      }
      return TiffKind::kGray;
    }
    if (layout_.samples != 1) {
      throw unsupported_samples();
    }
    bool known = false;
    switch (layout_.bits) {
      case 1:
      case 2:
      case 4:
        known = !is_signed;
        break;
      case 8:
        known = !is_signed || (!is_white_zero && is_msb_first);
        break;
      case 12:
        known = !is_signed && !is_white_zero && is_msb_first && !layout_.big_endian;
        break;
      case 16:
        known =
            layout_.big_endian ? !is_white_zero && is_msb_first : !is_white_zero || is_msb_first;
        known = known && (!is_signed || (!is_white_zero && is_msb_first));
        break;
      case 32:
        known = !is_white_zero && is_msb_first && (is_signed || !layout_.big_endian);
        break;
      default:
        break;
    }
    // Pillow swaps the bytes of these twice.
    const bool swapped =
        layout_.big_endian && layout_.is_compressed() && is_signed && layout_.bits > 8;
    if (!known || swapped) {
      throw unsupported_samples();
    }
    return layout_.bits <= 8 ? TiffKind::kGray : TiffKind::kClippedGray;
  }

  TiffKind choose_ycbcr() const {
    if (layout_.samples != 3 || layout_.bits != 8 || layout_.format != SAMPLEFORMAT_UINT ||
        layout_.is_reversed()) {
      throw unsupported_samples();
    }
    if (layout_.is_compressed()) {
      return layout_.compression == COMPRESSION_JPEG && !layout_.separate ? TiffKind::kYcbcrJpeg
                                                                          : TiffKind::kYcbcrTiff;
    }
    if (layout_.subsampled || layout_.separate) {
      throw unsupported_tiff("of subsampled YCbCr without compression");
    }
    return TiffKind::kYcbcr;
  }

  const ImageFile& file_;
  const TiffLayout& layout_;
};

}  // namespace

TiffKind choose_tiff_kind(const ImageFile& file, const TiffLayout& layout) {
  return KindChooser(file, layout).choose();
}

Error unsupported_tiff_samples(const ImageFile& file, const TiffLayout& layout) {
  return unsupported(
      file, "TIFF",
      fmt::format("of {} x {} bits a pixel{}, photometric interpretation {}", layout.samples,
                  layout.bits, layout.format == SAMPLEFORMAT_INT ? " with a sign" : "",
                  layout.photometric));
}

}  // namespace bitlog2
