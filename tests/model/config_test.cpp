// Model configurations: the published ones, and JSON, right and wrong.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <nlohmann/json.hpp>
#include <numeric>

#include "bitlog2/error.h"
#include "bitlog2/model.h"
#include "error_of.h"

namespace bitlog2 {
namespace {

using nlohmann::json;
using ::testing::AllOf;
using ::testing::ElementsAre;
using testing::error_of;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

constexpr const char* kWhere = "folder/config.json";

ModelConfig parse(const json& object) {
  return parse_config(object.dump(), kWhere);
}

std::string parse_error(const json& object) {
  return error_of([&] { parse(object); });
}

json vit_json() {
  return json::parse(R"({"family": "vit", "img_size": 32, "patch_size": 8, "embed_dim": 48,
                         "depth": 2, "num_heads": 3, "num_classes": 10,
                         "layer_norm_eps": 1e-06})");
}

json swin_json() {
  return json::parse(R"({"family": "swin", "img_size": 56, "patch_size": 4, "window_size": 7,
                         "embed_dim": 24, "depths": [2, 2], "num_heads": [2, 4],
                         "num_classes": 10, "layer_norm_eps": 1e-05})");
}

json with(json object, const char* key, json value) {
  object[key] = std::move(value);
  return object;
}

void expect_equal(const ModelConfig& a, const ModelConfig& b) {
  EXPECT_EQ(a.name, b.name);
  EXPECT_EQ(a.family, b.family);
  EXPECT_EQ(a.img_size, b.img_size);
  EXPECT_EQ(a.patch_size, b.patch_size);
  EXPECT_EQ(a.embed_dim, b.embed_dim);
  EXPECT_EQ(a.depths, b.depths);
  EXPECT_EQ(a.num_heads, b.num_heads);
  EXPECT_EQ(a.mlp_ratio, b.mlp_ratio);
  EXPECT_EQ(a.num_classes, b.num_classes);
  EXPECT_EQ(a.layer_norm_eps, b.layer_norm_eps);
  EXPECT_EQ(a.preprocessing.resize, b.preprocessing.resize);
  EXPECT_EQ(a.preprocessing.crop, b.preprocessing.crop);
  EXPECT_EQ(a.preprocessing.mean, b.preprocessing.mean);
  EXPECT_EQ(a.preprocessing.std, b.preprocessing.std);
  EXPECT_EQ(a.preprocessing.filter, b.preprocessing.filter);
  EXPECT_EQ(a.preprocessing.resize_mode, b.preprocessing.resize_mode);
  EXPECT_EQ(a.preprocessing.crop_rounding, b.preprocessing.crop_rounding);
  if (a.family == Family::swin) {
    EXPECT_EQ(a.window_size, b.window_size);
  }
}

// ---- Published models ------------------------------------------------------------------

struct Published {
  const char* name;
  std::size_t embed_dim;
  std::vector<std::size_t> depths;
  std::vector<std::size_t> heads;
  int resize;
  float mean;
  std::uint64_t parameters;  ///< as timm counts them
  const char* repository;
};

std::ostream& operator<<(std::ostream& stream, const Published& model) {
  return stream << model.name;
}

std::uint64_t parameter_count(const ModelConfig& config) {
  Model model = make_model(config);
  std::uint64_t count = 0;
  for_each_parameter(model, [&](const Parameter& parameter) {
    EXPECT_TRUE(parameter.values.empty());  // make_model allocates no weights
    count += std::accumulate(parameter.shape.begin(), parameter.shape.end(), std::uint64_t{1},
                             std::multiplies<>());
  });
  return count;
}

class PublishedModel : public ::testing::TestWithParam<Published> {};

TEST_P(PublishedModel, HasItsPublishedSizes) {
  const Published& expected = GetParam();
  const NamedModel& model = find_named_model(expected.name);
  const ModelConfig& config = model.config;
  const bool is_swin = config.name.starts_with("swin");
  EXPECT_EQ(config.name, expected.name);
  EXPECT_EQ(config.family, is_swin ? Family::swin : Family::vit);
  EXPECT_EQ(config.img_size, 224U);
  EXPECT_EQ(config.patch_size, is_swin ? 4U : 16U);
  EXPECT_EQ(config.embed_dim, expected.embed_dim);
  EXPECT_EQ(config.depths, expected.depths);
  EXPECT_EQ(config.num_heads, expected.heads);
  EXPECT_EQ(config.window_size, 7U);
  EXPECT_EQ(config.mlp_ratio, 4);
  EXPECT_EQ(config.num_classes, 1000U);
  EXPECT_EQ(config.layer_norm_eps, is_swin ? 1e-5F : 1e-6F);
  EXPECT_EQ(config.preprocessing.crop, 224);
  EXPECT_EQ(config.preprocessing.resize, expected.resize);
  EXPECT_EQ(config.preprocessing.mean[0], expected.mean);
  EXPECT_EQ(config.preprocessing.std[0], expected.mean == 0.5F ? 0.5F : 0.229F);
  EXPECT_EQ(parameter_count(config), expected.parameters);
  EXPECT_EQ(model.repository, expected.repository);
}

