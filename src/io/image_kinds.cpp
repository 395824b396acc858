// Names the kinds of files that are given as images and cannot be decoded, so that the message says
// what to do.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <string>

#include "bitlog2/image.h"
#include "io/image_formats.h"

namespace bitlog2 {
namespace {

using namespace std::string_view_literals;

constexpr std::string_view kConvert = "convert it to JPEG or PNG";
constexpr std::string_view kUnpackIt = "unpack it";
constexpr std::string_view kDownloadImage = "download the image again";

struct Kind {
  std::string_view magic;
  std::size_t at;
  std::string_view name;
  std::string_view advice;
};

/// The first that fits counts.
constexpr std::array kKinds = {
    Kind{"ftypheic"sv, 4, "a HEIC image", kConvert},
    Kind{"ftypheix"sv, 4, "a HEIC image", kConvert},
    Kind{"ftyphevc"sv, 4, "a HEIC image", kConvert},
    Kind{"ftypheim"sv, 4, "a HEIC image", kConvert},
    Kind{"ftypheis"sv, 4, "a HEIC image", kConvert},
    Kind{"ftypmif1"sv, 4, "a HEIF image", kConvert},
    Kind{"ftypmsf1"sv, 4, "a HEIF image", kConvert},
    Kind{"ftypavif"sv, 4, "an AVIF image", kConvert},
    Kind{"ftypavis"sv, 4, "an AVIF image", kConvert},
    Kind{"ftypcrx "sv, 4, "a CR3 raw photograph", kConvert},
    Kind{"ftyp"sv, 4, "a video (MP4 or QuickTime)", "extract a frame of it as JPEG or PNG"},
    Kind{"\0\0\0\x0cjP  \r\n\x87\n"sv, 0, "a JPEG 2000 image", kConvert},
    Kind{"\xff\x4f\xff\x51"sv, 0, "a JPEG 2000 image", kConvert},
    Kind{"\0\0\0\x0cJXL \r\n\x87\n"sv, 0, "a JPEG XL image", kConvert},
    Kind{"\xff\x0a"sv, 0, "a JPEG XL image", kConvert},
    Kind{"8BPS"sv, 0, "a Photoshop file (PSD)", kConvert},
    Kind{"\0\0\1\0"sv, 0, "an icon (ICO)", kConvert},
    Kind{"\x76\x2f\x31\x01"sv, 0, "an OpenEXR image", kConvert},
    Kind{"%PDF-"sv, 0, "a PDF", kConvert},
    Kind{"%!PS"sv, 0, "a PostScript file", kConvert},
    Kind{"\x93NUMPY"sv, 0, "a NumPy array", "save the image in it as PNG"},
    Kind{"\x89HDF\r\n\x1a\n"sv, 0, "an HDF5 file", "save the images in it as PNG"},
    Kind{"\x1f\x8b"sv, 0, "a gzip file", kUnpackIt},
    Kind{"PK\3\4"sv, 0, "a zip file", kUnpackIt},
    Kind{"7z\xbc\xaf\x27\x1c"sv, 0, "a 7z file", kUnpackIt},
    Kind{"\xfd"
         "7zXZ\0"sv,
         0, "an xz file", kUnpackIt},
    Kind{"\x28\xb5\x2f\xfd"sv, 0, "a Zstandard file", kUnpackIt},
    Kind{"BZh"sv, 0, "a bzip2 file", kUnpackIt},
    Kind{"ustar"sv, 257, "a tar archive", kUnpackIt},
    Kind{"version https://git-lfs"sv, 0, "a Git LFS pointer, not the file that it stands for",
         "run 'git lfs pull' where it came from"},
};

/// The start of a text in lower case, without what may come before its first word.
std::string first_words(std::span<const std::byte> bytes) {
  constexpr std::size_t kLookedAt = 1024;
  constexpr auto kByteOrderMark = "\xef\xbb\xbf"sv;
  bytes = bytes.first(std::min(bytes.size(), kLookedAt));
  if (starts_with(bytes, kByteOrderMark)) {
    bytes = bytes.subspan(kByteOrderMark.size());
  }
  std::string text;
  for (const std::byte byte : bytes) {
    const auto letter = std::to_integer<unsigned char>(byte);
    if (!text.empty() || std::isspace(letter) == 0) {
      text.push_back(static_cast<char>(std::tolower(letter)));
    }
  }
  return text;
}

/// What a text that starts with markup is, as "name; advice"; empty if it does not.
std::string describe_markup(std::span<const std::byte> bytes) {
  const std::string text = first_words(bytes);
  if (text.starts_with("<!doctype html") || text.starts_with("<html")) {
    return fmt::format("an HTML page, perhaps a failed download's; {}", kDownloadImage);
  }
  if (text.starts_with("<svg") || (text.starts_with("<?xml") && text.find("<svg") < text.size())) {
    return fmt::format("an SVG drawing; {}", kConvert);
  }
  if (text.starts_with("<?xml")) {
    return fmt::format("an XML text, perhaps a failed download's; {}", kDownloadImage);
  }
  return "";
}

}  // namespace

std::string describe_other(std::span<const std::byte> bytes) {
  if (bytes.empty()) {
    return fmt::format("empty; {}", kDownloadImage);
  }
  const auto* const kind = std::ranges::find_if(kKinds, [&bytes](const Kind& candidate) {
    return starts_with(bytes, candidate.magic, candidate.at);
  });
  if (kind != kKinds.end()) {
    return fmt::format("{}; {}", kind->name, kind->advice);
  }
  if (std::string markup = describe_markup(bytes); !markup.empty()) {
    return markup;
  }
  return fmt::format("no image of a known format ({}); convert or remove it",
                     fmt::join(image_formats(), ", "));
}

}  // namespace bitlog2
