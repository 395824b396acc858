// The integer engine as a whole: it is as close to the simulated one as quantization noise allows,
// gives the same bits in every way to call it, and checks its files.
#include <gtest/gtest.h>

#include <cmath>
#include <cstddef>
#include <filesystem>
#include <functional>
#include <limits>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <thread>
#include <tuple>
#include <vector>

#include "bitlog2/error.h"
#include "bitlog2/files.h"
#include "goldens.h"
#include "tensors.h"
#include "tiny_networks.h"

namespace bitlog2 {
namespace {

using testing::nano_model;
using testing::quantize;
using testing::random_crops;
using testing::relative_l2;

std::vector<std::int32_t> all_logits(const IntegerEngine& engine,
                                     const std::vector<RgbImage>& crops) {
  std::vector<std::int32_t> logits;
  for (const RgbImage& crop : crops) {
    const auto one = engine.integer_logits(crop);
    logits.insert(logits.end(), one.begin(), one.end());
  }
  return logits;
}

struct EngineCase {
  const char* model;
  AttentionScheme scheme;
  int bits;
};

std::vector<EngineCase> engine_cases() {
  std::vector<EngineCase> cases;
  for (const char* model : {"vit_nano", "swin_nano"}) {
    for (const AttentionScheme& scheme : kAttentionSchemes) {
      for (const int bits : {4, 8}) {
        cases.push_back({model, scheme, bits});
      }
    }
  }
  return cases;
}

class Fidelity : public ::testing::TestWithParam<EngineCase> {};

TEST_P(Fidelity, IsAsCloseAsTheSimulatedEngine) {
  const auto& [name, scheme, bits] = GetParam();
  const Model model = nano_model(name);
  const QuantizedModel quantized = quantize(model, {bits, bits, scheme});
  const auto crops = random_crops(model.config.img_size, 32, 5);
  const auto fp32 = make_fp32_engine(model)->logits(crops);
  const auto simulated = make_simulated_engine(quantized)->logits(crops);
  const auto engine = IntegerEngine::from_bytes(lower(quantized, {}), "nano");
  const auto integer = engine->logits(crops);
  const double simulated_noise = relative_l2(simulated, fp32);
  const double integer_noise = relative_l2(integer, fp32);
  const double distance = relative_l2(integer, simulated);
  RecordProperty("simulated_to_fp32", std::to_string(simulated_noise));
  RecordProperty("integer_to_fp32", std::to_string(integer_noise));
  RecordProperty("integer_to_simulated", std::to_string(distance));
  EXPECT_LE(integer_noise, 1.25 * simulated_noise + 0.005);
  EXPECT_LE(distance, (bits == 8 ? 0.6 : 1.0) * simulated_noise);
  EXPECT_EQ(engine->saturations(), 0U);
}

INSTANTIATE_TEST_SUITE_P(Nano, Fidelity, ::testing::ValuesIn(engine_cases()), [](const auto& test) {
  return std::string(test.param.model) + "_" + std::string(test.param.scheme.name) + "_w" +
         std::to_string(test.param.bits);
});

struct NanoCase {
  const char* model;
  const char* recipe;
};

class Nano : public ::testing::TestWithParam<NanoCase> {
 protected:
  QuantizedModel quantized_ =
      quantize(nano_model(GetParam().model),
               {4, 4, find_attention_scheme("BitLog2_Half_17"), find_recipe(GetParam().recipe)});
  std::vector<std::byte> bytes_ = lower(quantized_, {});
  std::vector<RgbImage> crops_ = random_crops(quantized_.model.config.img_size, 6, 6);
};

TEST_P(Nano, SameLogitsForAnyBatchAndThread) {
  const auto engine = IntegerEngine::from_bytes(bytes_, "nano");
  const auto expected = engine->logits(crops_);
  std::vector<float> one_by_one;
  for (const RgbImage& crop : crops_) {
    const auto logits = engine->logits({&crop, 1});
    one_by_one.insert(one_by_one.end(), logits.begin(), logits.end());
  }
  EXPECT_EQ(one_by_one, expected);

  std::vector<std::vector<float>> of_threads(3);
  std::vector<std::thread> threads;
  threads.reserve(of_threads.size());
  for (std::vector<float>& result : of_threads) {
    threads.emplace_back([&] { result = engine->logits(crops_); });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
  for (const std::vector<float>& result : of_threads) {
    EXPECT_EQ(result, expected);
  }
  EXPECT_TRUE(engine->logits({}).empty());
}

TEST_P(Nano, SameLogitsForAnyInstructionSetAndThreadGroup) {
  const auto portable = IntegerEngine::from_bytes(bytes_, "nano", "portable");
  const auto expected = all_logits(*portable, crops_);
  for (const std::string& isa : available_isas()) {
    const auto engine = IntegerEngine::from_bytes(bytes_, "nano", isa);
    EXPECT_EQ(engine->isa(), isa);
    EXPECT_EQ(all_logits(*engine, crops_), expected) << isa;
    for (const std::size_t threads : {1U, 2U, 3U, 5U}) {
      ThreadPool pool(threads);
      std::vector<std::int32_t> together;
      for (const RgbImage& crop : crops_) {
        const auto one = engine->integer_logits(crop, pool);
        together.insert(together.end(), one.begin(), one.end());
      }
      EXPECT_EQ(together, expected) << isa << ", " << threads << " threads";
    }
  }
  EXPECT_THROW(IntegerEngine::from_bytes(bytes_, "nano", "mmx"), Error);
}

TEST_P(Nano, ProfileNamesEveryOperation) {
  const auto engine = IntegerEngine::from_bytes(bytes_, "nano");
  std::uint64_t multiply_adds = 0;
  for (const OperationCost& cost : engine->profile(crops_[0])) {
    EXPECT_FALSE(cost.layer.empty());
    EXPECT_GE(cost.seconds, 0);
    multiply_adds += cost.multiply_adds;
  }
  EXPECT_GT(multiply_adds, 100000U);
  EXPECT_GT(peak_multiply_adds_per_second(engine->isa()), 1e6);
}

TEST_P(Nano, LogitsHaveSixteenFractionBits) {
  const auto engine = IntegerEngine::from_bytes(bytes_, "nano");
  const auto real = engine->logits(crops_);
  const auto integer = all_logits(*engine, crops_);
  ASSERT_EQ(real.size(), integer.size());
  for (std::size_t i = 0; i < real.size(); ++i) {
    EXPECT_EQ(real[i], static_cast<float>(integer[i]) / 65536.0F);
  }
}

TEST_P(Nano, ReopenedFileGivesTheSameLogits) {
  const testing::TemporaryFolder folder;
  const auto path = folder.path() / "network.safetensors";
  write_file_atomically(path, bytes_);
  const auto opened = IntegerEngine::open(path);
  const auto in_memory = IntegerEngine::from_bytes(bytes_, "memory");
  EXPECT_EQ(all_logits(*opened, crops_), all_logits(*in_memory, crops_));
  EXPECT_EQ(opened->file_bytes(), bytes_.size());
  EXPECT_EQ(opened->arena_bytes(), in_memory->arena_bytes());
  EXPECT_EQ(config_to_json(opened->config()), config_to_json(quantized_.model.config));
  EXPECT_EQ(opened->info().settings.name(), "BitLog2_Half_17.w4a4");
}

TEST_P(Nano, LoweringIsDeterministic) {
  EXPECT_EQ(lower(quantized_, {}), bytes_);
}

TEST_P(Nano, CropOfAnotherSizeIsRefused) {
  const auto engine = IntegerEngine::from_bytes(bytes_, "nano");
  for (const std::size_t side : {std::size_t{1}, quantized_.model.config.img_size + 1}) {
    EXPECT_THROW(engine->integer_logits(random_crops(side, 1, 1)[0]), Error);
  }
}

TEST_P(Nano, ObserverSeesEveryLayerAndChangesNothing) {
  const auto engine = IntegerEngine::from_bytes(bytes_, "nano");
  std::map<std::string, std::vector<float>> layers;
  engine->observe(crops_[0], [&](const std::string& layer, std::span<const float> values) {
    layers[layer].assign(values.begin(), values.end());
  });
  EXPECT_EQ(layers.at("head"), engine->logits({crops_.data(), 1}));
  EXPECT_TRUE(layers.contains("patch_embed.proj"));
  EXPECT_GE(layers.size(), 2 + 2 * quantized_.model.stages.size());
}

INSTANTIATE_TEST_SUITE_P(
    Models, Nano,
    ::testing::Values(NanoCase{"vit_nano", "repq"}, NanoCase{"swin_nano", "repq"},
                      NanoCase{"vit_nano", "best"}, NanoCase{"swin_nano", "best"}),
    [](const auto& test) { return std::string(test.param.model) + "_" + test.param.recipe; });

TEST(IntegerWidths, EveryWidthRunsAndMoreBitsAreCloser) {
  const Model model = nano_model("vit_nano");
  const auto crops = random_crops(model.config.img_size, 32, 5);
  const auto fp32 = make_fp32_engine(model)->logits(crops);
  std::map<int, double> noise;
  for (int bits = kMinBits; bits <= kMaxBits; ++bits) {
    const auto quantized = quantize(model, {bits, bits, find_attention_scheme("Sqrt2_17")});
    const auto engine = IntegerEngine::from_bytes(lower(quantized, {}), "nano");
    noise[bits] = relative_l2(engine->logits(crops), fp32);
    EXPECT_EQ(engine->saturations(), 0U) << bits;
  }
  for (const int bits : {2, 4, 6}) {
    EXPECT_LT(noise[bits + 2], noise[bits]);
  }
  EXPECT_LT(noise[8], 0.2);
}

TEST(IntegerWidths, EveryWidthOfBestIsAsCloseAsSimulated) {
  const Model model = nano_model("vit_nano");
  const auto crops = random_crops(model.config.img_size, 32, 5);
  const auto fp32 = make_fp32_engine(model)->logits(crops);
  for (int bits = kMinBits; bits <= kMaxBits; ++bits) {
    const auto quantized = quantize(
        model, {bits, bits, find_attention_scheme("BitLog2_Half_16"), find_recipe("best")});
    const auto engine = IntegerEngine::from_bytes(lower(quantized, {}), "nano");
    const double simulated = relative_l2(make_simulated_engine(quantized)->logits(crops), fp32);
    EXPECT_LT(relative_l2(engine->logits(crops), fp32), 1.25 * simulated + 0.005) << bits;
  }
}

TEST(CodeTables, OfEvenStepsAreTheUniformQuantizer) {
  Recipe recipe = find_recipe("best");
  recipe.activation_codes_codebook = false;
  recipe.gelu_quant_scheme = Recipe::GeluScheme::uniform;
  for (const char* name : {"vit_nano", "swin_nano"}) {
    QuantizedModel quantized =
        quantize(nano_model(name), {4, 4, find_attention_scheme("BitLog2_Half_16"), recipe});
    const auto crops = random_crops(quantized.model.config.img_size, 6, 6);
    const auto expected =
        all_logits(*IntegerEngine::from_bytes(lower(quantized, {}), "uniform"), crops);
    // For every operation that writes codes, including the mean over tokens.
    for (auto& [key, quantizer] : quantized.quantizers) {
      const auto* affine = std::get_if<Affine>(&quantizer);
      if (affine == nullptr || key.slot == Slot::weight ||
          key.layer == quantized.model.patch_embed.name) {
        continue;
      }
      Codebook codebook = {affine->scale[0], {}};
      for (int code = 0; code < 1 << affine->bits; ++code) {
        codebook.levels.push_back(
            static_cast<std::int16_t>(code - std::lround(affine->zero_point[0])));
      }
      codebook.begins = codebook.levels;
      quantizer = codebook;
    }
    for (const std::string& isa : available_isas()) {
      const auto engine = IntegerEngine::from_bytes(lower(quantized, {}), "tables", isa);
      EXPECT_EQ(all_logits(*engine, crops), expected) << name << ' ' << isa;
    }
  }
}

TEST(IntegerWidths, MixedWidthsAndClassNames) {
  const auto quantized = quantize(make_random_model(testing::tiny_config(Family::swin), 3),
                                  {3, 7, find_attention_scheme("BitLog2_Single_17")});
  const auto engine = IntegerEngine::from_bytes(lower(quantized, {"a", "b \"c\"", "d"}), "tiny");
  EXPECT_EQ(engine->info().settings.w_bits, 3);
  EXPECT_EQ(engine->info().settings.a_bits, 7);
  EXPECT_EQ(engine->info().class_names, (std::vector<std::string>{"a", "b \"c\"", "d"}));
  EXPECT_EQ(engine->logits(random_crops(8, 2, 1)).size(), 6U);
}

// --- zero points between whole steps ---------------------------------------------------------

/// A layer's output in the simulated engine.
std::vector<float> simulated_output(const QuantizedModel& quantized, const RgbImage& crop,
                                    const std::string& layer) {
  std::vector<float> output;
  ThreadPool serial(1);
  run_simulated(with_quantized_weights(quantized), quantized.quantizers,
                normalised_batch(std::span(&crop, 1), quantized.model.config.preprocessing), serial,
                [&](const std::string& name, std::span<const float> values) {
                  if (name == layer) {
                    output.assign(values.begin(), values.end());
                  }
                });
  return output;
}

std::vector<float> integer_output(const QuantizedModel& quantized, const RgbImage& crop,
                                  const std::string& layer) {
  std::vector<float> output;
  IntegerEngine::from_bytes(lower(quantized, {}), "nano")
      ->observe(crop, [&](const std::string& name, std::span<const float> values) {
        if (name == layer) {
          output.assign(values.begin(), values.end());
        }
      });
  return output;
}

TEST(FractionalZeroPoints, EndsOfTheRangeAreWhereTheSimulatedEngineHasThem) {
  const std::string layer = "blocks.0.mlp.fc2";
  const QuantizerKey input = {"blocks.0.mlp.fc1", Slot::input};
  // With more bits, half a step is no larger than the rounding errors of the other layers.
  for (const int bits : {2, 3, 4, 5}) {
    QuantizedModel exact =
        quantize(nano_model("vit_nano"), {8, 8, find_attention_scheme("BitLog2_Half_16")});
    Quantizer& quantizer = exact.quantizers.at(input);
    // The range is so narrow that many values are outside.
    const auto top = static_cast<float>((1 << bits) - 1);
    quantizer = Affine{bits, {1.5F / top}, {std::floor(top / 2) + 0.4F}};
    QuantizedModel rounded = exact;
    std::get<Affine>(rounded.quantizers.at(input)).zero_point[0] = std::floor(top / 2);
    const RgbImage crop = random_crops(exact.model.config.img_size, 1, 5)[0];
    const auto expected = simulated_output(exact, crop, layer);
    const double distance = relative_l2(integer_output(exact, crop, layer), expected);
    const double without_ends = relative_l2(integer_output(rounded, crop, layer), expected);
    EXPECT_LT(distance, 0.5 * without_ends) << bits << " bits";
  }
}

// --- numbers beyond the integers' range -----------------------------------------------------

/// The Error's text of lower() for a tiny model that `change` has changed; empty if there is none.
std::string refusal_to_lower(Family family, const std::function<void(QuantizedModel&)>& change) {
  QuantizedModel quantized = quantize(make_random_model(testing::tiny_config(family), 3),
                                      {4, 4, find_attention_scheme("BitLog2_Half_17")});
  change(quantized);
  try {
    static_cast<void>(lower(quantized, {}));
  } catch (const Error& error) {
    return error.what();
  }
  return {};
}

float& first_scale(QuantizedModel& quantized, const char* layer, Slot slot) {
  return std::get<Affine>(quantized.quantizers.at({layer, slot})).scale[0];
}

TEST(LoweringRange, UsualNumbersFit) {
  for (const Family family : {Family::vit, Family::swin}) {
    EXPECT_EQ(refusal_to_lower(family, [](QuantizedModel&) {}), "");
  }
}

TEST(LoweringRange, NumbersBeyondItAreRefusedWithTheirLayersName) {
  using Change = std::function<void(QuantizedModel&)>;
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const auto first_block = [](QuantizedModel& quantized) -> Block& {
    return quantized.model.stages[0].blocks[0];
  };
  const std::vector<std::tuple<std::string, Family, Change>> cases = {
      {"blocks.0.attn.proj: its weights", Family::vit,
       [](auto& q) { first_scale(q, "blocks.0.attn.proj", Slot::weight) = 1e9F; }},
      {"head: its weights", Family::vit,
       [&](auto& q) { first_scale(q, "head", Slot::weight) = nan; }},
      {"blocks.0.attn.qkv: its weights", Family::vit,
       [](auto& q) { first_scale(q, "blocks.0.attn", Slot::query) = 1e-20F; }},
      {"blocks.0.mlp.fc2: its bias", Family::vit,
       [&](auto& q) { first_block(q).fc2.bias[0] = 1e30F; }},
      {"blocks.0.norm1: its weights", Family::vit,
       [&](auto& q) { first_block(q).norm1.gamma[0] = 1e20F; }},
      {"blocks.0.norm2: its epsilon", Family::vit,
       [&](auto& q) { first_block(q).norm2.eps = 1e9F; }},
      {"pos_embed: it is", Family::vit, [](auto& q) { q.model.pos_embed[0] = 1e9F; }},
      {"blocks.0.attn: a zero point", Family::vit,
       [](auto& q) {
         std::get<Affine>(q.quantizers.at({"blocks.0.attn", Slot::value})).zero_point[0] = 600;
       }},
      {"layers.0.blocks.0.attn: its relative position bias", Family::swin,
       [&](auto& q) { first_block(q).attn.bias_table[0] = 1e5F; }},
  };
  for (const auto& [expected, family, change] : cases) {
    const std::string message = refusal_to_lower(family, change);
    EXPECT_TRUE(message.starts_with(expected)) << expected << ": " << message;
    EXPECT_TRUE(message.ends_with("too large for integers")) << message;
  }
}

// --- files ----------------------------------------------------------------------------------

class QuantizedFile : public ::testing::Test {
 protected:
  /// The message with which opening was refused, if it was.
  static std::optional<std::string> refusal(const std::vector<std::byte>& bytes) {
    const testing::TemporaryFolder folder;
    const auto path = folder.path() / "some_network.safetensors";
    write_file_atomically(path, bytes);
    try {
      IntegerEngine::open(path);
    } catch (const Error& error) {
      return error.what();
    }
    return std::nullopt;
  }

  static void expect_refusal(const std::vector<std::byte>& bytes, const std::string& phrase) {
    const auto message = refusal(bytes);
    ASSERT_TRUE(message.has_value()) << "not refused: " << phrase;
    EXPECT_NE(message->find("some_network.safetensors"), std::string::npos) << *message;
    EXPECT_NE(message->find(phrase), std::string::npos) << *message;
    EXPECT_EQ(message->find('\n'), std::string::npos) << *message;
  }

  /// The file with other metadata and the same tensors in the same order.
  std::vector<std::byte> with_metadata(
      const std::function<void(std::map<std::string, std::string>&)>& change) const {
    const auto file = Safetensors::parse(bytes_, "tiny");
    auto metadata = file.metadata();
    change(metadata);
    std::map<const std::byte*, TensorToWrite> in_order;
    for (const auto& [name, view] : file.tensors()) {
      in_order[view.bytes.data()] = {name, view.dtype, view.shape, view.bytes};
    }
    std::vector<TensorToWrite> tensors;
    for (const auto& [address, tensor] : in_order) {
      tensors.push_back(tensor);
    }
    return serialize_safetensors(tensors, metadata);
  }

  std::vector<std::byte> with_config(const std::string& from, const std::string& to) const {
    return with_metadata([&](auto& metadata) {
      std::string& config = metadata.at("config");
      const std::size_t at = config.find(from);
      ASSERT_NE(at, std::string::npos) << config;
      config.replace(at, from.size(), to);
    });
  }

  std::vector<std::byte> bytes_ = testing::tiny_network(Family::vit, "BitLog2_Half_17", 4);
};

TEST_F(QuantizedFile, RewrittenFileIsStillGood) {
  EXPECT_EQ(refusal(bytes_), std::nullopt);
  EXPECT_EQ(refusal(with_metadata([](auto&) {})), std::nullopt);
}

TEST_F(QuantizedFile, DamagedFileIsRefusedByName) {
  for (std::size_t size = 0; size < bytes_.size(); size += 251) {
    auto truncated = bytes_;
    truncated.resize(size);
    expect_refusal(truncated, "");
  }
  auto damaged = bytes_;
  damaged.back() ^= std::byte{1};
  expect_refusal(damaged, "damaged");
  expect_refusal({}, "");
}

TEST_F(QuantizedFile, CheckpointIsNoQuantizedModel) {
  const MappedFile checkpoint(testing::fixtures() / "nano" / "vit_nano.safetensors");
  expect_refusal({checkpoint.bytes().begin(), checkpoint.bytes().end()}, "not a quantized model");
}

TEST_F(QuantizedFile, MissingMetadataIsNamed) {
  for (const char* key : {"format", "config", "scheme", "w_bits", "a_bits", "layers"}) {
    expect_refusal(with_metadata([&](auto& metadata) { metadata.erase(key); }), key);
  }
}

TEST_F(QuantizedFile, WrongMetadataIsRefused) {
  for (const char* bits : {"", "1", "9", "44", "x"}) {
    expect_refusal(with_metadata([&](auto& metadata) { metadata["w_bits"] = bits; }), "w_bits");
    expect_refusal(with_metadata([&](auto& metadata) { metadata["a_bits"] = bits; }), "a_bits");
  }
  for (const char* layers : {"", "{}", "[]", "[\"one\"]", "not json"}) {
    expect_refusal(with_metadata([&](auto& metadata) { metadata["layers"] = layers; }), "layers");
  }
  expect_refusal(with_metadata([](auto& metadata) { metadata["config"] = "{}"; }), "");
  expect_refusal(with_metadata([](auto& metadata) { metadata["format"] = "other"; }), "");
  EXPECT_TRUE(refusal(with_metadata([](auto& metadata) { metadata["scheme"] = "Log3"; })));
}

TEST_F(QuantizedFile, SettingsThatContradictTheProgramAreRefused) {
  const auto with = [&](const char* key, const char* value) {
    return with_metadata([&](auto& metadata) { metadata[key] = value; });
  };
  expect_refusal(with("scheme", "Sqrt2_17"), "contradicts");
  expect_refusal(with("w_bits", "5"), "contradicts");
  expect_refusal(with("a_bits", "3"), "contradicts");
}

TEST_F(QuantizedFile, ConfigThatContradictsTheProgramIsRefused) {
  expect_refusal(with_config("\"num_classes\":3", "\"num_classes\":4"), "contradicts");
  expect_refusal(with_config("\"patch_size\":4", "\"patch_size\":2"), "contradicts");
  expect_refusal(with_config("\"img_size\":8", "\"img_size\":16"), "contradicts");
}

}  // namespace
}  // namespace bitlog2