TEST_P(PublishedModel, SurvivesJson) {
  const ModelConfig& config = find_named_model(GetParam().name).config;
  expect_equal(parse_config(config_to_json(config), kWhere), config);
}

INSTANTIATE_TEST_SUITE_P(
    All, PublishedModel,
    ::testing::Values(Published{"vit_small",
                                384,
                                {12},
                                {6},
                                248,
                                0.5F,
                                22'050'664,
                                "timm/vit_small_patch16_224.augreg_in21k_ft_in1k"},
                      Published{"vit_base",
                                768,
                                {12},
                                {12},
                                248,
                                0.5F,
                                86'567'656,
                                "timm/vit_base_patch16_224.augreg_in21k_ft_in1k"},
                      Published{"deit_tiny",
                                192,
                                {12},
                                {3},
                                256,
                                0.485F,
                                5'717'416,
                                "timm/deit_tiny_patch16_224.fb_in1k"},
                      Published{"deit_small",
                                384,
                                {12},
                                {6},
                                256,
                                0.485F,
                                22'050'664,
                                "timm/deit_small_patch16_224.fb_in1k"},
                      Published{"deit_base",
                                768,
                                {12},
                                {12},
                                256,
                                0.485F,
                                86'567'656,
                                "timm/deit_base_patch16_224.fb_in1k"},
                      Published{"swin_tiny",
                                96,
                                {2, 2, 6, 2},
                                {3, 6, 12, 24},
                                248,
                                0.485F,
                                28'288'354,
                                "timm/swin_tiny_patch4_window7_224.ms_in1k"},
                      Published{"swin_small",
                                96,
                                {2, 2, 18, 2},
                                {3, 6, 12, 24},
                                248,
                                0.485F,
                                49'606'258,
                                "timm/swin_small_patch4_window7_224.ms_in1k"}),
    [](const auto& tested) { return std::string(tested.param.name); });

TEST(NamedModels, AreListedWhenTheNameIsUnknown) {
  EXPECT_EQ(named_models().size(), 7U);
  for (const char* name : {"deit_huge", "", "hf_hub:", "deit_tiny "}) {
    const std::string message = error_of([&] { find_named_model(name); });
    EXPECT_THAT(message, StartsWith(fmt::format("unknown model '{}'", name)));
    for (const NamedModel& model : named_models()) {
      EXPECT_THAT(message, HasSubstr(model.config.name));
    }
  }
}

// ---- JSON ------------------------------------------------------------------------------

TEST(ConfigJson, GivesDefaultsToWhatMayBeLeftOut) {
  const ModelConfig config = parse(vit_json());
  EXPECT_EQ(config.name, "custom");
  EXPECT_EQ(config.family, Family::vit);
  EXPECT_EQ(config.img_size, 32U);
  EXPECT_EQ(config.patch_size, 8U);
  EXPECT_EQ(config.embed_dim, 48U);
  EXPECT_THAT(config.depths, ElementsAre(2));
  EXPECT_THAT(config.num_heads, ElementsAre(3));
  EXPECT_EQ(config.num_classes, 10U);
  EXPECT_EQ(config.layer_norm_eps, 1e-6F);
  EXPECT_EQ(config.mlp_ratio, 4);
  EXPECT_EQ(config.preprocessing.crop, 32);
  EXPECT_EQ(config.preprocessing.resize, 36);  // floor(32 / 0.875)
  EXPECT_EQ(config.preprocessing.mean, Preprocessing().mean);
  EXPECT_EQ(config.preprocessing.std, Preprocessing().std);
}

