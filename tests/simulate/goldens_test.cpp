// The float engines and calibration against the published implementation.
//
// What can be compared how tightly. Quantization is discontinuous: a value that lies within
// float32 rounding of the boundary between two codes may get either, depending on the order
// in which a matrix product was summed, and every layer below sees another input. Above the
// first such flip the scales agree to float32 rounding (1e-6 seen; 1e-3 asserted on block 0's
// attention, which few enough values reach); below it a scale moves with the tensor it
// belongs to, and by whole steps where two quantile ranges have nearly the same error.
#include "goldens.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "bitlog2/calibrate.h"
#include "bitlog2/dataset.h"
#include "bitlog2/engine.h"
#include "reference.h"

namespace bitlog2 {
namespace {

using testing::relative_l2;

struct Nano {
  explicit Nano(const std::string& name)
      : goldens(Safetensors::open(testing::fixtures() / "nano" / (name + ".goldens.safetensors"))),
        parameters(testing::read_json(testing::fixtures() / "nano" / (name + ".goldens.json"))) {
    const auto weights = Safetensors::open(testing::fixtures() / "nano" / (name + ".safetensors"));
    model = load_model(weights, parse_config(weights.metadata().at("config"), name));
  }

  Safetensors goldens;
  nlohmann::json parameters;
  Model model;
};

class NanoGoldens : public ::testing::TestWithParam<const char*> {};

TEST_P(NanoGoldens, Fp32Logits) {
  const Nano nano(GetParam());
  for (const std::size_t threads : {1U, 3U}) {
    ThreadPool pool(threads);
    const auto logits = run_fp32(nano.model, nano.goldens.read_floats("eval_input"), pool);
    EXPECT_LE(relative_l2(logits, nano.goldens.read_floats("fp32.logits")), 1e-4);
  }
}

/// Quantizers that only images and weights reach: no code flips before them.
bool is_beyond_flips(const std::string& name) {
  return name.starts_with("patch_embed") ||
         (name.ends_with("weight_quantizer") && name.find("head") == std::string::npos);
}

/// Quantizers of the first block's attention: a handful of flips at most lie before them.
bool is_in_first_attention(const std::string& name) {
  return name.starts_with("blocks.0.attn") || name.starts_with("layers.0.blocks.0.attn");
}

TEST_P(NanoGoldens, EveryCase) {
  const Nano nano(GetParam());
  ThreadPool pool(2);
  const auto fp32 = nano.goldens.read_floats("fp32.logits");
  const auto images = nano.goldens.read_floats("eval_input");
  std::size_t untouched_by_flips = 0;
  for (const auto& [name, golden] : nano.parameters.at("cases").items()) {
    const Calibration calibration = calibrate(nano.model, testing::settings_of_case(name),
                                              nano.goldens.read_floats("calib_input"), pool);
    const auto initial = testing::delta_differences(calibration.after_initial_calibration,
                                                    golden.at("after_initial_calibration"));
    EXPECT_EQ(initial.size(), calibration.after_initial_calibration.uniform.size() +
                                  calibration.after_initial_calibration.attention_maps.size());
    for (const auto& [module, difference] : initial) {
      if (is_beyond_flips(module) || is_in_first_attention(module)) {
        EXPECT_LE(difference, 1e-3) << name << " " << module;
      } else {
        // A flip can at most make another of the three quantile ranges the best one.
        EXPECT_LE(difference, 0.5) << name << " " << module;
      }
    }
    const auto logits = run_simulated(with_quantized_weights(calibration.quantized),
                                      calibration.quantized.quantizers, images, pool);
    const auto expected = nano.goldens.read_floats(name + ".logits");
    const double distance = relative_l2(logits, expected);
    const double noise = relative_l2(expected, fp32);
    EXPECT_LE(distance, 0.75 * noise) << name;
    untouched_by_flips += distance <= 1e-4 ? 1 : 0;
  }
  // Many cases meet no flip at all and are then equal to float32 rounding. How many is chance,
  // and OpenBLAS's: of Swin's 10 it is 5 with its kernels for AVX-512, 4 with those for AVX2.
  EXPECT_GE(untouched_by_flips, nano.parameters.at("cases").size() / 3);
}

INSTANTIATE_TEST_SUITE_P(Models, NanoGoldens, ::testing::Values("vit_nano", "swin_nano"),
                         [](const auto& info) { return std::string(info.param); });

class DeitTinyGoldens : public ::testing::Test {
 protected:
  void SetUp() override {
    const auto reference = testing::reference_directory();
    if (!reference) {
      GTEST_SKIP() << "no reference data: set BITLOG2_REFERENCE_DIR";
    }
    const ModelConfig& config = find_named_model("deit_tiny").config;
    model_ = load_model(
        Safetensors::open(*reference / "data" / "deit_tiny_patch16_224.safetensors"), config);
    goldens_ = Safetensors::open(*reference / "goldens" / "deit_tiny.goldens.safetensors");
    dataset_ = open_dataset({.path = *reference / "data" / "imagenet-500"});
    goldens_json_ = *reference / "goldens" / "deit_tiny.goldens.json";
  }

  std::vector<float> images(const Dataset& dataset, std::size_t count) const {
    std::vector<RgbImage> crops;
    for (std::size_t i = 0; i < count; ++i) {
      crops.push_back(resize_and_crop(dataset.read(i), model_.config.preprocessing));
    }
    return normalised_batch(crops, model_.config.preprocessing);
  }

  ThreadPool pool_{2};
  Model model_;
  Safetensors goldens_;
  DatasetSplits dataset_;
  std::filesystem::path goldens_json_;
};

TEST_F(DeitTinyGoldens, Fp32Logits) {
  const auto logits = run_fp32(model_, images(dataset_.validation, 32), pool_);
  EXPECT_LE(relative_l2(logits, goldens_.read_floats("fp32.logits")), 1e-3);
}

TEST_F(DeitTinyGoldens, CalibrationOfTheFirstBlocks) {
  const std::string name = "BitLog2_Half_16.w4a4";
  const nlohmann::json golden = testing::read_json(goldens_json_).at("cases").at(name).at("final");
  const Calibration calibration =
      calibrate(model_, testing::settings_of_case(name), images(dataset_.calibration, 32), pool_);
  std::size_t compared = 0;
  for (const auto& [module, difference] :
       testing::delta_differences(calibration.quantized.quantizers, golden)) {
    if (module.starts_with("patch_embed") || module.starts_with("blocks.0.attn")) {
      EXPECT_LE(difference, 1e-3) << module;
      ++compared;
    }
  }
  EXPECT_EQ(compared, 10U);
}

}  // namespace
}  // namespace bitlog2
