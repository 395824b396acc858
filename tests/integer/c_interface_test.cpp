// The C interface: a C program (runtime_test.c) that links only the runtime must get the same
// results as the C++ library. Also what the interface reads from a file's JSON part, in any form.
#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "bitlog2/files.h"
#include "bitlog2_runtime.h"
#include "cli/program.h"
#include "tiny_networks.h"

namespace bitlog2 {
namespace {

using testing::nano_model;
using testing::random_crops;

template <class T>
void append(std::vector<std::byte>& bytes, std::span<const T> values) {
  const auto more = std::as_bytes(values);
  bytes.insert(bytes.end(), more.begin(), more.end());
}

RgbImage random_image(int width, int height, std::mt19937& random) {
  RgbImage image = {width, height, {}};
  image.pixels.resize(static_cast<std::size_t>(3 * width * height));
  for (std::uint8_t& pixel : image.pixels) {
    // Extreme pixels make the filter's sums exceed the range at both ends.
    pixel = static_cast<std::uint8_t>(random() % 3 == 0 ? 255 * (random() % 2) : random() % 256);
  }
  return image;
}

struct PreparedImage {
  int width, height, resize, crop;
  Filter filter = Filter::bicubic;
  ResizeMode mode = ResizeMode::shorter;
  CropRounding rounding = CropRounding::torchvision;
};

/// Images of special sizes, then of random sizes, filters, modes and rounding.
std::vector<PreparedImage> prepared_images(std::mt19937& random) {
  std::vector<PreparedImage> result = {
      {1, 1, 1, 1},       {1, 1, 9, 5},      {5, 3, 8, 8},         {28, 28, 28, 28},
      {640, 480, 32, 28}, {31, 200, 36, 32}, {500, 7, 18, 16},     {16, 16, 12, 20},
      {7, 9, 20, 33},     {3, 1000, 5, 4},   {224, 224, 256, 224}, {375, 500, 256, 224},
      {101, 97, 248, 224}};
  for (int i = 0; i < 360; ++i) {
    const auto side = [&](unsigned most) { return static_cast<int>(1 + random() % most); };
    result.push_back({side(300), side(300), side(80), side(80), static_cast<Filter>(i % 6),
                      static_cast<ResizeMode>(i / 6 % 2), static_cast<CropRounding>(i / 12 % 2)});
  }
  return result;
}

/// Images and the library's crops of them, in the form that runtime_test.c reads.
std::vector<std::byte> images_and_crops() {
  std::mt19937 random(11);
  std::vector<std::byte> bytes;
  for (const PreparedImage& prepared : prepared_images(random)) {
    const RgbImage image = random_image(prepared.width, prepared.height, random);
    Preprocessing preprocessing;
    preprocessing.resize = prepared.resize;
    preprocessing.crop = prepared.crop;
    preprocessing.filter = prepared.filter;
    preprocessing.resize_mode = prepared.mode;
    preprocessing.crop_rounding = prepared.rounding;
    const std::uint32_t words[] = {
        static_cast<std::uint32_t>(prepared.width),   static_cast<std::uint32_t>(prepared.height),
        static_cast<std::uint32_t>(prepared.resize),  static_cast<std::uint32_t>(prepared.crop),
        static_cast<std::uint32_t>(prepared.filter),  static_cast<std::uint32_t>(prepared.mode),
        static_cast<std::uint32_t>(prepared.rounding)};
    append(bytes, std::span<const std::uint32_t>(words));
    append(bytes, std::span<const std::uint8_t>(image.pixels));
    append(bytes, std::span<const std::uint8_t>(resize_and_crop(image, preprocessing).pixels));
  }
  return bytes;
}

struct CCase {
  const char* model;
  const char* scheme;
  int bits;
  const char* recipe;
  bool has_names;
};

class CProgram : public ::testing::TestWithParam<CCase> {};

TEST_P(CProgram, GetsWhatTheLibraryGets) {
  const auto& [name, scheme, bits, recipe, has_names] = GetParam();
  Model model = nano_model(name);
  model.config.preprocessing.resize = static_cast<int>(model.config.img_size) + 5;
  model.config.preprocessing.mean = {0.5F, 0.25F, 0.406F};
  const std::vector<std::string> names = {"tench",     "Käfer",   "\"quoted\" \\ /", "",
                                          "tab\there", "日本",    "\U0001F600",      "a",
                                          "b",         "last one"};
  const auto bytes = lower(
      testing::quantize(model, {bits, bits, find_attention_scheme(scheme), find_recipe(recipe)}),
      has_names ? names : std::vector<std::string>{});
  const auto engine = IntegerEngine::from_bytes(bytes, "nano");
  std::vector<std::byte> crops;
  std::vector<std::byte> logits;
  for (const RgbImage& crop : random_crops(model.config.img_size, 3, 8)) {
    append(crops, std::span<const std::uint8_t>(crop.pixels));
    append(logits, std::span<const std::int32_t>(engine->integer_logits(crop)));
  }
  std::string lines;
  for (const std::string& line : names) {
    lines += has_names ? line + "\n" : "";
  }
  const testing::TemporaryFolder folder;
  write_file_atomically(folder.path() / "network.safetensors", bytes);
  write_file_atomically(folder.path() / "crops.bin", crops);
  write_file_atomically(folder.path() / "logits.bin", logits);
  write_file_atomically(folder.path() / "names.txt", lines);
  write_file_atomically(folder.path() / "images.bin", images_and_crops());
  testing::Program program("runtime_c_test", {folder.path().string()});
  const testing::Outcome outcome = program.finish();
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_EQ(outcome.err, "");
  for (const std::string& isa : available_isas()) {
    EXPECT_NE(outcome.out.find(isa + ": 3 crops"), std::string::npos) << isa << outcome.out;
  }
  // If pixels are their own codes, the weights include the normalization.
  const std::string sizes = "resize " + std::to_string(model.config.img_size + 5) + " crop " +
                            std::to_string(model.config.img_size) + " ";
  const bool is_folded = engine->config().preprocessing.mean[0] == 0.0F;
  const std::string expected =
      is_folded ? "mean 0 0 0 std 1000000 1000000 1000000" : "mean 500000 250000 406000";
  EXPECT_NE(outcome.out.find(sizes + expected), std::string::npos) << outcome.out;
  EXPECT_NE(outcome.out.find("373 images"), std::string::npos) << outcome.out;
}

INSTANTIATE_TEST_SUITE_P(Nano, CProgram,
                         ::testing::Values(CCase{"vit_nano", "BitLog2_Half_17", 4, "repq", true},
                                           CCase{"vit_nano", "BitLog2_Half_16", 4, "best", false},
                                           CCase{"swin_nano", "Sqrt2_17", 8, "repq", true},
                                           CCase{"swin_nano", "BitLog2_Single_16", 4, "best",
                                                 true}),
                         [](const auto& test) {
                           return std::string(test.param.model) + "_" + test.param.scheme + "_" +
                                  test.param.recipe;
                         });

// --- the JSON part ---------------------------------------------------------------------------

/// A valid network with another JSON part, read through the C interface.
class WithJson {
 public:
  explicit WithJson(std::string json) {
    static const std::vector<std::byte> original =
        testing::tiny_network(Family::vit, "BitLog2_Half_17", 4);
    std::uint64_t old_size = 0;
    std::memcpy(&old_size, original.data(), sizeof(old_size));
    json.resize((json.size() + 3) / 4 * 4, ' ');
    const std::uint64_t size = json.size();
    append(file_, std::span(&size, 1));
    append(file_, std::span<const char>(json));
    file_.insert(file_.end(), original.begin() + 8 + static_cast<std::ptrdiff_t>(old_size),
                 original.end());
    EXPECT_EQ(bitlog2_open(&network_, file_.data(), file_.size()), BITLOG2_OK);
  }

