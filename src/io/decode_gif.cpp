// GIF through giflib: the first frame on its canvas. The pixels' LZW codes are expanded here,
// because giflib draws pixels for broken codes, where Pillow refuses the file.
#include <fmt/format.h>
#include <gif_lib.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <optional>
#include <vector>

#include "io/image_formats.h"

namespace bitlog2 {
namespace {

using Colour = std::array<std::uint8_t, 3>;
using GifPalette = std::array<Colour, 256>;

struct Rows {
  std::uint64_t first;
  std::uint64_t step;
};

constexpr std::array<Rows, 1> kPlainRows = {{{0, 1}}};
constexpr std::array<Rows, 4> kInterlacedRows = {{{0, 8}, {4, 8}, {2, 4}, {1, 2}}};

class GifReader {
 public:
  explicit GifReader(const ImageFile& file) : file_(file) {
    int code = 0;
    gif_.reset(DGifOpen(this, read_bytes, &code));
    if (gif_ == nullptr) {
      throw damaged(file_, "GIF", describe(code));
    }
  }

  RgbImage read() {
    find_frame();
    const GifImageDesc& frame = gif_->Image;
    const auto left = static_cast<std::uint64_t>(frame.Left);
    const auto top = static_cast<std::uint64_t>(frame.Top);
    const auto frame_width = static_cast<std::uint64_t>(frame.Width);
    const auto frame_height = static_cast<std::uint64_t>(frame.Height);
    check_size(file_, "GIF", frame_width, frame_height);
    check_holds(file_, "GIF", frame_width, frame_height, kMaxLzwRatio);
    // Pillow lets the canvas grow to hold the frame.
    const auto width =
        std::max<std::uint64_t>(left + frame_width, static_cast<std::uint64_t>(gif_->SWidth));
    const auto height =
        std::max<std::uint64_t>(top + frame_height, static_cast<std::uint64_t>(gif_->SHeight));
    check_size(file_, "GIF", width, height);
    if (!may_hold_blank(file_, width * height)) {
      throw cannot_hold(file_, "GIF", width, height);
    }

    const GifPalette palette = choose_palette();
    RgbImage image = start_image(width, height);
    image.pixels.resize(width * height * 3);
    fill(palette[transparent_.value_or(0)], image);
    std::vector<std::uint8_t> line(frame_width);
    CodeReader codes(*this);
    const std::span<const Rows> passes =
        frame.Interlace ? std::span<const Rows>(kInterlacedRows) : kPlainRows;
    for (const Rows& pass : passes) {
      for (std::uint64_t y = pass.first; y < frame_height; y += pass.step) {
        codes.read(line);
        std::uint8_t* pixel = image.pixels.data() + ((top + y) * width + left) * 3;
        for (const std::uint8_t index : line) {
          pixel = std::copy(palette[index].begin(), palette[index].end(), pixel);
        }
      }
    }
    return image;
  }

 private:
  struct Close {
    void operator()(GifFileType* gif) const { DGifCloseFile(gif, nullptr); }
  };

  /// The frame's indices, from LZW codes.
  class CodeReader {
   public:
    explicit CodeReader(GifReader& reader) : reader_(reader) {
      int bits = 0;
      reader_.check(DGifGetCode(reader_.gif_.get(), &bits, &block_));
      clear_ = 1U << bits;
      start_over();
    }

    void read(std::span<std::uint8_t> indices) {
      for (std::uint8_t& index : indices) {
        while (pending_.empty()) {
          expand(next_code());
        }
        index = pending_.back();
        pending_.pop_back();
      }
    }

   private:
    static constexpr unsigned kMostBits = 12;

    void start_over() {
      following_ = clear_ + 2;
      code_bits_ = static_cast<unsigned>(std::bit_width(clear_));
      previous_.reset();
    }

    unsigned next_code() {
      while (bit_count_ < code_bits_) {
        bits_ |= static_cast<unsigned>(next_byte()) << bit_count_;
        bit_count_ += 8;
      }
      const unsigned code = bits_ & ((1U << code_bits_) - 1);
      bits_ >>= code_bits_;
      bit_count_ -= code_bits_;
      return code;
    }

    /// A block's size stands before its bytes.
    GifByteType next_byte() {
      if (block_ != nullptr && used_ == block_[0]) {
        reader_.check(DGifGetCodeNext(reader_.gif_.get(), &block_));
        used_ = 0;
      }
      if (block_ == nullptr) {
        throw damaged(reader_.file_, "GIF", "its pixels end early");
      }
      return block_[++used_];
    }

    /// Puts what the code stands for into `pending_`, last index first.
    void expand(unsigned code) {
      if (code == clear_) {
        start_over();
        return;
      }
      if (code == clear_ + 1) {
        throw damaged(reader_.file_, "GIF", "its pixels end early");
      }
      if (code > following_ || (!previous_ && code > clear_)) {
        throw damaged(reader_.file_, "GIF", "its codes are invalid");
      }
      unsigned rest = code;
      if (code == following_) {
        // The word that this code is about to stand for: the last one and its own first index.
        pending_.push_back(first_);
        rest = *previous_;
      }
      while (rest >= clear_) {
        pending_.push_back(last_indices_[rest]);
        rest = prefixes_[rest];
      }
      pending_.push_back(static_cast<std::uint8_t>(rest));
      first_ = static_cast<std::uint8_t>(rest);
      if (previous_) {
        add_word(*previous_);
      }
      previous_ = code;
    }