TEST(ConfigJson, ReadsWhatMayBeGiven) {
  json object = swin_json();
  object.update({{"name", "little swin"}, {"mlp_ratio", 2}, {"crop_pct", 0.9}});
  object.update({{"mean", {0.5, 0.25, 0}}, {"std", {1, 0.5, 0.25}}});
  const ModelConfig config = parse(object);
  EXPECT_EQ(config.name, "little swin");
  EXPECT_EQ(config.family, Family::swin);
  EXPECT_EQ(config.window_size, 7U);
  EXPECT_THAT(config.depths, ElementsAre(2, 2));
  EXPECT_THAT(config.num_heads, ElementsAre(2, 4));
  EXPECT_EQ(config.mlp_ratio, 2);
  EXPECT_EQ(config.preprocessing.resize, 62);
  EXPECT_THAT(config.preprocessing.mean, ElementsAre(0.5F, 0.25F, 0.0F));
  EXPECT_THAT(config.preprocessing.std, ElementsAre(1.0F, 0.5F, 0.25F));
}

TEST(ConfigJson, KeepsEveryResize) {
  ModelConfig config = parse(with(vit_json(), "patch_size", 1));
  for (const int crop : {1, 7, 28, 32, 56, 96, 224, 233}) {
    config.img_size = static_cast<std::size_t>(crop);
    config.preprocessing.crop = crop;
    for (int resize = crop; resize <= 10 * crop; ++resize) {
      config.preprocessing.resize = resize;
      const ModelConfig again = parse_config(config_to_json(config), kWhere);
      ASSERT_EQ(again.preprocessing.resize, resize) << crop;
    }
  }
}

/// A config that parse_config accepts.
ModelConfig any_config() {
  const auto size = [](std::size_t low, std::size_t high) {
    return *rc::gen::inRange<std::size_t>(low, high + 1);
  };
  ModelConfig config = config_of(*rc::gen::element(Family::vit, Family::swin));
  config.name = *rc::gen::container<std::string>(rc::gen::inRange('\x01', '\x7f'));
  const std::size_t stages = config.family == Family::vit ? 1 : size(1, 3);
  config.window_size = size(1, 16);
  config.patch_size = size(1, 16);
  config.img_size = config.patch_size * config.window_size * size(1, 3) * (1U << (stages - 1));
  config.depths.clear();
  config.num_heads.clear();
  for (std::size_t stage = 0; stage < stages; ++stage) {
    config.depths.push_back(size(1, 5));
    config.num_heads.push_back(1U << size(0, 3));
  }
  config.embed_dim = 8 * size(1, 20);
  config.mlp_ratio = static_cast<double>(size(1, 8));
  config.num_classes = size(1, 2000);
  config.layer_norm_eps = static_cast<float>(size(1, 1000)) * 1e-7F;
  config.preprocessing.crop = static_cast<int>(config.img_size);
  config.preprocessing.resize = static_cast<int>(config.img_size + size(0, config.img_size));
  config.preprocessing.filter = static_cast<Filter>(size(0, kFilterNames.size() - 1));
  config.preprocessing.resize_mode = static_cast<ResizeMode>(size(0, 1));
  config.preprocessing.crop_rounding = static_cast<CropRounding>(size(0, 1));
  for (std::size_t channel = 0; channel < 3; ++channel) {
    config.preprocessing.mean[channel] = static_cast<float>(size(0, 1000)) / 1000.0F;
    config.preprocessing.std[channel] = static_cast<float>(size(1, 1000)) / 1000.0F;
  }
  return config;
}

/// A ViT of Hugging Face transformers has this epsilon; as a float it is a little smaller.
TEST(ConfigJson, KeepsTheSmallestEpsilon) {
  const ModelConfig config = parse(with(vit_json(), "layer_norm_eps", 1e-12));
  expect_equal(parse_config(config_to_json(config), kWhere), config);
}

RC_GTEST_PROP(ConfigJsonProperty, SurvivesJson, ()) {
  const ModelConfig config = any_config();
  expect_equal(parse_config(config_to_json(config), kWhere), config);
}

TEST(ConfigJson, SwiGluHasTwiceAsManyChannelsBehindFc1) {
  const ModelConfig config =
      parse(with(with(vit_json(), "activation", "swiglu"), "mlp_ratio", 2.5));
  EXPECT_EQ(parse_config(config_to_json(config), kWhere).activation, Activation::swiglu);
  const Model model = make_model(config);
  const Block& block = model.stages[0].blocks[0];
  const auto width = static_cast<std::size_t>(2.5 * static_cast<double>(config.embed_dim));
  EXPECT_EQ(block.fc1.out_features, 2 * width);
  EXPECT_EQ(block.fc2.in_features, width);
}

