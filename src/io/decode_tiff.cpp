// TIFF through libtiff: the first page. libtiff unpacks strips and tiles; samples become RGB
// here, because Pillow's rules are not those of libtiff's own RGBA reader.
#include <fmt/format.h>
#include <tiffio.h>

#include <algorithm>
#include <array>
#include <cstdarg>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <memory>
#include <optional>
#include <vector>

#include "io/image_formats.h"

namespace bitlog2 {
namespace {

/// What libtiff may take at once for itself, bytes.
constexpr tmsize_t kMaxTiffAllocation = tmsize_t{1} << 28;

/// A run of 128 bytes takes 2.
constexpr std::uint64_t kMaxPackBitsRatio = 64;

/// What libtiff reads from and reports to.
struct Client {
  std::span<const std::byte> bytes;
  std::uint64_t at = 0;
  std::array<char, 256> error = {};  ///< the first
  bool data_missing = false;
};

Client& client_of(thandle_t handle) {
  return *static_cast<Client*>(handle);
}

tmsize_t read_bytes(thandle_t handle, void* out, tmsize_t count) {
  Client& client = client_of(handle);
  const std::uint64_t begin = std::min<std::uint64_t>(client.at, client.bytes.size());
  const auto size =
      std::min<std::uint64_t>(static_cast<std::uint64_t>(count), client.bytes.size() - begin);
  if (size > 0) {
    std::memcpy(out, client.bytes.data() + begin, size);
  }
  client.at = begin + size;
  return static_cast<tmsize_t>(size);
}

tmsize_t refuse_to_write(thandle_t, void*, tmsize_t) {
  return 0;
}

toff_t seek(thandle_t handle, toff_t offset, int whence) {
  Client& client = client_of(handle);
  client.at = offset + (whence == SEEK_CUR   ? client.at
                        : whence == SEEK_END ? client.bytes.size()
                                             : 0);
  return client.at;
}

int leave_open(thandle_t) {
  return 0;
}

toff_t size_of(thandle_t handle) {
  return client_of(handle).bytes.size();
}

/// libtiff's second argument is not const, but what it maps it only reads.
int map_bytes(thandle_t handle, void** address, toff_t* size) {
  const auto bytes = client_of(handle).bytes;
  *address = const_cast<std::byte*>(bytes.data());
  *size = bytes.size();
  return 1;
}

void unmap_bytes(thandle_t, void*, toff_t) {}

int keep_error(TIFF*, void* user_data, const char*, const char* format, va_list arguments) {
  auto& error = static_cast<Client*>(user_data)->error;
  if (error[0] == '\0') {
    std::vsnprintf(error.data(), error.size(), format, arguments);
  }
  return 1;  // handled: nothing is printed
}

/// Only two warnings matter: libjpeg and the fax decoder make up what a strip lacks.
int check_warning(TIFF*, void* user_data, const char*, const char* format, va_list arguments) {
  std::array<char, 32> text = {};
  std::vsnprintf(text.data(), text.size(), format, arguments);
  if (std::string_view(text.data()).starts_with("Premature")) {
    static_cast<Client*>(user_data)->data_missing = true;
  }
  return 1;
}

struct CloseTiff {
  void operator()(TIFF* tiff) const { TIFFClose(tiff); }
};
using Tiff = std::unique_ptr<TIFF, CloseTiff>;

Tiff open_tiff(Client& client) {
  const std::unique_ptr<TIFFOpenOptions, decltype(&TIFFOpenOptionsFree)> options(
      TIFFOpenOptionsAlloc(), &TIFFOpenOptionsFree);
  if (options == nullptr) {
    return nullptr;
  }
  TIFFOpenOptionsSetMaxSingleMemAlloc(options.get(), kMaxTiffAllocation);
  TIFFOpenOptionsSetErrorHandlerExtR(options.get(), keep_error, &client);
  TIFFOpenOptionsSetWarningHandlerExtR(options.get(), check_warning, &client);
  return Tiff(TIFFClientOpenExt("image", "r", &client, read_bytes, refuse_to_write, seek,
                                leave_open, size_of, map_bytes, unmap_bytes, options.get()));
}

/// How a pixel becomes RGB.
enum class Kind {
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

struct Layout {
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
  std::vector<std::uint16_t> extras;  ///< what the samples after the colours are
};

class TiffReader {
 public:
  explicit TiffReader(const ImageFile& file)
      : file_(file), client_{file.bytes}, tiff_(open_tiff(client_)) {
    if (tiff_ == nullptr) {
      throw damaged_tiff("its directory cannot be read");
    }
  }

