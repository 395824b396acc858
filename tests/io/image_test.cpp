// Decoding and resizing, compared with Pillow's bytes; and files that are made to do harm. The
// fixtures are made by tests/data/images/make_images.py (JPEG, PNG) and tools/make_image_goldens.py
// (the other formats); none is a photograph.
#include "bitlog2/image.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <span>
#include <sstream>
#include <string>
#include <vector>

#include "bitlog2/error.h"
#include "bitlog2/files.h"
#include "bitlog2/safetensors.h"
#include "reference.h"

namespace bitlog2 {
namespace {

std::filesystem::path images() {
  return testing::fixtures() / "images";
}

std::vector<std::byte> read_bytes(const std::filesystem::path& path) {
  const MappedFile file(path);
  return {file.bytes().begin(), file.bytes().end()};
}

/// A binary PPM as Pillow writes it: "P6\nwidth height\n255\n", then RGB.
RgbImage read_ppm(const std::filesystem::path& path) {
  const std::vector<std::byte> bytes = read_bytes(path);
  std::istringstream text(std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size()));
  std::string magic;
  int levels = 0;
  RgbImage image;
  text >> magic >> image.width >> image.height >> levels;
  text.get();
  image.pixels.assign(std::istreambuf_iterator<char>(text), {});
  return image;
}

void expect_equal(const RgbImage& actual, const RgbImage& expected) {
  ASSERT_EQ(actual.width, expected.width);
  ASSERT_EQ(actual.height, expected.height);
  EXPECT_EQ(actual.pixels, expected.pixels);
}

/// The message of the Error that decoding throws; empty if it throws none.
std::string refusal(std::span<const std::byte> bytes) {
  try {
    decode_image(bytes, "photo");
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

RgbImage random_image(int width, int height) {
  const auto size = static_cast<std::size_t>(width * height * 3);
  return {width, height,
          *rc::gen::container<std::vector<std::uint8_t>>(size, rc::gen::arbitrary<std::uint8_t>())};
}

RgbImage cut(const RgbImage& image, int left, int top, int width, int height) {
  RgbImage part{width, height, {}};
  for (int row = top; row < top + height; ++row) {
    const auto begin = image.pixels.begin() + (row * image.width + left) * 3;
    part.pixels.insert(part.pixels.end(), begin, begin + width * 3);
  }
  return part;
}

class DecodedImage : public ::testing::TestWithParam<const char*> {};

TEST_P(DecodedImage, HasPillowsPixels) {
  const RgbImage image = read_image(images() / GetParam());
  expect_equal(image, read_ppm(images() / (std::string(GetParam()) + ".ppm")));
}

TEST_P(DecodedImage, IsRefusedOrWholeWhenCutShort) {
  const std::vector<std::byte> bytes = read_bytes(images() / GetParam());
  const RgbImage whole = decode_image(bytes, "photo");
  const bool is_jpeg = std::string(GetParam()).ends_with(".jpg");
  for (std::size_t size = 0; size < bytes.size(); ++size) {
    // A copy of exactly this size, so that the sanitizers see reads beyond the end.
    const std::vector<std::byte> prefix(bytes.begin(),
                                        bytes.begin() + static_cast<std::ptrdiff_t>(size));
    if (is_jpeg) {
      EXPECT_NE(refusal(prefix), "") << size;
    } else if (refusal(prefix).empty()) {
      expect_equal(decode_image(prefix, "photo"), whole);
    }
  }
}

TEST_P(DecodedImage, SurvivesAnyDamagedByte) {
  const std::vector<std::byte> bytes = read_bytes(images() / GetParam());
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    for (const std::byte flips : {std::byte{0xFF}, std::byte{0x01}, std::byte{0x80}}) {
      std::vector<std::byte> damaged = bytes;
      damaged[i] ^= flips;
      EXPECT_EQ(refusal(damaged).find('\n'), std::string::npos);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Jpeg, DecodedImage,
                         ::testing::Values("gray.jpg", "gray_progressive.jpg", "colour_420.jpg",
                                           "colour_422.jpg", "colour_444.jpg", "progressive.jpg",
                                           "adobe_rgb.jpg", "cmyk.jpg", "ycck.jpg",
                                           "cmyk_unmarked.jpg", "exif_rotated.jpg",
                                           "early_end.jpg"));

INSTANTIATE_TEST_SUITE_P(Png, DecodedImage,
                         ::testing::Values("gray_1.png", "gray_2.png", "gray_4.png", "gray_8.png",
                                           "gray_16.png", "gray_alpha_8.png", "gray_alpha_16.png",
                                           "rgb_8.png", "rgb_16.png", "rgb_8_transparent.png",
                                           "rgba_8.png", "rgba_16.png", "palette_1.png",
                                           "palette_2.png", "palette_4.png", "palette_8.png",
                                           "gray_1_interlaced.png", "gray_16_interlaced.png",
                                           "rgb_8_interlaced.png", "palette_4_interlaced.png",
                                           "one_row_interlaced.png", "one_pixel.png"));

TEST(DecodeImage, ReadsAKnownPixel) {
  const RgbImage image = read_image(images() / "one_pixel.png");
  expect_equal(image, {1, 1, {10, 20, 30}});
}

TEST(DecodeImage, GoesByContentAndNotByName) {
  const std::vector<std::byte> png = read_bytes(images() / "rgb_8.png");
  expect_equal(decode_image(png, "photo.JPEG"), read_ppm(images() / "rgb_8.png.ppm"));
}

/// The files of formats that a build may leave out and that this build has.
std::vector<std::string> files_of_other_formats() {
  static constexpr std::array<std::array<std::string_view, 2>, 4> kFormats = {
      {{"WebP", ".webp"}, {"BMP", ".bmp"}, {"GIF", ".gif"}, {"TIFF", ".tif"}}};
  const std::vector<std::string_view> built = image_formats();
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(images() / "formats")) {
    const std::string extension = entry.path().extension().string();
    const auto* const format =
        std::ranges::find(kFormats, extension, [](const auto& pair) { return pair[1]; });
    if (format != kFormats.end() && std::ranges::find(built, (*format)[0]) != built.end()) {
      names.push_back(entry.path().filename().string());
    }
  }
  std::ranges::sort(names);
  return names;
}

class DecodedFormat : public ::testing::TestWithParam<std::string> {};
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(DecodedFormat);

TEST_P(DecodedFormat, HasPillowsPixels) {
  const RgbImage image = read_image(images() / "formats" / GetParam());
  expect_equal(image, read_image(images() / "formats" / "expected" / (GetParam() + ".png")));
}

TEST_P(DecodedFormat, IsRefusedOrWholeWhenCutShort) {
  const std::vector<std::byte> bytes = read_bytes(images() / "formats" / GetParam());
  const RgbImage whole = decode_image(bytes, "photo");
  const std::size_t step = bytes.size() / 500 + 1;
  for (std::size_t size = 0; size < bytes.size(); size += step) {
    const std::vector<std::byte> prefix(bytes.begin(),
                                        bytes.begin() + static_cast<std::ptrdiff_t>(size));
    if (refusal(prefix).empty()) {
      expect_equal(decode_image(prefix, "photo"), whole);
    }
  }
}

TEST_P(DecodedFormat, SurvivesDamagedBytes) {
  std::vector<std::byte> bytes = read_bytes(images() / "formats" / GetParam());
  const std::size_t step = bytes.size() / 300 + 1;
  for (std::size_t i = 0; i < bytes.size(); i += step) {
    for (const std::byte flips : {std::byte{0xFF}, std::byte{0x01}, std::byte{0x80}}) {
      bytes[i] ^= flips;
      std::string message;
      try {
        decode_image(bytes, "photo", 1 << 20);
      } catch (const Error& error) {
        message = error.what();
      }
      EXPECT_EQ(message.find('\n'), std::string::npos);
      bytes[i] ^= flips;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Formats, DecodedFormat, ::testing::ValuesIn(files_of_other_formats()),
                         [](const auto& file) {
                           std::string name = file.param;
                           std::ranges::replace(name, '.', '_');
                           return name;
                         });

TEST(ImageFormats, HaveManyVariants) {
  std::size_t least = 0;
  for (const std::string_view format : image_formats()) {
    least += format == "WebP" ? 11 : format == "BMP" ? 42 : format == "GIF" ? 26 : 0;
    least += format == "TIFF" ? 95 : 0;
  }
  EXPECT_GE(files_of_other_formats().size(), least);
}

/// Whether this build decodes a file; only for formats that a build may leave out.
bool is_built(const std::filesystem::path& file) {
  const std::vector<std::string_view> formats = image_formats();
  const auto has = [&formats](std::string_view format) {
    return std::ranges::find(formats, format) != formats.end();
  };
  const std::string extension = file.extension().string();
  return (extension != ".webp" || has("WebP")) && (extension != ".bmp" || has("BMP")) &&
         (extension != ".gif" || has("GIF")) && (extension != ".tif" || has("TIFF"));
}

TEST(DecodeImage, SaysWhichFormatTheBuildLeavesOut) {
  for (const auto& [file, format] : {std::pair{"lossy.webp", "WebP"}, std::pair{"rle8.bmp", "BMP"},
                                     std::pair{"plain.gif", "GIF"}, std::pair{"rgb.tif", "TIFF"}}) {
    const std::string message = refusal(read_bytes(images() / "formats" / file));
    EXPECT_EQ(message, is_built(file) ? ""
                                      : "photo: a " + std::string(format) +
                                            " image, which this build leaves out; convert it to "
                                            "PNG");
  }
}

struct Refusal {
  const char* file;
  const char* reason;
};

void PrintTo(const Refusal& refused, std::ostream* out) {
  *out << refused.file;
}

class DamagedImage : public ::testing::TestWithParam<Refusal> {};

TEST_P(DamagedImage, IsRefusedInOneLineThatSaysWhy) {
  const std::string message = refusal(read_bytes(images() / "damaged" / GetParam().file));
  EXPECT_TRUE(message.starts_with("photo: ")) << message;
  EXPECT_NE(message.find(GetParam().reason), std::string::npos) << message;
  EXPECT_EQ(message.find('\n'), std::string::npos) << message;
}

INSTANTIATE_TEST_SUITE_P(
    All, DamagedImage,
    ::testing::Values(Refusal{"empty", "empty; download the image again"},
                      Refusal{"text", "no image of a known format (JPEG, PNG"},
                      Refusal{"over_limit.jpg", "65500x65500 pixels is over the limit"},
                      Refusal{"over_limit.png", "1048576x1048576 pixels is over the limit"},
                      Refusal{"false_size.jpg", "cannot hold 16000x16000 pixels"},
                      Refusal{"false_size.png", "cannot hold 16000x16000 pixels"},
                      Refusal{"missing_rows.png", "damaged PNG"},
                      Refusal{"bad_checksum.png", "damaged PNG"},
                      Refusal{"no_palette.png", "damaged PNG"},
                      Refusal{"truncated.jpg", "damaged JPEG (Premature end of JPEG file)"},
                      Refusal{"truncated_progressive.jpg", "Premature end of JPEG file"},
                      Refusal{"truncated.png", "damaged PNG"}));

class DamagedFormat : public ::testing::TestWithParam<Refusal> {};

TEST_P(DamagedFormat, IsRefusedInOneLineThatSaysWhy) {
  if (!is_built(GetParam().file)) {
    GTEST_SKIP() << "this build leaves the format out";
  }
  const std::filesystem::path path = images() / "formats" / "damaged" / GetParam().file;
  ::testing::internal::CaptureStdout();
  ::testing::internal::CaptureStderr();
  const std::string message = refusal(read_bytes(path));
  EXPECT_EQ(::testing::internal::GetCapturedStdout(), "");
  EXPECT_EQ(::testing::internal::GetCapturedStderr(), "");
  EXPECT_TRUE(message.starts_with("photo: ")) << message;
  EXPECT_NE(message.find(GetParam().reason), std::string::npos) << message;
  EXPECT_EQ(message.find('\n'), std::string::npos) << message;
}

INSTANTIATE_TEST_SUITE_P(
    All, DamagedFormat,
    ::testing::Values(
        Refusal{"big_endian_big.tif",
                "larger than 4 GB (BigTIFF) in big-endian byte order, which is not supported"},
        Refusal{"bits.bmp", "a BMP of 2 bits a pixel, which is not supported"},
        Refusal{"block.gif", "damaged GIF (Failed to read from given file)"},
        Refusal{"chunks.webp", "damaged WebP (its chunks do not fit together)"},
        Refusal{"colours.bmp", "damaged BMP (a palette of 512 colours)"},
        Refusal{"directory.tif", "damaged TIFF (Can not read TIFF directory count)"},
        Refusal{"end_code.gif", "damaged GIF (its pixels end early)"},
        Refusal{"false_screen.gif", "bytes cannot hold 16000x16000 pixels"},
        Refusal{"false_size.bmp", "bytes cannot hold 16000x16000 pixels"},
        Refusal{"false_size.gif", "bytes cannot hold 16000x16000 pixels"},
        Refusal{"false_size.tif", "bytes cannot hold 16000x16000 pixels"},
        Refusal{"false_size.webp", "bytes cannot hold 16383x16383 pixels"},
        Refusal{"false_size_deflate.tif", "bytes cannot hold 16000x16000 pixels"},
        Refusal{"fax_bomb.tif", "bytes cannot hold 16000x16000 pixels"},
        Refusal{"float.tif", "a TIFF of floating-point samples, which is not supported"},
        Refusal{"header.tif", "damaged TIFF (Cannot read TIFF header)"},
        Refusal{"jpeg_inside.bmp", "a BMP of compression 4, which is not supported"},
        Refusal{"kind.webp", "damaged WebP (its chunks do not fit together)"},
        Refusal{"lab.tif", "a TIFF in L*a*b*, which is not supported"},
        Refusal{"log_luv.tif",
                "a TIFF of photometric interpretation 32845, which is not supported"},
        Refusal{"lzma.tif", "a TIFF of compression 34925, which is not supported"},
        Refusal{"masks.bmp",
                "a BMP of bit fields 3ff, ffc00, 3ff00000 and 0, which is not supported"},
        Refusal{"no_image.gif", "damaged GIF (it has no image)"},
        Refusal{"no_palette.tif", "damaged TIFF (it lacks its palette)"},
        Refusal{"no_size.bmp", "damaged BMP (0x1 pixels)"},
        Refusal{"no_size.gif", "damaged GIF (0x0 pixels)"},
        Refusal{"old_jpeg.tif", "a TIFF of compression 6, which is not supported"},
        Refusal{"over_limit.bmp", "1048576x1048576 pixels is over the limit"},
        Refusal{"over_limit.gif", "65535x65535 pixels is over the limit"},
        Refusal{"over_limit.tif", "65535x65535 pixels is over the limit"},
        Refusal{"palette_reversed.tif",
                "a TIFF of 1 x 4 bits a pixel, photometric interpretation 3"},
        Refusal{"planes_16.tif",
                "a TIFF of 16-bit planes without compression, which is not supported"},
        Refusal{"planes_extra.tif", "a TIFF of planes without compression, some without a meaning"},
        Refusal{"planes_unmarked.tif", "a TIFF of compressed planes, one without a meaning"},
        Refusal{"premultiplied_gray.tif",
                "a TIFF of 2 x 8 bits a pixel, photometric interpretation 1"},
        Refusal{"rle_bits.bmp", "a BMP of run lengths in 24 bits, which is not supported"},
        Refusal{"rle_end.bmp", "damaged BMP (its run lengths end early)"},
        Refusal{"rows.bmp", "bytes cannot hold 13x9 pixels"},
        Refusal{"short_control.gif", "damaged GIF (its graphic control is cut short)"},
        Refusal{"short_raw.tif", "bytes cannot hold 13x9 pixels"},
        Refusal{"short_strip.tif", "damaged TIFF (Decoding error at scanline 0)"},
        Refusal{"skip_bomb.bmp", "bytes cannot hold 15000x15000 pixels"},
        Refusal{"tile_bomb.tif", "bytes cannot hold 13x9 pixels"},
        Refusal{"two_samples.tif", "a TIFF of 2 x 8 bits a pixel, photometric interpretation 2"},
        Refusal{"vp8l.webp", "damaged WebP (its data are invalid)"}));

class OtherKind : public ::testing::TestWithParam<Refusal> {};

TEST_P(OtherKind, IsNamed) {
  const std::string message =
      refusal(read_bytes(images() / "formats" / "others" / GetParam().file));
  EXPECT_EQ(message, std::string("photo: ") + GetParam().reason);
}

INSTANTIATE_TEST_SUITE_P(
    All, OtherKind,
    ::testing::Values(
        Refusal{"heic", "a HEIC image; convert it to JPEG or PNG"},
        Refusal{"avif", "an AVIF image; convert it to JPEG or PNG"},
        Refusal{"mp4", "a video (MP4 or QuickTime); extract a frame of it as JPEG or PNG"},
        Refusal{"jp2", "a JPEG 2000 image; convert it to JPEG or PNG"},
        Refusal{"jxl", "a JPEG XL image; convert it to JPEG or PNG"},
        Refusal{"svg", "an SVG drawing; convert it to JPEG or PNG"},
        Refusal{"html", "an HTML page, perhaps a failed download's; download the image again"},
        Refusal{"xml", "an XML text, perhaps a failed download's; download the image again"},
        Refusal{"pdf", "a PDF; convert it to JPEG or PNG"},
        Refusal{"psd", "a Photoshop file (PSD); convert it to JPEG or PNG"},
        Refusal{"lfs",
                "a Git LFS pointer, not the file that it stands for; run 'git lfs pull' where it "
                "came from"},
        Refusal{"gzip", "a gzip file; unpack it"}, Refusal{"zip", "a zip file; unpack it"}));

TEST(DecodeImage, TakesNoTextForABmp) {
  const std::string message = refusal(read_bytes(images() / "formats" / "others" / "bm_text"));
  EXPECT_TRUE(message.starts_with("photo: no image of a known format")) << message;
}

TEST(DecodeImage, KeepsToItsCallersLimit) {
  const std::vector<std::byte> png = read_bytes(images() / "rgb_8.png");
  EXPECT_EQ(decode_image(png, "photo", 13 * 9).pixels.size(), 13U * 9 * 3);
  EXPECT_THROW(decode_image(png, "photo", 13 * 9 - 1), Error);
}

TEST(DecodeImage, PrintsNothing) {
  ::testing::internal::CaptureStdout();
  ::testing::internal::CaptureStderr();
  refusal(read_bytes(images() / "damaged" / "truncated.jpg"));
  refusal(read_bytes(images() / "damaged" / "truncated.png"));
  refusal(read_bytes(images() / "early_end.jpg"));
  EXPECT_EQ(::testing::internal::GetCapturedStdout(), "");
  EXPECT_EQ(::testing::internal::GetCapturedStderr(), "");
}

TEST(ReadImage, NamesAFileThatIsNotThere) {
  try {
    read_image(images() / "absent.jpg");
    FAIL() << "no Error";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("absent.jpg"), std::string::npos);
  }
}

class ResizedImage : public ::testing::TestWithParam<const char*> {};

TEST_P(ResizedImage, HasPillowsPixels) {
  const RgbImage expected = read_ppm(images() / "resized" / (std::string(GetParam()) + ".ppm"));
  const RgbImage source = read_ppm(images() / "resized" / "source.ppm");
  expect_equal(resize_image(source, expected.width, expected.height, Filter::bicubic), expected);
}

INSTANTIATE_TEST_SUITE_P(All, ResizedImage,
                         ::testing::Values("21x5", "7x17", "8x8", "1x1", "30x3", "2x29", "40x33"));

RC_GTEST_PROP(ResizeAndCrop, IsTheMiddleOfTheWholeResize, ()) {
  const RgbImage image = random_image(*rc::gen::inRange(1, 40), *rc::gen::inRange(1, 40));
  Preprocessing preprocessing;
  preprocessing.resize = *rc::gen::inRange(1, 40);
  preprocessing.crop = *rc::gen::inRange(1, preprocessing.resize + 1);

  const int shorter = std::min(image.width, image.height);
  const int width = preprocessing.resize * image.width / shorter;
  const int height = preprocessing.resize * image.height / shorter;
  const RgbImage whole = resize_image(image, width, height, Filter::bicubic);
  // nearbyint rounds halves to even, as Python does.
  const int left = static_cast<int>(std::nearbyint((width - preprocessing.crop) / 2.0));
  const int top = static_cast<int>(std::nearbyint((height - preprocessing.crop) / 2.0));
  const RgbImage middle = cut(whole, left, top, preprocessing.crop, preprocessing.crop);
  RC_ASSERT(resize_and_crop(image, preprocessing).pixels == middle.pixels);
}

/// An image in which each pixel holds its coordinates.
RgbImage coordinates(int width, int height) {
  RgbImage image{width, height, {}};
  for (int y = 0; y < height; ++y) {
    for (int x = 0; x < width; ++x) {
      image.pixels.push_back(static_cast<std::uint8_t>(x));
      image.pixels.push_back(static_cast<std::uint8_t>(y));
      image.pixels.push_back(255);
    }
  }
  return image;
}

TEST(ResizeAndCrop, RoundsHalvesToEvenOffsets) {
  // The longer side exceeds the crop by 1, 3, 5 and 7. Half of this is rounded: 0.5 to 0, 1.5 to 2,
  // 2.5 to 2, 3.5 to 4.
  const std::array<std::array<int, 2>, 4> excess_and_offset = {{{1, 0}, {3, 2}, {5, 2}, {7, 4}}};
  for (const auto& [excess, offset] : excess_and_offset) {
    const RgbImage wide = resize_and_crop(coordinates(10 + excess, 10), {10, 10, {}, {}});
    EXPECT_EQ(wide.pixels[0], offset);
    EXPECT_EQ(wide.pixels[1], 0);
    const RgbImage tall = resize_and_crop(coordinates(10, 10 + excess), {10, 10, {}, {}});
    EXPECT_EQ(tall.pixels[0], 0);
    EXPECT_EQ(tall.pixels[1], offset);
  }
}

TEST(ResizeAndCrop, SurroundsASmallImageWithZeros) {
  const RgbImage image = coordinates(5, 4);
  const RgbImage crop = resize_and_crop(image, {4, 9, {}, {}});
  ASSERT_EQ(crop.width, 9);
  ASSERT_EQ(crop.height, 9);
  // Of the 4 missing columns, 2 are on the left; of the 5 missing rows, 2 are above and 3 below.
  expect_equal(cut(crop, 2, 2, 5, 4), image);
  const auto blue = [&crop](int x, int y) {
    return crop.pixels[static_cast<std::size_t>((y * 9 + x) * 3 + 2)];
  };
  for (int y = 0; y < 9; ++y) {
    for (int x = 0; x < 9; ++x) {
      const bool inside = x >= 2 && x < 7 && y >= 2 && y < 6;
      EXPECT_EQ(blue(x, y), inside ? 255 : 0) << x << ' ' << y;
    }
  }
}

TEST(ResizeAndCrop, PadsOneSideAndCropsTheOther) {
  const RgbImage crop = resize_and_crop(coordinates(20, 4), {4, 8, {}, {}});
  expect_equal(cut(crop, 0, 2, 8, 4), cut(coordinates(20, 4), 6, 0, 8, 4));
}

TEST(ResizeAndCrop, TakesAnImageOfExtremeShape) {
  // The row, completely resized, would have about 2^33 pixels.
  RgbImage row{1 << 17, 1, {}};
  row.pixels.assign(std::size_t{3} << 17, 77);
  const RgbImage crop = resize_and_crop(row, Preprocessing{});
  EXPECT_EQ(crop.pixels, std::vector<std::uint8_t>(224 * 224 * 3, 77));
}

TEST(Normalise, SubtractsTheMeanAndDividesInPlanes) {
  RgbImage crop{16, 16, {}};
  for (int value = 0; value < 256; ++value) {
    for (const int pixel : {value, 255 - value, value ^ 1}) {
      crop.pixels.push_back(static_cast<std::uint8_t>(pixel));
    }
  }
  const Preprocessing preprocessing;
  std::vector<float> planes(crop.pixels.size());
  normalise(crop, preprocessing, planes);
  for (std::size_t i = 0; i < crop.pixels.size(); ++i) {
    const std::size_t channel = i % 3;
    const float unit = static_cast<float>(crop.pixels[i]) / 255.0F;
    const float expected = (unit - preprocessing.mean[channel]) / preprocessing.std[channel];
    EXPECT_EQ(planes[channel * 256 + i / 3], expected);
  }
}

class Photographs : public ::testing::TestWithParam<std::pair<const char*, int>> {};

TEST_P(Photographs, HavePillowsCrops) {
  const auto reference = testing::reference_directory();
  if (!reference) {
    GTEST_SKIP() << "no reference data: set BITLOG2_REFERENCE_DIR";
  }
  const auto& [key, resize] = GetParam();
  Preprocessing preprocessing;
  preprocessing.resize = resize;
  const Safetensors goldens =
      Safetensors::open(*reference / "goldens" / "preprocess.goldens.safetensors");
  const auto names = nlohmann::json::parse(goldens.metadata().at("images"));
  const TensorView& crops = goldens.at(key);
  const std::size_t crop_size = 224 * 224 * 3;
  ASSERT_EQ(crops.bytes.size(), names.size() * crop_size);
  for (std::size_t i = 0; i < names.size(); ++i) {
    const std::string name = names[i].get<std::string>();
    const RgbImage image = read_image(*reference / "data" / "imagenet-500" / name);
    const RgbImage crop = resize_and_crop(image, preprocessing);
    const auto actual = std::as_bytes(std::span(crop.pixels));
    const auto expected = crops.bytes.subspan(i * crop_size, crop_size);
    EXPECT_TRUE(std::equal(actual.begin(), actual.end(), expected.begin(), expected.end())) << name;
  }
}

INSTANTIATE_TEST_SUITE_P(All, Photographs,
                         ::testing::Values(std::pair{"deit", 256}, std::pair{"vit_swin", 248}));

}  // namespace
}  // namespace bitlog2
