// The published architectures at their full size, with random weights: they build, run and
// calibrate. The goldens of the small models test whether the numbers are right.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>

#include "bitlog2/calibrate.h"
#include "bitlog2/engine.h"
#include "integer/tiny_networks.h"

namespace bitlog2 {
namespace {

std::vector<float> random_images(std::size_t count) {
  std::vector<float> images(count * 3 * 224 * 224);
  std::mt19937 generator(1);
  for (float& value : images) {
    value = static_cast<float>(generator() % 4096) / 1024.0F - 2.0F;
  }
  return images;
}

void expect_logits(const std::vector<float>& logits, std::size_t images) {
  ASSERT_EQ(logits.size(), images * 1000);
  for (const float value : logits) {
    ASSERT_TRUE(std::isfinite(value));
  }
  EXPECT_NE(logits[0], logits[1]);
}

class FullSize : public ::testing::TestWithParam<const char*> {
 protected:
  ThreadPool pool_{2};
};

using FullSizeFp32 = FullSize;

TEST_P(FullSizeFp32, Runs) {
  const Model model = make_random_model(find_named_model(GetParam()).config, 1);
  expect_logits(run_fp32(model, random_images(1), pool_), 1);
}

/// The number of rows in a product must not change how a row is rounded.
TEST(FullSizeBatch, DoesNotChangeALogit) {
  ThreadPool pool(2);
  const Model model = make_random_model(find_named_model("deit_tiny").config, 1);
  const std::vector<float> images = random_images(3);
  const std::vector<float> together = run_fp32(model, images, pool);
  const std::size_t size = images.size() / 3;
  for (std::size_t i = 0; i < 3; ++i) {
    const std::vector<float> alone =
        run_fp32(model, std::span(images).subspan(i * size, size), pool);
    EXPECT_TRUE(std::equal(alone.begin(), alone.end(),
                           together.begin() + static_cast<std::ptrdiff_t>(i * alone.size())));
  }
}

/// An observer gets every token of the last block; without an observer, the logits are the same.
TEST(FullSizeBatch, ObserversSeeTokensThatNobodyElseNeeds) {
  ThreadPool pool(2);
  const Model model = make_random_model(find_named_model("deit_tiny").config, 1);
  const std::vector<float> images = random_images(1);
  std::size_t values = 0;
  const std::vector<float> observed =
      run_fp32(model, images, pool, [&](const std::string& layer, std::span<const float> output) {
        if (layer == "blocks.11.mlp.fc1") {
          values = output.size();
        }
      });
  EXPECT_EQ(values, 197U * 768U);
  const std::vector<float> logits = run_fp32(model, images, pool);
  double error = 0;
  double size = 0;
  for (std::size_t i = 0; i < logits.size(); ++i) {
    error += std::pow(logits[i] - observed[i], 2);
    size += std::pow(observed[i], 2);
  }
  EXPECT_LT(std::sqrt(error / size), 1e-6);
}

INSTANTIATE_TEST_SUITE_P(Models, FullSizeFp32,
                         ::testing::Values("vit_small", "deit_base", "swin_small"),
                         [](const auto& tested) { return std::string(tested.param); });

using FullSizeQuantized = FullSize;

TEST_P(FullSizeQuantized, CalibratesAndRuns) {
  Model model = make_random_model(find_named_model(GetParam()).config, 1);
  std::size_t layers = 0;
  for_each_linear(model, [&](Linear&) { ++layers; });
  const QuantizationSettings settings = {4, 4, find_attention_scheme("BitLog2_Half_17")};
  const std::vector<RgbImage> crops = testing::random_crops(model.config.img_size, 2, 1);
  const auto images = normalised_batch(crops, model.config.preprocessing);
  std::size_t reported = 0;
  const Calibration calibration =
      calibrate(std::move(model), settings, crops, pool_,
                {.progress = [&](std::size_t done, std::size_t) { reported = done; }});
  EXPECT_EQ(reported, layers);
  expect_logits(run_simulated(with_quantized_weights(calibration.quantized),
                              calibration.quantized.quantizers, images, pool_),
                2);
}

INSTANTIATE_TEST_SUITE_P(Models, FullSizeQuantized, ::testing::Values("deit_tiny", "swin_tiny"),
                         [](const auto& tested) { return std::string(tested.param); });

}  // namespace
}  // namespace bitlog2