  RgbImage read() {
    if (starts_with(file_.bytes, std::string_view("MM\0\x2b", 4))) {
      throw unsupported_tiff("larger than 4 GB (BigTIFF) in big-endian byte order");
    }
    read_layout();
    kind_ = choose_kind();
    check_size(file_, "TIFF", layout_.width, layout_.height);
    check_compression();
    if (kind_ == Kind::kPalette) {
      read_palette();
    }
    RgbImage image = start_image(layout_.width, layout_.height);
    if (kind_ == Kind::kYcbcrTiff) {
      read_through_libtiff(image);
    } else {
      image.pixels.resize(std::size_t{layout_.width} * layout_.height * 3);
      read_blocks(image);
    }
    if (client_.data_missing) {
      throw damaged(file_, "TIFF", "its data end early");
    }
    return oriented(std::move(image));
  }

 private:
  /// libtiff's own reason, if there is one, else `otherwise`.
  Error damaged_tiff(std::string_view otherwise) const {
    std::string reason(client_.error.data());
    if (reason.empty()) {
      reason = otherwise;
    }
    for (char& letter : reason) {
      // It may quote the file.
      letter = letter < ' ' || letter > '~' ? '?' : letter;
    }
    return damaged(file_, "TIFF", reason);
  }

  template <typename Value>
  Value field(std::uint32_t tag, Value otherwise) const {
    Value value = otherwise;
    return TIFFGetField(tiff_.get(), tag, &value) == 1 ? value : otherwise;
  }

  std::uint64_t number(std::uint64_t at, std::size_t size) const {
    std::uint64_t value = 0;
    for (std::size_t i = 0; i < size; ++i) {
      const std::size_t place = at + (TIFFIsBigEndian(tiff_.get()) != 0 ? i : size - 1 - i);
      value = value << 8 | std::to_integer<std::uint64_t>(file_.bytes[place]);
    }
    return value;
  }

  /// The first of a tag's SHORTs as it stands in the file: libtiff mends some tags where it
  /// takes them for mistakes, and Pillow does not.
  std::optional<std::uint16_t> stored_short(std::uint64_t tag) const {
    const bool is_big = starts_with(file_.bytes, std::string_view("\x2b\0", 2), 2);
    const std::uint64_t entry_size = is_big ? 20 : 12;
    const std::uint64_t count_size = is_big ? 8 : 2;
    const std::uint64_t first = TIFFCurrentDirOffset(tiff_.get()) + count_size;
    if (first > file_.bytes.size()) {
      return std::nullopt;
    }
    const std::uint64_t count =
        std::min(number(first - count_size, count_size), (file_.bytes.size() - first) / entry_size);
    for (std::uint64_t at = first; at < first + count * entry_size; at += entry_size) {
      if (number(at, 2) == tag) {
        return static_cast<std::uint16_t>(number(at + entry_size - (is_big ? 8 : 4), 2));
      }
    }
    return std::nullopt;
  }