TEST(ConfigJson, KeepsRotaryPositions) {
  const ModelConfig config = parse(with(vit_json(), "rope_theta", 99.5));
  EXPECT_EQ(parse_config(config_to_json(config), kWhere).rope_theta, 99.5);
  EXPECT_EQ(config_to_json(parse(vit_json())).find("rope_"), std::string::npos);
  const ModelConfig eva = parse(with(with(vit_json(), "rope_theta", 10000), "rope_grid", 16));
  EXPECT_EQ(parse_config(config_to_json(eva), kWhere).rope_grid, 16U);
  // cos^2 + sin^2 = 1, and the middle of the picture has mirrored angles around it.
  const std::vector<float> rotation = make_model(config).stages[0].blocks[0].attn.rotation;
  ASSERT_EQ(rotation.size(), 4U * 4U * 2U);  // 4 patches per side, heads of 16 channels
  for (std::size_t i = 0; i < rotation.size(); i += 2) {
    EXPECT_NEAR(rotation[i] * rotation[i] + rotation[i + 1] * rotation[i + 1], 1, 1e-6);
    const std::size_t mirrored = (3 - i / 8) * 8 + i % 8;
    EXPECT_NEAR(rotation[i], rotation[mirrored], 1e-6);
    EXPECT_NEAR(rotation[i + 1], -rotation[mirrored + 1], 1e-6);
  }
}

TEST(ConfigErrors, RotaryPositionsNeedAVitWithHeadsOfFourTimesAChannel) {
  EXPECT_THAT(parse_error(with(with(vit_json(), "rope_theta", 100), "num_heads", 8)),
              HasSubstr("heads of a multiple of 4 channels; they have 6"));
  EXPECT_THAT(parse_error(with(swin_json(), "rope_theta", 100)), HasSubstr("a swin has no"));
  EXPECT_THAT(parse_error(with(vit_json(), "rope_grid", 16)), HasSubstr("needs rope_theta"));
}

TEST(ConfigJson, ReadsHowImagesAreResized) {
  json object = vit_json();
  const Preprocessing usual = parse(object).preprocessing;
  EXPECT_EQ(usual.filter, Filter::bicubic);
  EXPECT_EQ(usual.resize_mode, ResizeMode::shorter);
  EXPECT_EQ(usual.crop_rounding, CropRounding::torchvision);
  object.update(
      {{"interpolation", "lanczos"}, {"resize_mode", "squash"}, {"crop_rounding", "transformers"}});
  const Preprocessing other = parse(object).preprocessing;
  EXPECT_EQ(other.filter, Filter::lanczos);
  EXPECT_EQ(other.resize_mode, ResizeMode::squash);
  EXPECT_EQ(other.crop_rounding, CropRounding::transformers);
}

TEST(ConfigJson, DoesNotSayWhatIsUsual) {
  const std::string text = config_to_json(parse(vit_json()));
  for (const char* key : {"interpolation", "resize_mode", "crop_rounding"}) {
    EXPECT_EQ(text.find(key), std::string::npos) << key;
  }
}

// ---- Errors ----------------------------------------------------------------------------

TEST(ConfigErrors, UnknownChoicesOfAResizeAreRefused) {
  EXPECT_EQ(parse_error(with(vit_json(), "interpolation", "cubic")),
            fmt::format("{}: config: unknown filter 'cubic'; choose one of bicubic, nearest, "
                        "box, bilinear, hamming, lanczos",
                        kWhere));
  EXPECT_EQ(parse_error(with(vit_json(), "resize_mode", "center")),
            fmt::format("{}: config: unknown resize_mode 'center'; choose one of shorter, squash",
                        kWhere));
  EXPECT_EQ(
      parse_error(with(vit_json(), "crop_rounding", "up")),
      fmt::format("{}: config: unknown crop_rounding 'up'; choose one of torchvision, transformers",
                  kWhere));
  EXPECT_EQ(parse_error(with(vit_json(), "crop_rounding", 1)),
            fmt::format("{}: config: 'crop_rounding' must be a string", kWhere));
}

TEST(ConfigErrors, TextThatIsNoObjectIsRefused) {
  for (const char* text : {"[]", "null", "7", "\"vit\""}) {
    EXPECT_EQ(error_of([&] { parse_config(text, kWhere); }),
              fmt::format("{}: config: not a JSON object", kWhere));
  }
  for (const char* text : {"", " \n", "\xef\xbb\xbf"}) {
    EXPECT_EQ(error_of([&] { parse_config(text, kWhere); }),
              fmt::format("{}: config: the text is empty; a JSON object is needed", kWhere));
  }
  EXPECT_THAT(error_of([] { parse_config("\xff\xfe{\0", kWhere); }), HasSubstr("UTF-16"));
  EXPECT_THAT(error_of([&] { parse_config(std::string(1'000'000, '['), kWhere); }),
              StartsWith(kWhere));
}

