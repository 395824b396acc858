// Calibration on more images than a chunk holds, in memory or in a file.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <string>
#include <vector>

#include "bitlog2/calibrate.h"
#include "bitlog2/error.h"
#include "bitlog2/integer.h"
#include "calibrate/least_squares.h"
#include "calibrate/sequence.h"
#include "integer/tiny_networks.h"

namespace bitlog2::calibration {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

simulate::Tensor numbered(std::size_t images, float first) {
  simulate::Tensor x(images, 2, 3);
  for (float& value : x.values()) {
    value = first++;
  }
  return x;
}

TEST(Storage, KeepsTheSameInMemoryAndInAFile) {
  for (const std::size_t limit : {std::size_t{0}, std::size_t{30}, Storage::kNoLimit}) {
    Storage storage(limit);
    std::vector<Storage::Kept> kept;
    kept.reserve(4);
    for (int i = 0; i < 3; ++i) {
      kept.emplace_back(storage, numbered(1, 100.0F * static_cast<float>(i)));
    }
    kept[1].replace(numbered(1, 7.0F));
    kept.pop_back();
    kept.emplace_back(storage, numbered(1, 500.0F));  // takes the free place
    EXPECT_EQ(kept[0].load().values()[0], 0.0F) << limit;
    EXPECT_EQ(kept[1].load().values()[5], 12.0F) << limit;
    EXPECT_EQ(kept[2].load().values()[5], 505.0F) << limit;
  }
}

TEST(Sequence, IsComputedAnewUntilItIsKept) {
  Storage storage(Storage::kNoLimit);
  int computed = 0;
  Sequence sequence(kImagesPerChunk + 1, 2, 3, [&](std::size_t chunk) {
    ++computed;
    return numbered(chunk == 0 ? kImagesPerChunk : 1, 0.0F);
  });
  EXPECT_EQ(sequence.chunks(), 2U);
  EXPECT_EQ(sequence.chunk(1).batch(), 1U);
  EXPECT_EQ(sequence.chunk(1).batch(), 1U);
  EXPECT_EQ(computed, 2);
  sequence.keep(storage);
  EXPECT_EQ(computed, 4);
  EXPECT_EQ(sequence.chunk(0).batch(), kImagesPerChunk);
  EXPECT_EQ(computed, 4);
}

TEST(MomentSums, DoNotDependOnTheParts) {
  std::mt19937 random(1);
  std::normal_distribution<float> normal(2.0F, 1.0F);
  std::vector<float> x(150 * 12);
  std::vector<float> y(150 * 5);
  std::ranges::generate(x, [&] { return normal(random); });
  std::ranges::generate(y, [&] { return normal(random); });
  const std::vector<float> weights = {4.0F, 1.0F, 1.0F};
  ThreadPool pool(2);
  const Moments whole = find_moments(x, y, 150, weights, pool);
  MomentSums sums(12, 5, weights);
  sums.add(std::span(x).first(30 * 12), std::span(y).first(30 * 5), pool);
  sums.add(std::span(x).subspan(30 * 12), std::span(y).subspan(30 * 5), pool);
  const Moments parts = sums.moments();
  EXPECT_LT((parts.gram - whole.gram).cwiseAbs().maxCoeff(), 1e-5);
  EXPECT_LT((parts.cross - whole.cross).cwiseAbs().maxCoeff(), 1e-5);
  EXPECT_LT((parts.input_mean - whole.input_mean).cwiseAbs().maxCoeff(), 1e-6);
  EXPECT_LT((parts.target_mean - whole.target_mean).cwiseAbs().maxCoeff(), 1e-6);
}

TEST(MomentSums, GoThroughALayer) {
  std::mt19937 random(2);
  std::normal_distribution<float> normal(1.0F, 1.0F);
  std::vector<float> x(90 * 7);
  std::ranges::generate(x, [&] { return normal(random); });
  Linear layer;
  layer.in_features = 7;
  layer.out_features = 4;
  layer.weight.resize(28);
  layer.bias = {1.0F, 2.0F, 3.0F, 4.0F};
  std::ranges::generate(layer.weight, [&] { return normal(random); });
  std::vector<float> y(90 * 4);
  const Matrix product = to_matrix(x, 90) * to_matrix(layer.weight, 4).transpose();
  copy_to((product.rowwise() + to_vector(layer.bias).transpose()).eval(), y);
  ThreadPool pool(2);
  const float one = 1.0F;
  const Moments direct = find_moments(x, y, 90, std::span(&one, 1), pool);
  const Moments found = through(layer, find_moments(x, x, 90, std::span(&one, 1), pool), pool);
  EXPECT_LT((found.cross - direct.cross).cwiseAbs().maxCoeff(), 1e-4);
  EXPECT_LT((found.target_mean - direct.target_mean).cwiseAbs().maxCoeff(), 1e-4);
}

class Chunks : public ::testing::TestWithParam<const char*> {};

TEST_P(Chunks, ALimitOfMemoryChangesNothing) {
  const Model model = testing::nano_model(GetParam());
  const auto crops = testing::random_crops(model.config.img_size, 2 * kImagesPerChunk + 3, 5);
  for (const char* recipe : {"repq", "best"}) {
    const QuantizationSettings settings = {4, 4, find_attention_scheme("BitLog2_Half_16"),
                                           find_recipe(recipe)};
    const auto file = [&](std::size_t memory, std::size_t threads) {
      ThreadPool pool(threads);
      return lower(calibrate(model, settings, crops, pool, {.memory_bytes = memory}).quantized, {});
    };
    const auto in_memory = file(Storage::kNoLimit, 2);
    EXPECT_EQ(file(0, 1), in_memory) << recipe;
    EXPECT_EQ(file(100'000, 3), in_memory) << recipe;
  }
}

/// The Error's text of a calibration that fails; "nothing" if it does not.
std::string complaint(const Model& model, const std::string& recipe,
                      const std::vector<RgbImage>& crops) {
  std::vector<std::string> names;
  for (std::size_t i = 0; i < crops.size(); ++i) {
    names.push_back("photograph-" + std::to_string(i) + ".jpeg");
  }
  ThreadPool pool(1);
  try {
    calibrate(model, {4, 4, find_attention_scheme("BitLog2_Half_16"), find_recipe(recipe)}, crops,
              pool, {.image_names = names});
  } catch (const Error& error) {
    return error.what();
  }
  return "nothing";
}

TEST_P(Chunks, WhatIsNoNumberIsNamedByLayerAndImage) {
  Model model = testing::nano_model(GetParam());
  auto crops = testing::random_crops(model.config.img_size, kImagesPerChunk + 2, 5);
  Block& block = model.stages[0].blocks[1];
  for (auto* values : {&block.norm2.gamma, &block.fc1.weight, &block.fc2.weight}) {
    std::ranges::for_each(*values, [](float& value) { value *= 1e16F; });
  }
  EXPECT_THAT(complaint(model, "repq", crops),
              AllOf(HasSubstr(block.fc2.name), HasSubstr("photograph-0.jpeg")));
  // This recipe weights squared errors by squared weights, which may already be infinite.
  EXPECT_THAT(complaint(model, "best", crops),
              AllOf(HasSubstr("blocks.1.mlp.fc"), HasSubstr("may be damaged")));

  model = testing::nano_model(GetParam());
  model.patch_embed.bias[0] = 3e38F;
  for (float& weight : model.patch_embed.weight) {
    weight *= 1e38F;
  }
  for (const char* recipe : {"repq", "best"}) {
    EXPECT_THAT(complaint(model, recipe, crops), HasSubstr("patch_embed")) << recipe;
  }

  // One bright image among grey ones, whose pixels are nearly 0 when they are normalised.
  model = testing::nano_model(GetParam());
  for (float& weight : model.patch_embed.weight) {
    weight = 3e37F;
  }
  for (RgbImage& crop : crops) {
    for (std::size_t i = 0; i < crop.pixels.size(); ++i) {
      crop.pixels[i] = static_cast<std::uint8_t>(255 * model.config.preprocessing.mean[i % 3]);
    }
  }
  std::ranges::fill(crops.back().pixels, std::uint8_t{255});
  const std::string last = fmt::format("photograph-{}.jpeg", crops.size() - 1);
  EXPECT_THAT(complaint(model, "repq", crops), AllOf(HasSubstr("patch_embed"), HasSubstr(last)));
}

INSTANTIATE_TEST_SUITE_P(Families, Chunks, ::testing::Values("vit_nano", "swin_nano"),
                         [](const auto& info) { return std::string(info.param); });

}  // namespace
}  // namespace bitlog2::calibration
