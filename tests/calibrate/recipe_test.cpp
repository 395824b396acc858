// Recipes: their names, and calibration by them on the tiny and nano models.
#include "bitlog2/recipe.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <set>

#include "bitlog2/error.h"
#include "calibrate/transforms/head_equalization.h"
#include "calibrate/transforms/pixel_folding.h"
#include "calibrate/transforms/residual_rotation.h"
#include "integer/tiny_networks.h"
#include "quant/attention/bitlog2.h"

namespace bitlog2 {
namespace {

QuantizationSettings settings_of(const Recipe& recipe, int bits = 4) {
  return {bits, bits, find_attention_scheme("BitLog2_Half_16"), recipe};
}

/// The signal-to-noise ratio of logits to those in float32, in decibels, over random images.
double signal_to_noise(const Model& model, const Engine& engine) {
  const auto crops = testing::random_crops(model.config.img_size, 32, 99);
  const std::vector<float> exact = make_fp32_engine(model)->logits(crops);
  const std::vector<float> found = engine.logits(crops);
  double signal = 0;
  double noise = 0;
  for (std::size_t i = 0; i < exact.size(); ++i) {
    signal += exact[i] * exact[i];
    noise += (exact[i] - found[i]) * (exact[i] - found[i]);
  }
  return 10 * std::log10(signal / noise);
}

RC_GTEST_PROP(RecipeText, JsonHoldsEveryPart, ()) {
  Recipe recipe;
  recipe.gelu_quant_scheme = static_cast<Recipe::GeluScheme>(*rc::gen::inRange(0, 3));
  for (const RecipePart& part : kRecipeParts) {
    recipe.*part.member = *rc::gen::arbitrary<bool>();
  }
  recipe.reconstruction_steps = *rc::gen::inRange<std::uint32_t>(0, kMaxReconstructionSteps + 1);
  RC_ASSERT(parse_recipe(recipe_to_json(recipe), "test") == recipe);
}

TEST(RecipeText, WrongOnesAreRefused) {
  EXPECT_THROW(find_recipe("better"), Error);
  for (const char* text : {"", "[]", R"({"weight-rounding": 1})", R"({"weight-rounding": "up"})",
                           R"({"nothing": "on"})", R"({"gelu-quant-scheme": "Half"})",
                           R"({"reconstruct": 3})", R"({"reconstruct": "3 steps"})",
                           R"({"reconstruct": "-1"})", R"({"reconstruct": "1000001"})"}) {
    EXPECT_THROW(parse_recipe(text, "test"), Error) << text;
  }
  EXPECT_TRUE(find_recipe("repq").is_repq());
  EXPECT_FALSE(find_recipe("best").is_repq());
  Recipe reconstructed = find_recipe("repq");
  reconstructed.reconstruction_steps = 3;
  EXPECT_TRUE(reconstructed.is_repq()) << "what is reconstructed is the published system's";
}

TEST(RecipeText, ReconstructIsBestAndItsSteps) {
  Recipe recipe = find_recipe("reconstruct");
  EXPECT_GT(recipe.reconstruction_steps, 0U);
  EXPECT_NE(recipe_to_json(recipe).find("reconstruct"), std::string::npos);
  set_recipe_part(recipe, "reconstruct", "0");
  EXPECT_EQ(recipe, find_recipe("best"));
  EXPECT_EQ(recipe_to_json(recipe).find("reconstruct"), std::string::npos)
      << "files of other recipes stay what they were";
}

TEST(RecipeText, FirstNamesAreUnderstoodAndWritten) {
  Recipe recipe;
  set_recipe_part(recipe, "residual-basis", "spread");
  set_recipe_part(recipe, "head-basis", "balanced");
  set_recipe_part(recipe, "activation-codes", "code_book");
  set_recipe_part(recipe, "gelu-quant-scheme", "CodeBook");
  Recipe now;
  set_recipe_part(now, "residual-rotation", "hadamard");
  set_recipe_part(now, "head-equalization", "balanced");
  set_recipe_part(now, "activation-codes", "codebook");
  set_recipe_part(now, "gelu-quant-scheme", "Codebook");
  EXPECT_EQ(recipe, now);
  const std::string text = recipe_to_json(now);
  for (const char* pair :
       {R"("residual-basis":"spread")", R"("head-basis":"balanced")",
        R"("activation-codes":"code_book")", R"("gelu-quant-scheme":"CodeBook")"}) {
    EXPECT_NE(text.find(pair), std::string::npos) << pair;
  }
}

TEST(BitLog2ByBits, LevelsFitTheirWidth) {
  for (int bits = kMinBits; bits <= kMaxBits; ++bits) {
    const auto settings = settings_of(find_recipe("best"), bits);
    const auto rule = dynamic_cast<const quant::BitLog2&>(*settings.scheme.method)
                          .levels(bits, settings.attention_options());
    std::set<std::uint32_t> levels;
    for (std::uint32_t m = 0; m < static_cast<std::uint32_t>(rule.multiplier); ++m) {
      levels.insert(rule.round(m));
    }
    EXPECT_LE(levels.size(), std::size_t{1} << std::max(bits, 4)) << bits;
  }
}

class Families : public ::testing::TestWithParam<const char*> {};

TEST_P(Families, EqualizingHeadsKeepsTheFunction) {
  const Model model = testing::nano_model(GetParam());
  const auto images = normalised_batch(testing::random_crops(model.config.img_size, 4, 5),
                                       model.config.preprocessing);
  ThreadPool pool(1);
  const std::vector<float> before = run_fp32(model, images, pool);
  Model moved = model;
  for (Stage& stage : moved.stages) {
    for (Block& block : stage.blocks) {
      // The moments may be of any values: a change of basis keeps the function in any case.
      std::vector<float> qkv(64 * block.attn.qkv.out_features);
      std::vector<float> context(64 * block.attn.proj.in_features);
      std::mt19937 random(7);
      std::normal_distribution<float> normal(0.5F, 1.0F);
      std::generate(qkv.begin(), qkv.end(), [&] { return normal(random); });
      std::generate(context.begin(), context.end(), [&] { return normal(random); });
      calibration::HeadMoments moments(block.attn);
      moments.add(qkv, context, pool);
      calibration::equalize_heads(block.attn, moments);
    }
  }
  const std::vector<float> after = run_fp32(moved, images, pool);
  for (std::size_t i = 0; i < before.size(); ++i) {
    EXPECT_NEAR(after[i], before[i], 2e-3F * std::fabs(before[i]) + 2e-3F);
  }
}

TEST_P(Families, RotatingTheResidualStreamKeepsTheFunction) {
  const Model model = testing::nano_model(GetParam());
  const auto images = normalised_batch(testing::random_crops(model.config.img_size, 4, 5),
                                       model.config.preprocessing);
  ThreadPool pool(1);
  const std::vector<float> before = run_fp32(model, images, pool);
  Model moved = model;
  calibration::rotate_residual_stream(moved, pool);
  EXPECT_NE(moved.head.weight, model.head.weight);
  const std::vector<float> after = run_fp32(moved, images, pool);
  for (std::size_t i = 0; i < before.size(); ++i) {
    EXPECT_NEAR(after[i], before[i], 1e-4F * std::fabs(before[i]) + 1e-4F);
  }
}

TEST_P(Families, FoldingNormalisationKeepsTheFunction) {
  Model model = testing::nano_model(GetParam());
  model.config.preprocessing.mean = {0.5F, 0.4F, 0.3F};
  model.config.preprocessing.std = {0.2F, 0.25F, 0.5F};
  const auto crops = testing::random_crops(model.config.img_size, 4, 5);
  const std::vector<float> before = make_fp32_engine(model)->logits(crops);
  Model moved = model;
  calibration::fold_normalisation(moved);
  const std::vector<float> after = make_fp32_engine(moved)->logits(crops);
  for (std::size_t i = 0; i < before.size(); ++i) {
    EXPECT_NEAR(after[i], before[i], 1e-4F * std::fabs(before[i]) + 1e-4F);
  }
  // The moved model's normalized images are the codes of their pixels.
  const auto images = normalised_batch(crops, moved.config.preprocessing);
  std::vector<float> quantized = images;
  fake_quantize(calibration::pixel_quantizer(), quantized);
  for (std::size_t i = 0; i < images.size(); ++i) {
    EXPECT_NEAR(quantized[i], images[i], 1e-6F);
  }
}

TEST_P(Families, BestIsCloserThanRepq) {
  const Model model = testing::nano_model(GetParam());
  const auto distance = [&](const Recipe& recipe) {
    return signal_to_noise(model,
                           *make_simulated_engine(testing::quantize(model, settings_of(recipe))));
  };
  EXPECT_GT(distance(find_recipe("best")), distance(find_recipe("repq")));
}

TEST_P(Families, EveryPartRunsInIntegersAsSimulated) {
  const Model model = testing::nano_model(GetParam());
  std::vector<Recipe> recipes = {find_recipe("best"), {}};
  recipes.back().gelu_quant_scheme = Recipe::GeluScheme::shift;
  for (const RecipePart& part : kRecipeParts) {
    recipes.emplace_back().*part.member = true;
  }
  for (const Recipe& recipe : recipes) {
    for (const int bits : {3, 4, 6}) {
      const QuantizedModel quantized = testing::quantize(model, settings_of(recipe, bits));
      const auto engine = IntegerEngine::from_bytes(lower(quantized, {}), "nano");
      EXPECT_EQ(engine->info().settings.recipe, recipe);
      const double simulated = signal_to_noise(model, *make_simulated_engine(quantized));
      EXPECT_GT(signal_to_noise(model, *engine), simulated - 3.0)
          << recipe_to_json(recipe) << ' ' << bits;
    }
  }
}

TEST_P(Families, PartsChooseTheQuantizersOfTheirOwnLayersOnly) {
  const Model model = testing::nano_model(GetParam());
  const auto has_codebook = [&](const Recipe& recipe, std::string_view ending) {
    const Quantizers quantizers = testing::quantize(model, settings_of(recipe)).quantizers;
    return std::ranges::any_of(quantizers, [&](const auto& item) {
      return std::holds_alternative<Codebook>(item.second) &&
             published_name(item.first).ends_with(ending);
    });
  };
  Recipe activations;
  activations.activation_codes_codebook = true;
  Recipe behind_gelu;
  behind_gelu.gelu_quant_scheme = Recipe::GeluScheme::codebook;
  EXPECT_FALSE(has_codebook(activations, "fc2.input_quantizer"));
  EXPECT_TRUE(has_codebook(behind_gelu, "fc2.input_quantizer"));
  for (const char* ending : {"fc1.input_quantizer", "qkv.input_quantizer", "proj.input_quantizer",
                             "matmul1.quantizer_A", "matmul2.quantizer_B"}) {
    EXPECT_TRUE(has_codebook(activations, ending)) << ending;
    EXPECT_FALSE(has_codebook(behind_gelu, ending)) << ending;
  }
}

TEST_P(Families, SkippedGroupsHaveNoQuantizers) {
  const Model model = testing::nano_model(GetParam());
  for (const char* name : {"repq", "best"}) {
    const auto count = [](const QuantizedModel& quantized) { return quantized.quantizers.size(); };
    QuantizationSettings settings = settings_of(find_recipe(name));
    const std::size_t all = count(testing::quantize(model, settings));
    std::size_t missing = 0;
    for (const NamedQuantizerGroup& group : kQuantizerGroups) {
      settings.skipped = group.group;
      const QuantizedModel quantized = testing::quantize(model, settings);
      EXPECT_LT(count(quantized), all) << group.name;
      missing += all - count(quantized);
      EXPECT_NO_THROW(signal_to_noise(model, *make_simulated_engine(quantized))) << group.name;
      EXPECT_THROW(lower(quantized, {}), Error);
    }
    EXPECT_EQ(missing, all) << "every quantizer is of one group";
  }
}

INSTANTIATE_TEST_SUITE_P(Nano, Families, ::testing::Values("vit_nano", "swin_nano"),
                         [](const auto& param) { return std::string(param.param); });

}  // namespace
}  // namespace bitlog2
