// Models as timm, transformers, torchvision and the original repositories save them
// (tests/data/architectures): they load by their path alone, get the same pixels as in their
// library, and give the same outputs.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <filesystem>
#include <iterator>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "bitlog2/encoder.h"
#include "bitlog2/engine.h"
#include "bitlog2/load.h"
#include "bitlog2/safetensors.h"
#include "reference.h"
#include "saved_models.h"
#include "tensors.h"

namespace bitlog2 {
namespace {

namespace fs = std::filesystem;

/// A model with one input size.
struct Case {
  std::string name;
  std::size_t size;
};

void PrintTo(const Case& value, std::ostream* out) {
  *out << value.name << " at " << value.size;
}

Safetensors expected_of(const std::string& name) {
  return Safetensors::open(testing::kSavedModels / name / "expected.safetensors");
}

std::vector<Case> all_cases() {
  std::vector<Case> cases;
  for (const std::string& name : testing::saved_models()) {
    const Safetensors expected = expected_of(name);
    for (const auto& size : nlohmann::json::parse(expected.metadata().at("image_sizes"))) {
      cases.push_back({name, size.get<std::size_t>()});
    }
  }
  std::ranges::sort(cases, {}, [](const Case& value) { return std::pair(value.name, value.size); });
  return cases;
}

std::vector<RgbImage> pictures() {
  const Safetensors file = Safetensors::open(testing::kSavedModels / "pictures.safetensors");
  const TensorView& images = file.at("images");
  std::vector<RgbImage> result;
  const std::size_t bytes = images.bytes.size() / static_cast<std::size_t>(images.shape[0]);
  for (std::size_t i = 0; i < images.shape[0]; ++i) {
    const auto* first = reinterpret_cast<const std::uint8_t*>(images.bytes.data()) + i * bytes;
    result.push_back({static_cast<int>(images.shape[2]),
                      static_cast<int>(images.shape[1]),
                      {first, first + bytes}});
  }
  return result;
}

/// Our crops of the pictures with the library's pixels in them, so that outputs are of equal
/// inputs.
std::vector<RgbImage> crops_of(const Safetensors& expected, std::size_t size,
                               const Preprocessing& preprocessing) {
  const auto pixels = expected.at(std::to_string(size) + ".pixels").bytes;
  const auto* first = reinterpret_cast<const std::uint8_t*>(pixels.data());
  std::vector<RgbImage> crops;
  for (const RgbImage& picture : pictures()) {
    crops.push_back(resize_and_crop(picture, preprocessing));
    const std::size_t bytes = crops.back().pixels.size();
    std::copy_n(first + (crops.size() - 1) * bytes, bytes, crops.back().pixels.begin());
  }
  return crops;
}

void expect_close(const std::vector<float>& outputs, const std::vector<float>& wanted) {
  ASSERT_EQ(outputs.size(), wanted.size());
  double error = 0;
  double norm = 0;
  for (std::size_t i = 0; i < wanted.size(); ++i) {
    error += std::pow(static_cast<double>(outputs[i]) - wanted[i], 2);
    norm += std::pow(static_cast<double>(wanted[i]), 2);
  }
  EXPECT_LT(std::sqrt(error / norm), 5e-5);
}

class Architectures : public ::testing::TestWithParam<Case> {};

TEST_P(Architectures, GiveTheirLibrarysPixelsAndOutputs) {
  const auto& [name, size] = GetParam();
  const ModelSource source = {
      .model = testing::saved_model(name), .weights = {}, .config = {}, .image_size = size};
  LoadedModel loaded = load_model(source);
  const ModelConfig config = loaded.model.config;
  const Safetensors expected = expected_of(name);
  const std::string prefix = std::to_string(size) + ".";

  std::vector<std::uint8_t> pixels;
  for (const RgbImage& picture : pictures()) {
    const RgbImage crop = resize_and_crop(picture, config.preprocessing);
    pixels.insert(pixels.end(), crop.pixels.begin(), crop.pixels.end());
  }
  const auto wanted_pixels = expected.at(prefix + "pixels").bytes;
  EXPECT_TRUE(std::ranges::equal(std::as_bytes(std::span(pixels)), wanted_pixels));

  std::string output = "logits";
  if (config.num_classes == 0) {
    output = expected.find(prefix + "embedding_projection") != nullptr ? "embedding_projection"
             : expected.find(prefix + "logits") != nullptr             ? "logits"
                                                                       : "embedding_native";
  }
  const std::vector<float> wanted = expected.read_floats(prefix + output);
  const auto crops = crops_of(expected, size, config.preprocessing);
  expect_close(make_fp32_engine(std::move(loaded.model))->logits(crops), wanted);
}

/// The library's output that is the embedding of a pooling.
std::string output_for(const ModelConfig& config, EmbeddingPooling pooling,
                       const Safetensors& expected, const std::string& prefix) {
  using enum EmbeddingPooling;
  // Without a norm of its own, a token is nothing to pool; the model pools, then applies its norm.
  if (config.pooling == Pooling::mean_then_norm && pooling == mean) {
    return prefix + "embedding_native";
  }
  // timm's name for what the head reads, even if the head is CLIP's projection.
  if (config.projection > 0 && (pooling == native || pooling == projection)) {
    const std::string output = prefix + "embedding_projection";
    return expected.find(output) != nullptr ? output : prefix + "logits";
  }
  // A distilled DeiT has two tokens, some ViTs have a layer before the head: here it is the class
  // token without it.
  const bool loses_a_layer = config.pre_logits > 0 && !is_encoder(config);
  if ((config.pooling == Pooling::class_tokens || loses_a_layer) && pooling == native) {
    return prefix + "embedding_class";
  }
  return fmt::format("{}embedding_{}", prefix, name_of(pooling));
}

TEST_P(Architectures, GiveTheirLibrarysEmbeddings) {
  const auto& [name, size] = GetParam();
  const ModelSource source = {
      .model = testing::saved_model(name), .weights = {}, .config = {}, .image_size = size};
  const Model model = load_model(source).model;
  const Safetensors expected = expected_of(name);
  const auto crops = crops_of(expected, size, model.config.preprocessing);
  const std::string prefix = std::to_string(size) + ".";
  for (const EmbeddingPooling pooling : embedding_poolings(model.config)) {
    const std::string output = output_for(model.config, pooling, expected, prefix);
    SCOPED_TRACE(output);
    expect_close(make_fp32_engine(as_encoder(model, pooling))->logits(crops),
                 expected.read_floats(output));
  }
}

// ---- In other types ---------------------------------------------------------------------------

/// A value of magnitude below 2^16 without the bits that F16 does not hold.
std::uint16_t truncated_to_f16(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  const int exponent = static_cast<int>(bits >> 23U & 255U) - 127 + 15;
  const std::uint32_t sign = bits >> 16U & 0x8000U;
  const std::uint32_t mantissa = (bits & 0x7FFFFFU) | 0x800000U;
  const std::uint32_t rest =
      exponent > 0     ? static_cast<std::uint32_t>(exponent) << 10U | (mantissa >> 13U & 0x3FFU)
      : exponent > -11 ? mantissa >> static_cast<std::uint32_t>(14 - exponent)
                       : 0;
  return static_cast<std::uint16_t>(sign | rest);
}

std::uint16_t truncated_to_bf16(float value) {
  return static_cast<std::uint16_t>(std::bit_cast<std::uint32_t>(value) >> 16U);
}

class OtherTypes : public ::testing::TestWithParam<std::string> {
 protected:
  /// The model with its floats in 16 bits, in a safetensors file beside its configuration.
  std::string converted(DType type) const {
    const ModelSource source = {
        .model = testing::saved_model(GetParam()), .weights = {}, .config = {}, .image_size = 0};
    const fs::path weights = weights_of(source);
    const fs::path folder = folder_.path() / dtype_name(type);
    fs::create_directories(folder);
    for (const auto& entry : fs::directory_iterator(weights.parent_path())) {
      if (entry.path().filename().string().ends_with("config.json")) {
        fs::copy(entry.path(), folder);
      }
    }
    const TensorFile file = open_tensors(weights);
    std::vector<testing::OwnedTensor> tensors;
    for (const auto& [name, view] : file.tensors()) {
      if (view.dtype == DType::i64 || view.dtype == DType::other) {
        tensors.push_back({name, view.dtype, view.shape, {view.bytes.begin(), view.bytes.end()}});
        continue;
      }
      std::vector<std::uint16_t> values;
      std::ranges::transform(file.read_floats(name), std::back_inserter(values),
                             type == DType::f16 ? truncated_to_f16 : truncated_to_bf16);
      tensors.push_back(testing::make_tensor(name, type, view.shape, values));
    }
    testing::write_tensors(folder / "model.safetensors", tensors);
    return fs::exists(folder / "config.json") ? folder.string()
                                              : (folder / "model.safetensors").string();
  }