TEST(ConfigErrors, SyntaxErrorsSayLineAndColumn) {
  struct Wrong {
    const char* text;
    const char* says;
  };
  for (const Wrong& wrong : std::initializer_list<Wrong>{
           {"{\"family\": \"vit\"\n \"depth\": 2}", "line 2, column 2: a comma is missing"},
           {"{\"depths\": [2 2]}", "line 1, column 15: a comma is missing"},
           {"{\n  \"depth\": 2,\n}", "line 3, column 1: a comma stands before this }"},
           {"{\r\n\"depth\" 2}", "line 2, column 9: a colon is missing"},
           {"{\"depth\": }", "line 1, column 11: a value is missing"},
           {"{\"depth\": 2", "line 1, column 12: the text ends too early; is a } or ] missing?"},
           {"{\"mean\": [1, 2", "line 1, column 15: the text ends too early"},
           {"{'depth': 2}", "line 1, column 2: texts and keys stand in double quotes"},
           {"{\n// sizes\n\"depth\": 2}", "line 2, column 1: JSON has no comments"},
           {"{\"depth\": 2} x", "line 1, column 14: something follows the closing }"},
           {"{\"depth\": NaN}", "line 1, column 11: this is no value of JSON"},
           {"{\"name\": \"a\nb\"}", "this text in quotes is not closed"},
           {"{\"name\": \"\xc3\xa4\xc3\xb6\", x}", "line 1, column 16: a key in double quotes"},
           {"\xef\xbb\xbf{x", "line 1, column 2: a key in double quotes"},
           {"{\"name\": \"\xff\"}", "line 1, column 11: this is not UTF-8"}}) {
    EXPECT_THAT(error_of([&] { parse_config(wrong.text, kWhere); }),
                StartsWith(fmt::format("{}: config: not valid JSON, ", kWhere)))
        << wrong.text;
    EXPECT_THAT(error_of([&] { parse_config(wrong.text, kWhere); }), HasSubstr(wrong.says))
        << wrong.text;
  }
  EXPECT_THAT(error_of([] { parse_config("{\"depth\": 1e999}", kWhere); }),
              HasSubstr("a number is too large"));
}

TEST(ConfigJson, MayBeginWithAByteOrderMark) {
  EXPECT_EQ(parse_config("\xef\xbb\xbf" + vit_json().dump(), kWhere).img_size, 32U);
}

TEST(ConfigJson, MayHoldComments) {
  EXPECT_EQ(parse(with(vit_json(), "_comment", "my own")).img_size, 32U);
}

TEST(ConfigErrors, AKeyThatIsThereTwiceIsRefused) {
  std::string text = vit_json().dump();
  text.insert(1, "\"depth\": 3, ");
  EXPECT_EQ(error_of([&] { parse_config(text, kWhere); }),
            fmt::format("{}: config: 'depth' is there twice", kWhere));
  EXPECT_THAT(parse_error(with(vit_json(), "depths", 2)), HasSubstr("depth or depths, not both"));
}

TEST(ConfigErrors, MissingKeysAreNamed) {
  for (const json& whole : {vit_json(), swin_json()}) {
    for (const auto& [key, value] : whole.items()) {
      json object = whole;
      object.erase(key);
      const bool is_swin = object.contains("family") && object["family"] == "swin";
      EXPECT_EQ(parse_error(object),
                fmt::format("{}: config: '{}' is missing (docs/datasets-and-configs.md)", kWhere,
                            key == "depths" && !is_swin ? "depth" : key));
    }
  }
}

TEST(ConfigErrors, AllMissingKeysAreInOneMessage) {
  EXPECT_EQ(parse_error(json::object()),
            fmt::format("{}: config: 'family', 'img_size', 'patch_size', 'embed_dim', 'depth', "
                        "'num_heads', 'num_classes', 'layer_norm_eps' are missing "
                        "(docs/datasets-and-configs.md)",
                        kWhere));
  EXPECT_THAT(parse_error({{"family", "swin"}, {"img_size", 32}}),
              HasSubstr("config: 'patch_size', 'embed_dim', 'depths', 'num_heads', 'num_classes', "
                        "'layer_norm_eps', 'window_size' are missing"));
}

