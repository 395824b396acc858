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
#include "io/tiff_layout.h"
#include "io/tiff_pixels.h"

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

/// The second argument is not const by libtiff's interface, but libtiff only reads the mapped
/// bytes.
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

/// Only two warnings matter, those with which libjpeg and the fax decoder invent missing data of a
/// strip.
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
    kind_ = choose_tiff_kind(file_, layout_);
    check_size(file_, "TIFF", layout_.width, layout_.height);
    check_compression();
    if (kind_ == TiffKind::kPalette) {
      palette_ = read_palette();
    }
    RgbImage image = start_image(layout_.width, layout_.height);
    if (kind_ == TiffKind::kYcbcrTiff) {
      read_through_libtiff(image);
    } else {
      image.pixels.resize(std::size_t{layout_.width} * layout_.height * 3);
      read_blocks(image);
    }
    if (client_.data_missing) {
      throw damaged(file_, "TIFF", "its data end early");
    }
    return turn_tiff(std::move(image), layout_.orientation);
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
    // One sample is one plane either way.
    layout_.separate =
        layout_.samples > 1 &&
        field<std::uint16_t>(TIFFTAG_PLANARCONFIG, PLANARCONFIG_CONTIG) == PLANARCONFIG_SEPARATE;
    layout_.big_endian = TIFFIsBigEndian(tiff_.get()) != 0;
    if (layout_.photometric == PHOTOMETRIC_YCBCR && !layout_.is_compressed()) {
      std::uint16_t across = 2;
      std::uint16_t down = 2;
      TIFFGetFieldDefaulted(tiff_.get(), TIFFTAG_YCBCRSUBSAMPLING, &across, &down);
      layout_.subsampled = across != 1 || down != 1;
    }
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
      if (!layout_.is_compressed()) {
        throw unsupported_tiff("of planes without compression, some without a meaning");
      }
      layout_.samples = static_cast<std::uint16_t>(layout_.samples - layout_.extras.size());
      layout_.extras.clear();
    }
  }

  Error unsupported_tiff(std::string_view kind) const { return unsupported(file_, "TIFF", kind); }

  /// Throws for what Pillow or Debian's libtiff does not unpack, and for files too small for
  /// what they are to become.
  void check_compression() {
    if (kind_ == TiffKind::kYcbcrJpeg) {
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
          throw unsupported_tiff_samples(file_, layout_);
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

  TiffPalette read_palette() const {
    const std::uint16_t* red = nullptr;
    const std::uint16_t* green = nullptr;
    const std::uint16_t* blue = nullptr;
    if (TIFFGetField(tiff_.get(), TIFFTAG_COLORMAP, &red, &green, &blue) != 1) {
      throw damaged_tiff("it lacks its palette");
    }
    TiffPalette palette = {};
    for (std::size_t i = 0; i < std::size_t{1} << layout_.bits; ++i) {
      palette[i] = {static_cast<std::uint8_t>(red[i] / 256),
                    static_cast<std::uint8_t>(green[i] / 256),
                    static_cast<std::uint8_t>(blue[i] / 256)};
    }
    return palette;
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
    if (layout_.separate && layout_.bits < 8) {
      throw unsupported_tiff("of planes of less than 8 bits");
    }
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
    const TiffPixels pixels(layout_, kind_, palette_);
    const std::size_t pixel_size = layout_.samples * layout_.bits / 8U;
    const std::uint8_t* from = layout_.separate ? together_.data() : buffer_.data();
    const std::size_t stride = layout_.separate ? block.width * pixel_size : block.stride;
    for (std::size_t row = 0; row < block.height; ++row) {
      std::uint8_t* to =
          image.pixels.data() + ((block.y + row) * std::size_t{layout_.width} + block.x) * 3;
      pixels.convert_row(from + row * stride, block.width, to);
    }
  }

  const ImageFile& file_;
  Client client_;
  Tiff tiff_;
  TiffLayout layout_;
  TiffKind kind_ = TiffKind::kGray;
  TiffPalette palette_ = {};
  std::vector<std::uint8_t> buffer_;    ///< a strip or tile of one plane, or of all together
  std::vector<std::uint8_t> together_;  ///< a strip or tile of separate planes, put together
};

}  // namespace

RgbImage decode_tiff(const ImageFile& file) {
  return TiffReader(file).read();
}

}  // namespace bitlog2
