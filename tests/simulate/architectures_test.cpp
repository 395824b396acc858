// Models as timm, transformers, torchvision and the original repositories save them
// (tests/data/architectures): they load by their path alone, get the same pixels as in their
// library, and give the same outputs.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "bitlog2/engine.h"
#include "bitlog2/load.h"
#include "bitlog2/safetensors.h"
#include "saved_models.h"

namespace bitlog2 {
namespace {

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

class Architectures : public ::testing::TestWithParam<Case> {};

TEST_P(Architectures, GiveTheirLibrarysPixelsAndOutputs) {
  const auto& [name, size] = GetParam();
  const ModelSource source = {
      .model = testing::saved_model(name), .weights = {}, .config = {}, .image_size = size};
  LoadedModel loaded = load_model(source);
  const ModelConfig config = loaded.model.config;
  const Safetensors expected = expected_of(name);
  const std::string prefix = std::to_string(size) + ".";

  std::vector<RgbImage> crops;
  std::vector<std::uint8_t> pixels;
  for (const RgbImage& picture : pictures()) {
    crops.push_back(resize_and_crop(picture, config.preprocessing));
    pixels.insert(pixels.end(), crops.back().pixels.begin(), crops.back().pixels.end());
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
  // The library's outputs are for its own pixels, so the outputs are computed from those.
  for (std::size_t i = 0; i < crops.size(); ++i) {
    const auto* first = reinterpret_cast<const std::uint8_t*>(wanted_pixels.data());
    const std::size_t bytes = crops[i].pixels.size();
    std::copy_n(first + i * bytes, bytes, crops[i].pixels.begin());
  }
  const std::vector<float> outputs = make_fp32_engine(std::move(loaded.model))->logits(crops);
  ASSERT_EQ(outputs.size(), wanted.size());
  double error = 0;
  double norm = 0;
  for (std::size_t i = 0; i < wanted.size(); ++i) {
    error += std::pow(static_cast<double>(outputs[i]) - wanted[i], 2);
    norm += std::pow(static_cast<double>(wanted[i]), 2);
  }
  EXPECT_LT(std::sqrt(error / norm), 5e-5);
}

INSTANTIATE_TEST_SUITE_P(Files, Architectures, ::testing::ValuesIn(all_cases()),
                         [](const auto& info) {
                           return info.param.name + "_" + std::to_string(info.param.size);
                         });

}  // namespace
}  // namespace bitlog2