TEST(ConfigErrors, UnknownKeysAreNamedWithTheNearestKnownOne) {
  const auto message = [](const char* key) { return parse_error(with(vit_json(), key, 1)); };
  EXPECT_EQ(message("crop_pc"), fmt::format("{}: config: unknown key 'crop_pc'; did you mean "
                                            "'crop_pct'? (docs/datasets-and-configs.md)",
                                            kWhere));
  EXPECT_THAT(message("means"), HasSubstr("'means'; did you mean 'mean'?"));
  EXPECT_THAT(message("stds"), HasSubstr("'stds'; did you mean 'std'?"));
  EXPECT_THAT(message("image_size"), HasSubstr("did you mean 'img_size'?"));
  EXPECT_THAT(message("embed_dims"), HasSubstr("did you mean 'embed_dim'?"));
  EXPECT_THAT(message("num_class"), HasSubstr("did you mean 'num_classes'?"));
  for (const char* key : {"input_size", "q", "", "x_y_z"}) {
    EXPECT_THAT(message(key),
                AllOf(HasSubstr(fmt::format("unknown key '{}'", key)), Not(HasSubstr("did you"))));
  }
}

TEST(ConfigErrors, AMisspeltKeyIsNotMissingAsWell) {
  json object = with(vit_json(), "embed_dims", 48);
  object.erase("embed_dim");
  object.erase("num_heads");
  EXPECT_THAT(parse_error(object),
              HasSubstr("config: unknown key 'embed_dims'; did you mean 'embed_dim'?; "
                        "'num_heads' is missing"));
}

TEST(ConfigErrors, ConfigurationsOfOtherLibrariesAreNamed) {
  EXPECT_THAT(parse_error({{"architecture", "vit_tiny_patch16_224"}, {"num_classes", 10}}),
              AllOf(HasSubstr("a configuration of timm"), HasSubstr("img_size")));
  EXPECT_THAT(parse_error({{"model_type", "vit"}, {"hidden_size", 192}}),
              HasSubstr("a configuration of Hugging Face transformers"));
}

TEST(ConfigErrors, MeanAndStdOfBytesAreRefusedWithTheValuesToWrite) {
  const auto message = [](const json& mean, const json& std) {
    return parse_error(with(with(vit_json(), "mean", mean), "std", std));
  };
  EXPECT_EQ(message({123.675, 116.28, 103.53}, {58.395, 57.12, 57.375}),
            fmt::format("{}: config: mean and std are of pixels from 0 to 255; write them for 0 to "
                        "1: \"mean\": [0.485, 0.456, 0.406], \"std\": [0.229, 0.224, 0.225]",
                        kWhere));
  EXPECT_THAT(message({127.5, 127.5, 127.5}, {127.5, 127.5, 127.5}),
              HasSubstr("\"mean\": [0.5, 0.5, 0.5], \"std\": [0.5, 0.5, 0.5]"));
  EXPECT_THAT(message({0, 0, 0}, {255, 255, 255}),
              HasSubstr("std is of pixels from 0 to 255; write it for 0 to 1: \"std\": [1, 1, 1]"));
  EXPECT_THAT(message({123.675, 116.28, 103.53}, {0.229, 0.224, 0.225}),
              AllOf(HasSubstr("mean is of pixels from 0 to 255 and std of 0 to 1;"),
                    HasSubstr("\"mean\": [0.485, 0.456, 0.406]")));
  EXPECT_THAT(message({0.485, 0.456, 0.406}, {58.395, 57.12, 57.375}),
              AllOf(HasSubstr("std is of pixels from 0 to 255 and mean of 0 to 1;"),
                    HasSubstr("\"std\": [0.229, 0.224, 0.225]")));
  EXPECT_THAT(parse_error(with(vit_json(), "mean", {123.675, 116.28, 103.53})),
              HasSubstr("std of 0 to 1, its default;"));
}

TEST(ConfigErrors, SizesAreWholeNumbersInBounds) {
  for (const char* key :
       {"img_size", "patch_size", "window_size", "embed_dim", "depths", "num_heads"}) {
    for (const json& value :
         {json(0), json(-1), json(4.0), json("4"), json(nullptr), json(true), json(1ULL << 40),
          json(json::object()), json(1e30), json({0, 0}), json({4, "4"})}) {
      EXPECT_THAT(
          parse_error(with(swin_json(), key, value)),
          StartsWith(fmt::format("{}: config: '{}' must be a whole number from 1 to", kWhere, key)))
          << value;
    }
  }
}