    void add_word(unsigned prefix) {
      if (following_ == prefixes_.size()) {
        return;
      }
      last_indices_[following_] = first_;
      prefixes_[following_] = static_cast<std::uint16_t>(prefix);
      if (following_ == (1U << code_bits_) - 1 && code_bits_ < kMostBits) {
        ++code_bits_;
      }
      ++following_;
    }

    GifReader& reader_;
    GifByteType* block_ = nullptr;
    std::size_t used_ = 0;  ///< bytes of the block
    unsigned bits_ = 0;
    unsigned bit_count_ = 0;
    unsigned clear_ = 0;
    unsigned code_bits_ = 0;
    unsigned following_ = 0;            ///< the code that the next word gets
    std::optional<unsigned> previous_;  ///< the code before; none after a clear
    std::uint8_t first_ = 0;            ///< the first index of the last word
    /// A word is another one's and an index.
    std::array<std::uint16_t, 1U << kMostBits> prefixes_ = {};
    std::array<std::uint8_t, 1U << kMostBits> last_indices_ = {};
    std::vector<std::uint8_t> pending_;
  };

  /// giflib's source of bytes.
  static int read_bytes(GifFileType* gif, GifByteType* out, int count) {
    auto* reader = static_cast<GifReader*>(gif->UserData);
    const auto rest = reader->file_.bytes.subspan(reader->at_);
    const std::size_t size = std::min(rest.size(), static_cast<std::size_t>(count));
    if (size > 0) {
      std::memcpy(out, rest.data(), size);
    }
    reader->at_ += size;
    return static_cast<int>(size);
  }

  static std::string_view describe(int code) {
    const char* text = GifErrorString(code);
    return text == nullptr ? "unknown error" : text;
  }

  void check(int result) const {
    if (result == GIF_ERROR) {
      throw damaged(file_, "GIF", describe(gif_->Error));
    }
  }

  /// Reads up to the first frame's pixels.
  void find_frame() {
    for (;;) {
      GifRecordType type = UNDEFINED_RECORD_TYPE;
      const int result = DGifGetRecordType(gif_.get(), &type);
      if (result == GIF_ERROR && gif_->Error == D_GIF_ERR_WRONG_RECORD) {
        continue;  // stray bytes between records are passed over, as in Pillow
      }
      check(result);
      switch (type) {
        case IMAGE_DESC_RECORD_TYPE:
          check(DGifGetImageDesc(gif_.get()));
          return;
        case EXTENSION_RECORD_TYPE:
          read_extension();
          break;
        default:
          throw damaged(file_, "GIF", "it has no image");
      }
    }
  }

  void read_extension() {
    int code = 0;
    GifByteType* block = nullptr;
    check(DGifGetExtension(gif_.get(), &code, &block));
    if (code == GRAPHICS_EXT_FUNC_CODE && block != nullptr) {
      // The block's size comes before its fields.
      if (block[0] < 4) {
        throw damaged(file_, "GIF", "its graphic control is cut short");
      }
      if ((block[1] & 1) != 0) {
        transparent_ = block[4];
      }
    }
    while (block != nullptr) {
      check(DGifGetExtensionNext(gif_.get(), &block));
    }
  }

  /// Whether a colour map differs from index i being gray i; Pillow ignores such a map.
  static bool is_needed(const ColorMapObject* map) {
    if (map == nullptr) {
      return false;
    }
    for (int i = 0; i < map->ColorCount; ++i) {
      const GifColorType& colour = map->Colors[i];
      if (colour.Red != i || colour.Green != i || colour.Blue != i) {
        return true;
      }
    }
    return false;
  }

  /// The frame's own colours, else the file's, else grays. Indices past a map's end are black.
  GifPalette choose_palette() const {
    GifPalette palette = {};
    const ColorMapObject* map =
        is_needed(gif_->Image.ColorMap) ? gif_->Image.ColorMap : gif_->SColorMap;
    if (!is_needed(map)) {
      for (std::size_t i = 0; i < palette.size(); ++i) {
        palette[i].fill(static_cast<std::uint8_t>(i));
      }
      return palette;
    }
    for (std::size_t i = 0; i < static_cast<std::size_t>(map->ColorCount); ++i) {
      palette[i] = {map->Colors[i].Red, map->Colors[i].Green, map->Colors[i].Blue};
    }
    return palette;
  }

  static void fill(const Colour& colour, RgbImage& image) {
    if (colour == Colour{}) {
      return;
    }
    for (std::size_t i = 0; i < image.pixels.size(); i += colour.size()) {
      std::copy(colour.begin(), colour.end(), image.pixels.data() + i);
    }
  }

  const ImageFile& file_;
  std::size_t at_ = 0;
  std::unique_ptr<GifFileType, Close> gif_;
  std::optional<std::uint8_t> transparent_;
};

}  // namespace

RgbImage decode_gif(const ImageFile& file) {
  return GifReader(file).read();
}

}  // namespace bitlog2