  testing::TemporaryFolder folder_;
};

TEST_P(OtherTypes, LoadByTheirPathAlone) {
  const auto load = [](const std::string& model) {
    return load_model({.model = model, .weights = {}, .config = {}, .image_size = 0}).model;
  };
  Model exact = load(testing::saved_model(GetParam()));
  std::map<std::string, std::vector<float>> values;
  for_each_parameter(
      exact, [&](const Parameter& parameter) { values.emplace(parameter.name, parameter.values); });
  for (const DType type : {DType::f16, DType::bf16}) {
    const double largest = type == DType::f16 ? 1e-3 : 8e-3;
    Model rounded = load(converted(type));
    EXPECT_EQ(config_to_json(rounded.config), config_to_json(exact.config));
    for_each_parameter(rounded, [&](const Parameter& parameter) {
      const std::vector<float>& wanted = values.at(parameter.name);
      ASSERT_EQ(parameter.values.size(), wanted.size());
      double error = 0;
      double norm = 0;
      for (std::size_t i = 0; i < wanted.size(); ++i) {
        error += std::pow(static_cast<double>(parameter.values[i]) - wanted[i], 2);
        norm += std::pow(static_cast<double>(wanted[i]), 2);
      }
      const double subnormal = 6e-8 * std::sqrt(static_cast<double>(wanted.size()));
      EXPECT_LE(std::sqrt(error), largest * std::sqrt(norm) + subnormal) << parameter.name;
    });
  }
}

INSTANTIATE_TEST_SUITE_P(Files, OtherTypes, ::testing::ValuesIn(testing::saved_models()),
                         [](const auto& info) { return info.param; });

INSTANTIATE_TEST_SUITE_P(Files, Architectures, ::testing::ValuesIn(all_cases()),
                         [](const auto& info) {
                           return info.param.name + "_" + std::to_string(info.param.size);
                         });

}  // namespace
}  // namespace bitlog2