TEST(ConfigErrors, CountsMayBeZero) {
  EXPECT_EQ(parse(with(vit_json(), "num_classes", 0)).num_classes, 0U);
  EXPECT_THAT(parse_error(with(vit_json(), "num_classes", -1)),
              HasSubstr("'num_classes' must be a whole number from 0 to"));
  EXPECT_THAT(parse_error(with(vit_json(), "prefix_tokens", 1000)),
              HasSubstr("'prefix_tokens' must be a whole number from 0 to 64"));
}

TEST(ConfigErrors, PartsMustGoTogether) {
  EXPECT_THAT(parse_error(with(vit_json(), "prefix_tokens", 0)),
              HasSubstr("pooling 'class_token' reads 1 class tokens, but prefix_tokens is 0"));
  EXPECT_THAT(parse_error(with(swin_json(), "pooling", "map")), HasSubstr("a swin has no"));
  EXPECT_THAT(parse_error(with(vit_json(), "projection", 8)),
              HasSubstr("projection is of a model without classes"));
  EXPECT_THAT(parse_error(with(vit_json(), "pooling", "max")),
              HasSubstr("unknown pooling 'max'; choose one of class_token"));
  EXPECT_THAT(parse_error(with(vit_json(), "embed_norm", 1)),
              HasSubstr("'embed_norm' must be true or false"));
}

TEST(ConfigErrors, ListsHaveAtLeastOneEntryAndNotTooMany) {
  for (const char* key : {"depths", "num_heads"}) {
    for (const std::size_t count : {0U, 17U, 1000U}) {
      EXPECT_THAT(parse_error(with(swin_json(), key, std::vector<int>(count, 1))),
                  HasSubstr(fmt::format("'{}' needs 1 to 16 entries", key)));
    }
  }
}

TEST(ConfigErrors, TextsAreTexts) {
  for (const json& value : {json(1), json(nullptr), json(json::array())}) {
    EXPECT_THAT(parse_error(with(vit_json(), "family", value)),
                AllOf(StartsWith(kWhere), HasSubstr("'family' must be a string")));
    EXPECT_THAT(parse_error(with(vit_json(), "name", value)),
                AllOf(StartsWith(kWhere), HasSubstr("'name' must be a string")));
  }
  EXPECT_THAT(parse_error(with(vit_json(), "family", "resnet")),
              AllOf(StartsWith(kWhere), HasSubstr("'resnet'; choose vit or swin")));
}

TEST(ConfigErrors, NumbersAreInBounds) {
  for (const json& value : {json(0), json(-1e-6), json(2), json("1e-6"), json(nullptr)}) {
    EXPECT_THAT(parse_error(with(vit_json(), "layer_norm_eps", value)),
                AllOf(StartsWith(kWhere), HasSubstr("'layer_norm_eps'")));
  }
  for (const json& value : {json(0), json(0.01), json(1.5), json(-1), json("0.9"), json(1e300)}) {
    EXPECT_THAT(parse_error(with(vit_json(), "crop_pct", value)),
                AllOf(StartsWith(kWhere), HasSubstr("'crop_pct'")));
  }
}

TEST(ConfigErrors, BoundsAreTheShortestNumbers) {
  EXPECT_THAT(parse_error(with(vit_json(), "layer_norm_eps", 2.5)),
              HasSubstr("'layer_norm_eps' is 2.5, outside 1e-12 to 1"));
  EXPECT_THAT(parse_error(with(vit_json(), "layer_norm_eps", 1e300)), HasSubstr("is 1e+300,"));
  EXPECT_THAT(parse_error(with(vit_json(), "crop_pct", 0.01)),
              HasSubstr("'crop_pct' is 0.01, outside 0.1 to 1"));
}

TEST(ConfigErrors, MeanAndStdThatNoPixelsHaveAreRefused) {
  for (const json& value : {json({-0.3, 1.4, 1}), json({-0.3, 0.4, 0.5}), json({0.5, 0.5, 1.5}),
                            json({-100, 116, 103}), json({123, 116, 300})}) {
    EXPECT_THAT(parse_error(with(vit_json(), "mean", value)),
                HasSubstr("'mean' needs three numbers from 0 to 1"))
        << value;
  }
  EXPECT_THAT(parse_error(with(vit_json(), "std", {1, 1.5, 1})),
              HasSubstr("'std' needs three numbers from 1e-06 to 1"));
}