  void read_layout() {
    layout_.width = field<std::uint32_t>(TIFFTAG_IMAGEWIDTH, 0);
    layout_.height = field<std::uint32_t>(TIFFTAG_IMAGELENGTH, 0);
    layout_.bits = field<std::uint16_t>(TIFFTAG_BITSPERSAMPLE, 1);
    layout_.samples = field<std::uint16_t>(TIFFTAG_SAMPLESPERPIXEL, 1);
    layout_.format = field<std::uint16_t>(TIFFTAG_SAMPLEFORMAT, SAMPLEFORMAT_UINT);
    layout_.photometric = stored_short(TIFFTAG_PHOTOMETRIC).value_or(PHOTOMETRIC_MINISWHITE);
    layout_.compression = field<std::uint16_t>(TIFFTAG_COMPRESSION, COMPRESSION_NONE);
    layout_.fill_order = field<std::uint16_t>(TIFFTAG_FILLORDER, FILLORDER_MSB2LSB);
    layout_.orientation = field<std::uint16_t>(TIFFTAG_ORIENTATION, ORIENTATION_TOPLEFT);
    layout_.separate =
        field<std::uint16_t>(TIFFTAG_PLANARCONFIG, PLANARCONFIG_CONTIG) == PLANARCONFIG_SEPARATE;
    layout_.big_endian = TIFFIsBigEndian(tiff_.get()) != 0;
    std::uint16_t count = 0;
    const std::uint16_t* extras = nullptr;
    if (stored_short(TIFFTAG_EXTRASAMPLES) &&
        TIFFGetField(tiff_.get(), TIFFTAG_EXTRASAMPLES, &count, &extras) == 1) {
      layout_.extras.assign(extras, extras + count);
    }
    const auto is_unspecified = [](std::uint16_t extra) {
      return extra == EXTRASAMPLE_UNSPECIFIED;
    };
    if (layout_.separate && !layout_.extras.empty() && layout_.samples > layout_.extras.size() &&
        std::ranges::all_of(layout_.extras, is_unspecified)) {
      if (!is_compressed()) {
        throw unsupported_tiff("of planes without compression, some without a meaning");
      }
      layout_.samples = static_cast<std::uint16_t>(layout_.samples - layout_.extras.size());
      layout_.extras.clear();
    }
  }

  Error unsupported_tiff(std::string_view kind) const { return unsupported(file_, "TIFF", kind); }

  /// Follows the table of what Pillow opens, and throws for the rest.
  Kind choose_kind() const {
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
            (is_reversed() && !is_compressed() && layout_.bits < 8)) {
          throw unsupported_samples();
        }
        return Kind::kPalette;
      case PHOTOMETRIC_RGB:
        check_samples(3, layout_.bits == 8 ? 3 : 1, layout_.bits == 8 || layout_.bits == 16);
        return has_extra(EXTRASAMPLE_ASSOCALPHA) ? Kind::kPremultiplied : Kind::kRgb;
      case PHOTOMETRIC_SEPARATED:
        check_samples(4, layout_.bits == 8 ? 2 : 0, layout_.bits == 8 || layout_.bits == 16);
        if (is_reversed() || has_extra(EXTRASAMPLE_ASSOCALPHA) ||
            has_extra(EXTRASAMPLE_UNASSALPHA)) {
          throw unsupported_samples();
        }
        return Kind::kCmyk;
      case PHOTOMETRIC_YCBCR:
        return choose_ycbcr();
      case PHOTOMETRIC_CIELAB:
        throw unsupported_tiff("in L*a*b*");
      default:
        throw unsupported_tiff(
            fmt::format("of photometric interpretation {}", layout_.photometric));
    }
  }

  bool has_extra(std::uint16_t kind) const {
    return !layout_.extras.empty() && layout_.extras.front() == kind;
  }

