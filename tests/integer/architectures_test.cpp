// Every architecture in integers: it is as close to the simulated engine as quantization noise
// allows, and gives the same bits with every instruction set and any number of threads.
#include <gtest/gtest.h>

#include <cmath>
#include <set>
#include <span>
#include <string>
#include <tuple>
#include <vector>

#include "bitlog2/load.h"
#include "goldens.h"
#include "saved_models.h"
#include "tiny_networks.h"

namespace bitlog2 {
namespace {

using testing::random_crops;
using testing::relative_l2;

std::vector<std::string> names() {
  std::vector<std::string> result;
  for (const testing::Architecture& each : testing::architectures()) {
    result.push_back(each.name);
  }
  return result;
}

using Case = std::tuple<std::string, std::string, int>;  // architecture, recipe, bits

class ArchitecturesInIntegers : public ::testing::TestWithParam<Case> {
 protected:
  int bits() const { return std::get<2>(GetParam()); }

  Model model_ = testing::random_model(testing::architecture(std::get<0>(GetParam())));
  QuantizedModel quantized_ =
      testing::quantize(model_, {bits(), bits(), find_attention_scheme("BitLog2_Half_16"),
                                 find_recipe(std::get<1>(GetParam()))});
  std::vector<std::byte> file_ = lower(quantized_, {});
};

TEST_P(ArchitecturesInIntegers, AreAsCloseAsTheSimulatedEngine) {
  const auto crops = random_crops(model_.config.img_size, 32, 5);
  const auto fp32 = make_fp32_engine(model_)->logits(crops);
  const auto simulated = make_simulated_engine(quantized_)->logits(crops);
  const auto engine = IntegerEngine::from_bytes(file_, "tiny");
  const auto integer = engine->logits(crops);
  ASSERT_EQ(integer.size(), crops.size() * output_size(model_.config));
  const double simulated_noise = relative_l2(simulated, fp32);
  const double integer_noise = relative_l2(integer, fp32);
  const double distance = relative_l2(integer, simulated);
  RecordProperty("simulated_to_fp32", std::to_string(simulated_noise));
  RecordProperty("integer_to_fp32", std::to_string(integer_noise));
  RecordProperty("integer_to_simulated", std::to_string(distance));
  EXPECT_LE(integer_noise, 1.25 * simulated_noise + 0.005);
  EXPECT_LE(distance, (bits() == 8 ? 0.6 : 1.0) * simulated_noise);
  EXPECT_EQ(engine->saturations(), 0U);
}

TEST_P(ArchitecturesInIntegers, GiveTheSameBitsWithEveryInstructionSetAndThreadGroup) {
  const auto crops = random_crops(model_.config.img_size, 2, 6);
  const auto portable = IntegerEngine::from_bytes(file_, "tiny", "portable");
  for (const std::string& isa : available_isas()) {
    const auto engine = IntegerEngine::from_bytes(file_, "tiny", isa);
    for (const std::size_t threads : {1U, 2U, 3U, 5U}) {
      ThreadPool pool(threads);
      for (const RgbImage& crop : crops) {
        EXPECT_EQ(engine->integer_logits(crop, pool), portable->integer_logits(crop))
            << isa << ", " << threads << " threads";
      }
    }
  }
}

TEST_P(ArchitecturesInIntegers, ShowLayersThatTheSimulatedEngineHas) {
  const RgbImage crop = random_crops(model_.config.img_size, 1, 6)[0];
  std::set<std::string> simulated;
  ThreadPool serial(1);
  run_simulated(with_quantized_weights(quantized_), quantized_.quantizers,
                normalised_batch(std::span(&crop, 1), quantized_.model.config.preprocessing),
                serial,
                [&](const std::string& layer, std::span<const float>) { simulated.insert(layer); });
  const auto engine = IntegerEngine::from_bytes(file_, "tiny");
  std::set<std::string> integer;
  engine->observe(crop, [&](const std::string& layer, std::span<const float>) {
    EXPECT_TRUE(simulated.contains(layer)) << layer;
    integer.insert(layer);
  });
  EXPECT_TRUE(integer.contains("head"));
  EXPECT_GE(integer.size(), 2 + 2 * model_.stages[0].blocks.size());
  EXPECT_FALSE(engine->profile(crop).empty());
}

INSTANTIATE_TEST_SUITE_P(Tiny, ArchitecturesInIntegers,
                         ::testing::Combine(::testing::ValuesIn(names()),
                                            ::testing::Values("repq", "best"),
                                            ::testing::Values(4, 8)),
                         [](const auto& test) {
                           return std::get<0>(test.param) + "_" + std::get<1>(test.param) + "_w" +
                                  std::to_string(std::get<2>(test.param));
                         });

TEST(SwiGlu, MayHaveCodesThatAreNotEvenlySpaced) {
  const Model model = testing::random_model(testing::architecture("swiglu"));
  Recipe recipe = find_recipe("best");
  recipe.gelu_quant_scheme = Recipe::GeluScheme::shift;
  const QuantizedModel quantized =
      testing::quantize(model, {8, 4, find_attention_scheme("BitLog2_Half_16"), recipe});
  const auto crops = random_crops(model.config.img_size, 32, 5);
  const auto simulated = make_simulated_engine(quantized)->logits(crops);
  const auto integer = IntegerEngine::from_bytes(lower(quantized, {}), "tiny")->logits(crops);
  EXPECT_LE(relative_l2(integer, simulated),
            relative_l2(simulated, make_fp32_engine(model)->logits(crops)));
}

// --- models as libraries save them -------------------------------------------------------------

class SavedModels : public ::testing::TestWithParam<std::string> {};

TEST_P(SavedModels, RunInIntegers) {
  ModelSource source;
  source.model = testing::saved_model(GetParam());
  const Model model = load_model(source).model;
  const auto crops = random_crops(model.config.img_size, 16, 5);
  const auto fp32 = make_fp32_engine(model)->logits(crops);
  for (const char* recipe : {"repq", "best"}) {
    const QuantizedModel quantized = testing::quantize(
        model, {8, 8, find_attention_scheme("BitLog2_Half_16"), find_recipe(recipe)});
    const auto simulated = make_simulated_engine(quantized)->logits(crops);
    const auto engine = IntegerEngine::from_bytes(lower(quantized, {}), GetParam());
    EXPECT_LE(relative_l2(engine->logits(crops), simulated),
              0.6 * relative_l2(simulated, fp32) + 0.01)  // room for flipped codes
        << recipe;
    EXPECT_EQ(engine->saturations(), 0U) << recipe;
  }
}

INSTANTIATE_TEST_SUITE_P(Files, SavedModels, ::testing::ValuesIn(testing::saved_models()),
                         [](const auto& test) { return test.param; });

// --- sizes -----------------------------------------------------------------------------------

/// A model with as many patches as one with patches of 14 pixels has at 518 pixels.
ModelConfig many_patches(const char* name) {
  ModelConfig config = testing::tiny_architecture(name);
  config.patch_size = 2;
  config.img_size = 37 * config.patch_size;
  config.preprocessing.crop = static_cast<int>(config.img_size);
  config.preprocessing.resize = config.preprocessing.crop;
  return config;
}

class ManyPatches : public ::testing::TestWithParam<std::tuple<const char*, const char*>> {};

TEST_P(ManyPatches, RunInLittleMemory) {
  const auto [name, scheme] = GetParam();
  const Model model = testing::random_model(many_patches(name));
  const auto crops = random_crops(model.config.img_size, 1, 5);
  ThreadPool pool(1);
  const QuantizedModel quantized =
      calibrate(model, {8, 8, find_attention_scheme(scheme)}, crops, pool).quantized;
  const auto engine = IntegerEngine::from_bytes(lower(quantized, {}), "many patches");
  const auto simulated = make_simulated_engine(quantized)->logits(crops);
  EXPECT_LT(relative_l2(engine->logits(crops), simulated), 0.1);
  EXPECT_EQ(engine->saturations(), 0U);
  // An array with a bias for every pair of tokens would need more than this.
  EXPECT_LT(engine->arena_bytes(), std::size_t{1} << 21);
}

/// A block more does not need more memory, so one is sufficient.
TEST(DeitTiny, RunsInTheMemoryOfAMicrocontroller) {
  ModelConfig config = find_named_model("deit_tiny").config;
  config.depths = {1};
  const Model model = make_random_model(config, 3);
  const auto crops = random_crops(config.img_size, 1, 5);
  ThreadPool pool(1);
  const QuantizedModel quantized =
      calibrate(model, {4, 4, find_attention_scheme("BitLog2_Half_16")}, crops, pool).quantized;
  const auto engine = IntegerEngine::from_bytes(lower(quantized, {}), "deit_tiny");
  EXPECT_LT(engine->arena_bytes(), 450'000U);
}

INSTANTIATE_TEST_SUITE_P(Tiny, ManyPatches,
                         ::testing::Combine(::testing::Values("registers", "beit", "siglip"),
                                            ::testing::Values("BitLog2_Half_16", "Sqrt2_17")),
                         [](const auto& test) {
                           return std::string(std::get<0>(test.param)) + "_" +
                                  std::get<1>(test.param);
                         });

}  // namespace
}  // namespace bitlog2