TEST(ConfigErrors, ChannelsHaveThreeNumbers) {
  for (const char* key : {"mean", "std"}) {
    for (const json& value : {json(0.5), json({0.5, 0.5}), json({1, 1, 1, 1}), json({1, 1, "1"}),
                              json({1, 1, nullptr}), json({1, 1, 1e9}), json({1, 1, 1e300})}) {
      EXPECT_THAT(
          parse_error(with(vit_json(), key, value)),
          AllOf(StartsWith(kWhere), HasSubstr(fmt::format("'{}' needs three numbers", key))))
          << value;
    }
  }
  for (const json& value : {json({1, 0, 1}), json({1, -1, 1})}) {
    EXPECT_THAT(parse_error(with(vit_json(), "std", value)), HasSubstr("'std' needs"));
  }
}

TEST(ConfigErrors, SizesMustGoTogether) {
  const auto fails = [](const json& object, const std::string& what) {
    EXPECT_THAT(parse_error(object), AllOf(StartsWith(kWhere), HasSubstr(what)));
  };
  fails(with(vit_json(), "patch_size", 5), "img_size 32 is no multiple of patch_size 5");
  fails(with(vit_json(), "patch_size", 64), "img_size 32 is no multiple of patch_size 64");
  fails(with(vit_json(), "num_heads", 5), "48 channels do not split into 5 heads");
  fails(with(swin_json(), "num_heads", {2, 5}), "48 channels do not split into 5 heads");
  fails(with(swin_json(), "num_heads", {2}), "2 stages but 1 entries of num_heads");
  fails(with(swin_json(), "depths", 2), "1 stages but 2 entries of num_heads");
  fails(with(with(vit_json(), "depth", {1, 1}), "num_heads", {1, 1}), "a ViT has one stage");
  fails(with(swin_json(), "window_size", 5), "windows of 5 do not tile");
  fails(with(with(swin_json(), "img_size", 60), "window_size", 15), "odd number of tokens");
}

TEST(ConfigErrors, ModelsTooLargeToBeMeantAreRefused) {
  const auto fails = [](const json& object, const std::string& what) {
    EXPECT_THAT(parse_error(object), AllOf(StartsWith(kWhere), HasSubstr(what)));
  };
  fails(with(with(vit_json(), "img_size", 1 << 14), "patch_size", 1), "patches, more than 65536");
  fails(with(swin_json(), "depths", {1000, 25}), "more than 1024 blocks");
  fails(with(with(swin_json(), "embed_dim", 1 << 16), "num_heads", {1, 1}),
        "more than 65536 channels");
  fails(with(swin_json(), "window_size", 17), "'window_size' must be a whole number from 1 to 16");
}

TEST(NamedModels, AreKnownByTimmsNames) {
  for (const char* name :
       {"deit_tiny", "deit_tiny_patch16_224", "deit_tiny_patch16_224.fb_in1k",
        "timm/deit_tiny_patch16_224.fb_in1k", "timm/deit_tiny_patch16_224",
        "hf_hub:timm/deit_tiny_patch16_224.fb_in1k", "hf-hub:timm/deit_tiny_patch16_224.fb_in1k",
        "hf-hub:timm/deit_tiny_patch16_224"}) {
    EXPECT_EQ(find_named_model(name).config.name, "deit_tiny") << name;
  }
  EXPECT_EQ(find_named_model("swin_tiny_patch4_window7_224").config.name, "swin_tiny");
  for (const char* name : {"deit_tiny_distilled_patch16_224", "deit_tiny_patch16",
                           "deit_tiny_patch16_224.other", "google/vit-base-patch16-224", ""}) {
    EXPECT_THROW(find_named_model(name), Error) << name;
  }
}

TEST(NamedModels, AreKnownInUpperCaseAndWithHyphens) {
  for (const char* name : {"deit-tiny", "DeiT_Tiny", "DEIT-TINY", "deit-tiny-patch16-224"}) {
    EXPECT_EQ(find_named_model(name).config.name, "deit_tiny") << name;
  }
}

TEST(NamedModels, TheNearestIsSuggested) {
  const auto message = [](const char* name) { return error_of([&] { find_named_model(name); }); };
  EXPECT_THAT(message("deit_tinny"), HasSubstr("did you mean deit_tiny?"));
  EXPECT_THAT(message("swint_small"), HasSubstr("did you mean swin_small?"));
  EXPECT_THAT(message("facebook/deit-tiny-patch16-224"), HasSubstr("did you mean deit_tiny?"));
  EXPECT_THAT(message("hf_hub:timm/vit_base_patch16_224.other"),
              HasSubstr("did you mean vit_base?"));
  EXPECT_THAT(message("resnet50"), Not(HasSubstr("did you mean")));
}

}  // namespace
}  // namespace bitlog2