  bool is_reversed() const { return layout_.fill_order == FILLORDER_LSB2MSB; }

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
        (is_reversed() && (samples > colours || layout_.bits > 8))) {
      throw unsupported_samples();
    }
    // Pillow misreads these.
    if (layout_.separate && layout_.bits > 8 && !is_compressed()) {
      throw unsupported_tiff("of 16-bit planes without compression");
    }
    if (layout_.separate && samples > colours + layout_.extras.size() && is_compressed()) {
      throw unsupported_tiff("of compressed planes, one without a meaning");
    }
  }

  Error unsupported_samples() const {
    return unsupported_tiff(fmt::format(
        "of {} x {} bits a pixel{}, photometric interpretation {}", layout_.samples, layout_.bits,
        layout_.format == SAMPLEFORMAT_INT ? " with a sign" : "", layout_.photometric));
  }

  bool is_compressed() const { return layout_.compression != COMPRESSION_NONE; }

  Kind choose_gray() const {
    const bool is_white_zero = layout_.photometric == PHOTOMETRIC_MINISWHITE;
    const bool is_signed = layout_.format == SAMPLEFORMAT_INT;
    const bool is_msb_first = !is_reversed();
    if (layout_.samples == 2) {
      if (layout_.bits != 8 || is_white_zero || is_signed || !is_msb_first ||
          layout_.extras.empty() || has_extra(EXTRASAMPLE_ASSOCALPHA)) {
        throw unsupported_samples();
      }
      return Kind::kGray;
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
    const bool swapped = layout_.big_endian && is_compressed() && is_signed && layout_.bits > 8;
    if (!known || swapped) {
      throw unsupported_samples();
    }
    return layout_.bits <= 8 ? Kind::kGray : Kind::kClippedGray;
  }

  Kind choose_ycbcr() const {
    if (layout_.samples != 3 || layout_.bits != 8 || layout_.format != SAMPLEFORMAT_UINT ||
        is_reversed()) {
      throw unsupported_samples();
    }
    if (is_compressed()) {
      return layout_.compression == COMPRESSION_JPEG && !layout_.separate ? Kind::kYcbcrJpeg
                                                                          : Kind::kYcbcrTiff;
    }
    std::uint16_t across = 2;
    std::uint16_t down = 2;
    TIFFGetFieldDefaulted(tiff_.get(), TIFFTAG_YCBCRSUBSAMPLING, &across, &down);
    if (across != 1 || down != 1 || layout_.separate) {
      throw unsupported_tiff("of subsampled YCbCr without compression");
    }
    return Kind::kYcbcr;
  }

  /// Throws for what Pillow or Debian's libtiff does not unpack, and for files too small for
  /// what they are to become.
  void check_compression() {
    if (kind_ == Kind::kYcbcrJpeg) {
      TIFFSetField(tiff_.get(), TIFFTAG_JPEGCOLORMODE, JPEGCOLORMODE_RGB);
    }
    switch (layout_.compression) {
      case COMPRESSION_NONE:
        return check_unpacked_size(1);
      case COMPRESSION_PACKBITS:
        return check_unpacked_size(kMaxPackBitsRatio);
      case COMPRESSION_LZW:
        return check_unpacked_size(kMaxLzwRatio);
      case COMPRESSION_DEFLATE:
      case COMPRESSION_ADOBE_DEFLATE:
        return check_unpacked_size(kMaxDeflateRatio);
      case COMPRESSION_JPEG:
        return check_unpacked_size(kMaxJpegPixelsPerByte * layout_.samples);
      case COMPRESSION_CCITTRLE:
      case COMPRESSION_CCITTFAX3:
      case COMPRESSION_CCITTFAX4:
        if (layout_.bits != 1 || layout_.samples != 1) {
          throw unsupported_samples();
        }
        // A blank line takes a bit, however long it is.
        if (!may_hold_blank(file_, stored_bytes() * 8)) {
          throw cannot_hold(file_, "TIFF", layout_.width, layout_.height);
        }
        return;
      default:
        throw unsupported_tiff(fmt::format("of compression {}", layout_.compression));
    }
  }

  /// All strips or tiles, unpacked. libtiff gives 0 where the product is beyond 64 bits.
  std::uint64_t stored_bytes() const {
    const bool is_tiled = TIFFIsTiled(tiff_.get()) != 0;
    const std::uint64_t size =
        is_tiled ? TIFFTileSize64(tiff_.get()) : TIFFScanlineSize64(tiff_.get());
    const std::uint64_t count =
        is_tiled ? TIFFNumberOfTiles(tiff_.get())
                 : std::uint64_t{layout_.height} * (layout_.separate ? layout_.samples : 1);
    if (size == 0 || count == 0 || size > UINT64_MAX / 8 / count) {
      throw damaged_tiff("its strips or tiles are of no size");
    }
    return size * count;
  }

  void check_unpacked_size(std::uint64_t ratio) const {
    if (stored_bytes() > file_.bytes.size() * ratio) {
      throw cannot_hold(file_, "TIFF", layout_.width, layout_.height);
    }
  }

  void read_palette() {
    const std::uint16_t* red = nullptr;
    const std::uint16_t* green = nullptr;
    const std::uint16_t* blue = nullptr;
    if (TIFFGetField(tiff_.get(), TIFFTAG_COLORMAP, &red, &green, &blue) != 1) {
      throw damaged_tiff("it lacks its palette");
    }
    for (std::size_t i = 0; i < std::size_t{1} << layout_.bits; ++i) {
      palette_[i] = {static_cast<std::uint8_t>(red[i] / 256),
                     static_cast<std::uint8_t>(green[i] / 256),
                     static_cast<std::uint8_t>(blue[i] / 256)};
    }
  }

  /// YCbCr that is subsampled, compressed by other means than JPEG.
  void read_through_libtiff(RgbImage& image) {
    std::array<char, 1024> reason = {};  // as long as libtiff asks
    TIFFRGBAImage reader = {};
    if (TIFFRGBAImageOK(tiff_.get(), reason.data()) != 1 ||
        TIFFRGBAImageBegin(&reader, tiff_.get(), 1, reason.data()) != 1) {
      throw damaged_tiff(reason.data());
    }
    const std::unique_ptr<TIFFRGBAImage, decltype(&TIFFRGBAImageEnd)> end(&reader,
                                                                          &TIFFRGBAImageEnd);
    reader.orientation = ORIENTATION_TOPLEFT;
    reader.req_orientation = ORIENTATION_TOPLEFT;
    std::vector<std::uint32_t> raster(std::size_t{layout_.width} * layout_.height);
    if (TIFFRGBAImageGet(&reader, raster.data(), layout_.width, layout_.height) != 1) {
      throw damaged_tiff("its pixels cannot be read");
    }
    for (const std::uint32_t pixel : raster) {
      image.pixels.push_back(static_cast<std::uint8_t>(TIFFGetR(pixel)));
      image.pixels.push_back(static_cast<std::uint8_t>(TIFFGetG(pixel)));
      image.pixels.push_back(static_cast<std::uint8_t>(TIFFGetB(pixel)));
    }
  }

  /// A strip or tile: where it lies, and how it is in memory.
  struct Block {
    std::uint32_t x;
    std::uint32_t y;
    std::uint32_t width;   ///< inside the image
    std::uint32_t height;  ///< inside the image
    std::size_t stride;    ///< of a row in memory, bytes
  };

  void read_blocks(RgbImage& image) {
    TIFF* tiff = tiff_.get();
    const bool is_tiled = TIFFIsTiled(tiff) != 0;
    const std::uint32_t width =
        is_tiled ? field<std::uint32_t>(TIFFTAG_TILEWIDTH, 0) : layout_.width;
    const std::uint32_t height =
        is_tiled
            ? field<std::uint32_t>(TIFFTAG_TILELENGTH, 0)
            : std::min(field<std::uint32_t>(TIFFTAG_ROWSPERSTRIP, layout_.height), layout_.height);
    const std::uint64_t stride = is_tiled ? TIFFTileRowSize64(tiff) : TIFFScanlineSize64(tiff);
    const std::uint64_t size = is_tiled ? TIFFTileSize64(tiff) : TIFFStripSize64(tiff);
    const std::uint64_t channels = layout_.separate ? 1 : layout_.samples;
    // What the rows below are read as must be what libtiff unpacks.
    if (width == 0 || height == 0 || stride < (width * channels * layout_.bits + 7) / 8 ||
        size < stride * height) {
      throw damaged_tiff("its strips or tiles are of a false size");
    }
    buffer_.resize(size);
    const std::size_t planes = layout_.separate ? layout_.samples : 1;
    for (std::uint64_t y = 0; y < layout_.height; y += height) {
      for (std::uint64_t x = 0; x < layout_.width; x += width) {
        const Block block{
            static_cast<std::uint32_t>(x), static_cast<std::uint32_t>(y),
            static_cast<std::uint32_t>(std::min<std::uint64_t>(width, layout_.width - x)),
            static_cast<std::uint32_t>(std::min<std::uint64_t>(height, layout_.height - y)),
            static_cast<std::size_t>(stride)};
        for (std::size_t plane = 0; plane < planes; ++plane) {
          unpack(block, static_cast<std::uint16_t>(plane), is_tiled);
          if (layout_.separate) {
            keep_plane(block, plane, planes);
          }
        }
        convert(block, image);
      }
    }
  }

  /// Fills the buffer.
  void unpack(const Block& block, std::uint16_t plane, bool is_tiled) {
    TIFF* tiff = tiff_.get();
    const auto size = static_cast<tmsize_t>(buffer_.size());
    const tmsize_t count =
        is_tiled ? TIFFReadEncodedTile(tiff, TIFFComputeTile(tiff, block.x, block.y, 0, plane),
                                       buffer_.data(), size)
                 : TIFFReadEncodedStrip(tiff, TIFFComputeStrip(tiff, block.y, plane),
                                        buffer_.data(), size);
    // A last strip may be shorter than the others.
    if (count < static_cast<tmsize_t>(block.stride * block.height)) {
      throw damaged_tiff("its data end early");
    }
  }

  /// Puts a plane's samples among those of the others, in `together_`.
  void keep_plane(const Block& block, std::size_t plane, std::size_t planes) {
    const std::size_t sample_size = layout_.bits / 8U;
    together_.resize(std::size_t{block.width} * block.height * planes * sample_size);
    for (std::size_t row = 0; row < block.height; ++row) {
      for (std::size_t i = 0; i < block.width; ++i) {
        std::memcpy(together_.data() + ((row * block.width + i) * planes + plane) * sample_size,
                    buffer_.data() + row * block.stride + i * sample_size, sample_size);
      }
    }
  }

  void convert(const Block& block, RgbImage& image) const {
    const std::size_t pixel_size = layout_.samples * layout_.bits / 8U;
    const std::uint8_t* from = layout_.separate ? together_.data() : buffer_.data();
    const std::size_t stride = layout_.separate ? block.width * pixel_size : block.stride;
    for (std::size_t row = 0; row < block.height; ++row) {
      std::uint8_t* to =
          image.pixels.data() + ((block.y + row) * std::size_t{layout_.width} + block.x) * 3;
      convert_row(from + row * stride, block.width, to);
    }
  }

  void convert_row(const std::uint8_t* from, std::size_t count, std::uint8_t* to) const {
    switch (kind_) {
      case Kind::kGray:
        for (std::size_t i = 0; i < count; ++i) {
          const int most = (1 << layout_.bits) - 1;
          const int value = small_sample(from, i) * 255 / most;
          const bool is_white_zero = layout_.photometric == PHOTOMETRIC_MINISWHITE;
          std::fill_n(to + 3 * i, 3,
                      static_cast<std::uint8_t>(is_white_zero ? 255 - value : value));
        }
        return;
      case Kind::kClippedGray:
        for (std::size_t i = 0; i < count; ++i) {
          const auto value = std::clamp<std::int64_t>(large_sample(from, i), 0, 255);
          std::fill_n(to + 3 * i, 3, static_cast<std::uint8_t>(value));
        }
        return;
      case Kind::kPalette:
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
  int small_sample(const std::uint8_t* row, std::size_t i) const {
    if (layout_.bits == 8) {
      return row[i * layout_.samples];
    }
    const std::size_t bit = i * layout_.bits;
    return (row[bit / 8] >> (8 - layout_.bits - bit % 8)) & ((1 << layout_.bits) - 1);
  }

  std::int64_t large_sample(const std::uint8_t* row, std::size_t i) const {
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
  std::uint8_t channel(const std::uint8_t* row, std::size_t i, std::size_t number) const {
    const std::size_t at = i * layout_.samples + number;
    if (layout_.bits == 8) {
      return row[at];
    }
    std::uint16_t value = 0;
    std::memcpy(&value, row + 2 * at, sizeof(value));
    return static_cast<std::uint8_t>(value >> 8);
  }

  void convert_pixel(const std::uint8_t* row, std::size_t i, std::uint8_t* to) const {
    const std::array<int, 3> colours = {channel(row, i, 0), channel(row, i, 1), channel(row, i, 2)};
    switch (kind_) {
      case Kind::kCmyk:
        for (std::size_t k = 0; k < 3; ++k) {
          to[k] = cmyk_to_rgb(colours[k], 255 - channel(row, i, 3));
        }
        return;
      case Kind::kPremultiplied: {
        const int alpha = channel(row, i, 3);
        for (std::size_t k = 0; k < 3; ++k) {
          to[k] =
              static_cast<std::uint8_t>(alpha == 0 ? 0 : std::min(255, colours[k] * 255 / alpha));
        }
        return;
      }
      case Kind::kYcbcr:
        return convert_ycbcr(colours, to);
      default:
        std::copy(colours.begin(), colours.end(), to);
    }
  }

  /// In sixty-fourths, as Pillow does it.
  static void convert_ycbcr(const std::array<int, 3>& ycbcr, std::uint8_t* to) {
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

  /// The image as its orientation says that it is to be seen.
  RgbImage oriented(RgbImage image) const {
    if (layout_.orientation <= ORIENTATION_TOPLEFT || layout_.orientation > ORIENTATION_LEFTBOT) {
      return image;
    }
    const bool swaps_sides = layout_.orientation >= ORIENTATION_LEFTTOP;
    RgbImage turned = image;
    if (swaps_sides) {
      std::swap(turned.width, turned.height);
    }
    for (int y = 0; y < turned.height; ++y) {
      for (int x = 0; x < turned.width; ++x) {
        const auto [from_x, from_y] = source_of(x, y, image);
        const auto from = static_cast<std::ptrdiff_t>(from_y) * image.width + from_x;
        const auto to = static_cast<std::ptrdiff_t>(y) * turned.width + x;
        std::copy_n(image.pixels.begin() + 3 * from, 3, turned.pixels.begin() + 3 * to);
      }
    }
    return turned;
  }

  std::array<int, 2> source_of(int x, int y, const RgbImage& image) const {
    const int right = image.width - 1;
    const int bottom = image.height - 1;
    switch (layout_.orientation) {
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

  const ImageFile& file_;
  Client client_;
  Tiff tiff_;
  Layout layout_;
  Kind kind_ = Kind::kGray;
  std::array<std::array<std::uint8_t, 3>, 256> palette_ = {};
  std::vector<std::uint8_t> buffer_;    ///< a strip or tile of one plane, or of all together
  std::vector<std::uint8_t> together_;  ///< a strip or tile of separate planes, put together
};

}  // namespace

RgbImage decode_tiff(const ImageFile& file) {
  return TiffReader(file).read();
}

}  // namespace bitlog2