  std::string name(std::size_t index) const {
    char text[64];
    const std::size_t length = bitlog2_class_name(&network_, index, text, sizeof(text));
    return length == BITLOG2_NO_NAME ? "(none)" : std::string(text, length);
  }

  /// All zeros if there is none.
  bitlog2_preprocessing preprocessing() const {
    bitlog2_preprocessing result = {};
    const bitlog2_status status = bitlog2_get_preprocessing(&network_, &result);
    EXPECT_EQ(status, result.crop == 0 ? BITLOG2_BAD_METADATA : BITLOG2_OK);
    return result;
  }

  /// The resized side; 0 if there is no preprocessing.
  std::uint32_t resize() const { return preprocessing().resize; }

 private:
  std::vector<std::byte> file_;
  bitlog2_network network_ = {};
};

TEST(CMetadata, NamesAreFoundInAnyForm) {
  const WithJson plain(R"({"__metadata__":{"class_names":"[\"a\",\"b c\"]"}})");
  EXPECT_EQ(plain.name(0), "a");
  EXPECT_EQ(plain.name(1), "b c");
  EXPECT_EQ(plain.name(2), "(none)");
  const WithJson spaced(
      "{ \"t\" : {\"shape\":[1,[2,{}]],\"x\":\"]}\\\"\"} ,\n\t\"__metadata__\" : "
      "{ \"b\":\"{\", \"class_names\" : \" [ \\\"\\\\u00e9\\\" , \\\"\\\\ud83d\\\\ude00\\\" ]\"}}");
  EXPECT_EQ(spaced.name(0), "é");
  EXPECT_EQ(spaced.name(1), "\U0001F600");
  EXPECT_EQ(spaced.name(2), "(none)");
}

TEST(CMetadata, MalformedJsonHasNoNames) {
  for (const char* json : {"",
                           "{",
                           "[]",
                           "null",
                           "{}",
                           "{\"__metadata__\"",
                           "{\"__metadata__\":",
                           "{\"__metadata__\":{}}",
                           "{\"__metadata__\":[\"class_names\"]}",
                           R"({"__metadata__":{"class_names":7}})",
                           R"({"__metadata__":{"class_names":""}})",
                           R"({"__metadata__":{"class_names":"[1,2]"}})",
                           R"({"__metadata__":{"class_names":"[\"a)",
                           R"({"__metadata__":{"class_names":"[\"a"}})",
                           R"({"__metadata__":{"class_names":"[\"\x"}})",
                           R"({"__metadata__":{"class_names":"[\"\\u12\"]"}})",
                           R"({"__metadata__":{"class_names":"[\"\\ud800\"]"}})",
                           R"({"__metadata__":{"class_names":"[\"\\ud800\\u0041\"]"}})",
                           R"({"__metadata__":{"class_names":"[\"\\udc00\"]"}})",
                           R"({"__metadata__":{"class_name":"[\"a\"]"}})",
                           R"({"class_names":"[\"a\"]"})",
                           "{\"a\":[[[[[[[[[[",
                           "{\"a\":]}",
                           "{\"a\":1 \"__metadata__\":{}}"}) {
    const WithJson file(json);
    EXPECT_EQ(file.name(0), "(none)") << json;
    EXPECT_EQ(file.resize(), 0U) << json;
  }
}

