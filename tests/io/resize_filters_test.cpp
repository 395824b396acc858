// Every filter, resize mode and centre crop, compared with the bytes of Pillow, torchvision and
// transformers, which tools/make_resize_goldens.py has collected.
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "bitlog2/error.h"
#include "bitlog2/image.h"
#include "bitlog2/safetensors.h"
#include "reference.h"

namespace bitlog2 {
namespace {

std::vector<std::string> parts_of(const std::string& key) {
  std::vector<std::string> parts(1);
  for (const char c : key) {
    if (c == '/') {
      parts.emplace_back();
    } else {
      parts.back() += c;
    }
  }
  return parts;
}

RgbImage image_of(const TensorView& tensor) {
  RgbImage image{static_cast<int>(tensor.shape.at(1)), static_cast<int>(tensor.shape.at(0)), {}};
  for (const std::byte byte : tensor.bytes) {
    image.pixels.push_back(std::to_integer<std::uint8_t>(byte));
  }
  return image;
}

class ResizeGoldens : public ::testing::TestWithParam<std::string_view> {
 protected:
  /// Calls check(parts of the key, source image, golden) for the goldens of a kind and of this
  /// test's filter; returns how many there are.
  template <class Check>
  std::size_t for_each(const std::string& kind, Check check) const {
    std::size_t count = 0;
    for (const auto& [key, tensor] : file_.tensors()) {
      const std::vector<std::string> parts = parts_of(key);
      if (parts[0] == kind && parts[1] == GetParam()) {
        SCOPED_TRACE(key);
        check(parts, image_of(file_.at("source/" + parts[2])), image_of(tensor));
        ++count;
      }
    }
    return count;
  }

 private:
  Safetensors file_ =
      Safetensors::open(testing::fixtures() / "images" / "resized" / "filters.safetensors");
};

TEST_P(ResizeGoldens, ResizedImagesHavePillowsPixels) {
  const std::size_t count =
      for_each("resized", [](const auto& parts, const RgbImage& source, const RgbImage& expected) {
        const RgbImage resized =
            resize_image(source, expected.width, expected.height, find_filter(parts[1]));
        EXPECT_EQ(resized.width, expected.width);
        EXPECT_EQ(resized.pixels, expected.pixels);
      });
  EXPECT_EQ(count, 11U);
}

TEST_P(ResizeGoldens, CropsHaveTheLibrarysPixels) {
  const std::size_t count =
      for_each("crop", [](const auto& parts, const RgbImage& source, const RgbImage& expected) {
        Preprocessing preprocessing;
        preprocessing.filter = find_filter(parts[1]);
        preprocessing.resize_mode = parts[3] == "squash" ? ResizeMode::squash : ResizeMode::shorter;
        preprocessing.crop_rounding =
            parts[4] == "transformers" ? CropRounding::transformers : CropRounding::torchvision;
        preprocessing.resize = std::stoi(parts[5]);
        preprocessing.crop = std::stoi(parts[6]);
        const RgbImage crop = resize_and_crop(source, preprocessing);
        EXPECT_EQ(crop.width, expected.width);
        EXPECT_EQ(crop.pixels, expected.pixels);
      });
  EXPECT_EQ(count, 16U);
}

INSTANTIATE_TEST_SUITE_P(All, ResizeGoldens, ::testing::ValuesIn(kFilterNames),
                         [](const auto& test) { return std::string(test.param); });

RgbImage random_image(int width, int height) {
  const auto size = static_cast<std::size_t>(width * height * 3);
  return {width, height,
          *rc::gen::container<std::vector<std::uint8_t>>(size, rc::gen::arbitrary<std::uint8_t>())};
}

Filter any_filter() {
  return find_filter(
      *rc::gen::elementOf(std::vector<std::string_view>(kFilterNames.begin(), kFilterNames.end())));
}

RC_GTEST_PROP(ResizeImage, ToTheSameSizeIsTheIdentity, ()) {
  const RgbImage image = random_image(*rc::gen::inRange(1, 30), *rc::gen::inRange(1, 30));
  RC_ASSERT(resize_image(image, image.width, image.height, any_filter()).pixels == image.pixels);
}

RC_GTEST_PROP(ResizeImage, KeepsAConstantImageConstant, ()) {
  const auto grey = *rc::gen::arbitrary<std::uint8_t>();
  RgbImage image{*rc::gen::inRange(1, 60), *rc::gen::inRange(1, 60), {}};
  image.pixels.assign(static_cast<std::size_t>(image.width * image.height * 3), grey);
  const RgbImage resized =
      resize_image(image, *rc::gen::inRange(1, 60), *rc::gen::inRange(1, 60), any_filter());
  RC_ASSERT(std::ranges::all_of(resized.pixels, [&](auto value) { return value == grey; }));
}

RC_GTEST_PROP(ResizeAndCrop, OfASquashToTheCropIsTheResize, ()) {
  const RgbImage image = random_image(*rc::gen::inRange(1, 40), *rc::gen::inRange(1, 40));
  Preprocessing preprocessing;
  preprocessing.resize = *rc::gen::inRange(1, 40);
  preprocessing.crop = preprocessing.resize;
  preprocessing.filter = any_filter();
  preprocessing.resize_mode = ResizeMode::squash;
  const RgbImage whole =
      resize_image(image, preprocessing.crop, preprocessing.crop, preprocessing.filter);
  RC_ASSERT(resize_and_crop(image, preprocessing).pixels == whole.pixels);
}

std::string message_of(auto call) {
  try {
    call();
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

TEST(Filters, AreFoundByNameAndByPillowsNumber) {
  EXPECT_EQ(find_filter("bicubic"), Filter::bicubic);
  EXPECT_EQ(find_filter("lanczos"), Filter::lanczos);
  EXPECT_EQ(message_of([] { find_filter("cubic"); }),
            "unknown filter 'cubic'; choose one of bicubic, nearest, box, bilinear, hamming, "
            "lanczos");
  const std::vector<std::string_view> names = {"nearest", "lanczos", "bilinear",
                                               "bicubic", "box",     "hamming"};
  for (std::size_t i = 0; i < names.size(); ++i) {
    EXPECT_EQ(filter_from_pillow(static_cast<int>(i)), find_filter(names[i]));
  }
  for (const int number : {-1, 6}) {
    EXPECT_NE(message_of([&] { filter_from_pillow(number); }).find("3 bicubic"), std::string::npos);
  }
}

}  // namespace
}  // namespace bitlog2