std::string with_config(const std::string& config) {
  std::string escaped;
  for (const char c : config) {
    escaped += c == '"' ? std::string("\\\"") : std::string(1, c);
  }
  return R"({"__metadata__":{"config":")" + escaped + "\"}}";
}

TEST(CMetadata, ResizeIsTheToolsOwn) {
  std::vector<std::string> shares = {
      "1",      "1.0", "0.9", "0.875", "0.95", "0.96", "0.56", "0.57",
      "0.7",    "0.1", "1e0", "9E-1",  "0.14", "0.28", "0.35", "0.875000000000000000000000",
      "87.5e-2"};
  // config_to_json writes a share for each of these sizes; the tiny network's crop has 8 pixels.
  for (int resize = 8; resize <= 80; ++resize) {
    ModelConfig config = testing::tiny_config(Family::vit);
    config.preprocessing.resize = resize;
    const WithJson file(with_config(config_to_json(config)));
    EXPECT_EQ(file.resize(), static_cast<std::uint32_t>(resize));
  }
  for (const std::string& share : shares) {
    const WithJson file(with_config("{\"crop_pct\":" + share + "}"));
    EXPECT_EQ(file.resize(), static_cast<std::uint32_t>(std::floor(8 / std::stod(share)))) << share;
  }
  EXPECT_EQ(WithJson(with_config("{}")).resize(), 9U);  // the default share is 0.875
}

TEST(CMetadata, ChoicesOfTheResizeAreTheToolsOwn) {
  ModelConfig config = testing::tiny_config(Family::vit);
  for (std::uint32_t i = 0; i < 24; ++i) {
    config.preprocessing.filter = static_cast<Filter>(i % 6);
    config.preprocessing.resize_mode = static_cast<ResizeMode>(i / 6 % 2);
    config.preprocessing.crop_rounding = static_cast<CropRounding>(i / 12);
    const bitlog2_preprocessing found =
        WithJson(with_config(config_to_json(config))).preprocessing();
    EXPECT_EQ(found.crop, 8U);
    EXPECT_EQ(found.filter, i % 6);
    EXPECT_EQ(found.resize_mode, i / 6 % 2);
    EXPECT_EQ(found.crop_rounding, i / 12);
  }
}

TEST(CMetadata, BadConfigIsRefused) {
  for (const char* config :
       {"{\"crop_pct\":0}", "{\"crop_pct\":1.5}", "{\"crop_pct\":-0.5}", "{\"crop_pct\":0.09}",
        "{\"crop_pct\":\"x\"}", "{\"crop_pct\":1e99999}", "{\"crop_pct\":}", "{\"mean\":[1,2]}",
        "{\"mean\":7}", "{\"interpolation\":\"cubic\"}", "{\"interpolation\":3}",
        "{\"interpolation\":\"bicubic2\"}", "{\"resize_mode\":\"s\"}", "{\"resize_mode\":",
        "{\"crop_rounding\":null}", "{\"std\":[1,2,1000]}", "{\"std\":[1,2,\"3\"]}"}) {
    EXPECT_EQ(WithJson(with_config(config)).resize(), 0U) << config;
  }
  EXPECT_EQ(WithJson(with_config(R"({"mean":[0.1,-0.25,1e-3],"std":[1,2,999]})")).resize(), 9U);
}

}  // namespace
}  // namespace bitlog2
