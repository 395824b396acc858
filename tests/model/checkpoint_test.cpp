// Checkpoints: which model a file holds, with current and with older names of timm.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <limits>

#include "bitlog2/model.h"
#include "error_of.h"
#include "reference.h"
#include "tensors.h"

namespace bitlog2 {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::ElementsAre;
using testing::error_of;
using ::testing::HasSubstr;
using testing::make_tensor;
using ::testing::Not;
using testing::OwnedTensor;
using ::testing::StartsWith;

Safetensors nano(const std::string& family) {
  return Safetensors::open(testing::fixtures() / "nano" / (family + "_nano.safetensors"));
}

ModelConfig config_of(const Safetensors& file) {
  return parse_config(file.metadata().at("config"), file.name());
}

std::vector<std::string> misfits_of(const Safetensors& file, const ModelConfig& config) {
  const CheckpointFit fit = fit_checkpoint(file, config);
  EXPECT_EQ(fit.obstacle, "");
  EXPECT_EQ(fit.fits(), fit.misfits.empty());
  return fit.misfits;
}

/// Every parameter by its name in the model.
std::map<std::string, std::vector<float>> parameters(Model model) {
  std::map<std::string, std::vector<float>> values;
  for_each_parameter(
      model, [&](const Parameter& parameter) { values[parameter.name] = parameter.values; });
  return values;
}

class Checkpoint : public ::testing::Test {
 protected:
  /// One of the nano models, changed and written to a file of its own.
  Safetensors changed(const std::string& family,
                      const std::function<void(std::vector<OwnedTensor>&)>& change) const {
    std::vector<OwnedTensor> tensors = testing::tensors_of(nano(family));
    change(tensors);
    const fs::path path = folder_.path() / "changed.safetensors";
    testing::write_tensors(path, tensors, nano(family).metadata());
    return Safetensors::open(path);
  }

  std::string load_error(const Safetensors& file, const ModelConfig& config) const {
    const std::string message = error_of([&] { load_model(file, config); });
    EXPECT_THAT(message, StartsWith(file.name()));
    return message;
  }

  std::string load_error(const Safetensors& file) const {
    return load_error(file, config_of(file));
  }

 private:
  testing::TemporaryFolder folder_;
};

OwnedTensor& find(std::vector<OwnedTensor>& tensors, const std::string& name) {
  return *std::ranges::find(tensors, name, &OwnedTensor::name);
}

void rename_prefix(std::vector<OwnedTensor>& tensors, const std::string& from,
                   const std::string& to) {
  for (OwnedTensor& tensor : tensors) {
    if (tensor.name.starts_with(from)) {
      tensor.name = to + tensor.name.substr(from.size());
    }
  }
}

TEST_F(Checkpoint, LoadsEveryTensorOfTheNanoModels) {
  for (const char* family : {"vit", "swin"}) {
    const Safetensors file = nano(family);
    EXPECT_THAT(misfits_of(file, config_of(file)), ElementsAre());
    const auto loaded = parameters(load_model(file, config_of(file)));
    EXPECT_EQ(loaded.size(), file.tensors().size());
    for (const auto& [name, values] : loaded) {
      EXPECT_EQ(values, file.read_floats(name)) << name;
    }
  }
}

TEST_F(Checkpoint, LoadsCurrentSwinNames) {
  const Safetensors current = changed("swin", [](std::vector<OwnedTensor>& tensors) {
    rename_prefix(tensors, "layers.0.downsample.", "layers.1.downsample.");
    rename_prefix(tensors, "head.", "head.fc.");
  });
  ASSERT_EQ(current.find("layers.0.downsample.norm.weight"), nullptr);
  ASSERT_NE(current.find("head.fc.weight"), nullptr);
  EXPECT_THAT(misfits_of(current, config_of(current)), ElementsAre());
  EXPECT_EQ(parameters(load_model(current, config_of(current))),
            parameters(load_model(nano("swin"), config_of(current))));
}

/// A Swin of four stages, whose downsample names of both kinds overlap.
TEST_F(Checkpoint, LoadsCurrentNamesOfFourStages) {
  ModelConfig config = config_of(nano("swin"));
  config.embed_dim = 4;
  config.depths = {1, 1, 1, 1};
  config.num_heads = {1, 1, 1, 1};
  config.img_size = 32;
  config.window_size = 4;
  Model model = make_random_model(config, 3);
  std::vector<OwnedTensor> tensors = testing::tensors_of(model);
  for (int stage = 2; stage >= 0; --stage) {
    rename_prefix(tensors, fmt::format("layers.{}.downsample.", stage),
                  fmt::format("layers.{}.downsample.", stage + 1));
  }
  const Safetensors current =
      changed("swin", [&](std::vector<OwnedTensor>& written) { written = tensors; });
  EXPECT_EQ(parameters(load_model(current, config)), parameters(model));
}

TEST_F(Checkpoint, IgnoresBuffersThatTheModelComputes) {
  const Safetensors file = changed("swin", [](std::vector<OwnedTensor>& tensors) {
    tensors.push_back(
        make_tensor("layers.0.blocks.1.attn_mask", DType::f32, {2}, std::vector<float>{0, -100}));
    tensors.push_back(make_tensor("layers.0.blocks.0.attn.relative_position_index", DType::i64, {1},
                                  std::vector<std::int64_t>{12}));
  });
  EXPECT_THAT(misfits_of(file, config_of(file)), ElementsAre());
  EXPECT_EQ(parameters(load_model(file, config_of(file))),
            parameters(load_model(nano("swin"), config_of(file))));
}

TEST_F(Checkpoint, RefusesDistilledModelsByName) {
  for (const char* name : {"dist_token", "head_dist.weight"}) {
    const Safetensors file = changed("vit", [&](std::vector<OwnedTensor>& tensors) {
      tensors.push_back(make_tensor(name, DType::f32, {1}, std::vector<float>{0}));
    });
    EXPECT_THAT(load_error(file), AllOf(HasSubstr("distilled DeiT"), HasSubstr("dist_token"),
                                        HasSubstr("give --model FILE")));
  }
}

TEST_F(Checkpoint, OfAnotherModelNamesTheFirstTensorsThatDoNotFit) {
  EXPECT_THAT(load_error(nano("vit"), find_named_model("deit_tiny").config),
              AllOf(HasSubstr("not a checkpoint of deit_tiny: "),
                    HasSubstr("'cls_token' is [1, 1, 48], not [1, 1, 192]; "),
                    HasSubstr("'pos_embed' is [1, 17, 48], not [1, 197, 192]; "),
                    HasSubstr("'blocks.0.norm1.weight' is [48], not [192]; "),
                    HasSubstr("; and 148 more")));
  EXPECT_THAT(load_error(nano("vit"), find_named_model("swin_tiny").config),
              AllOf(HasSubstr("not a checkpoint of swin_tiny: "), HasSubstr("' is missing; ")));
  EXPECT_THAT(
      load_error(nano("swin"), config_of(nano("vit"))),
      AllOf(HasSubstr("not a checkpoint of custom: "), HasSubstr("'cls_token' is missing; ")));
}

TEST_F(Checkpoint, NamesAFewMisfitsWithoutCountingMore) {
  const Safetensors file = changed("vit", [](std::vector<OwnedTensor>& tensors) {
    find(tensors, "head.bias").name = "tail.bias";
    std::swap(find(tensors, "blocks.0.attn.qkv.weight").shape[0],
              find(tensors, "blocks.0.attn.qkv.weight").shape[1]);
  });
  EXPECT_THAT(misfits_of(file, config_of(file)),
              ElementsAre("'blocks.0.attn.qkv.weight' is [48, 144], not [144, 48]",
                          "'head.bias' is missing", "'tail.bias' is not part of it"));
  EXPECT_THAT(load_error(file),
              AllOf(HasSubstr("'tail.bias' is not part of it"), Not(HasSubstr("more"))));
}

TEST_F(Checkpoint, MissingDownsampleIsNamedAsItsFileWould) {
  for (const char* stage : {"layers.0.", "layers.1."}) {  // in older and in current files
    const std::string downsample = std::string(stage) + "downsample.";
    const Safetensors file = changed("swin", [&](std::vector<OwnedTensor>& tensors) {
      rename_prefix(tensors, "layers.0.downsample.", downsample);
      std::erase_if(tensors, [&](const OwnedTensor& tensor) {
        return tensor.name == downsample + "reduction.weight";
      });
    });
    EXPECT_THAT(misfits_of(file, config_of(file)),
                ElementsAre("'" + downsample + "reduction.weight' is missing"));
    EXPECT_THAT(load_error(file), HasSubstr(downsample + "reduction.weight' is missing"));
  }
}

TEST_F(Checkpoint, OfOtherDtypesIsRefused) {
  const Safetensors file = changed("vit", [](std::vector<OwnedTensor>& tensors) {
    find(tensors, "blocks.1.mlp.fc1.weight").dtype = DType::i32;
  });
  EXPECT_THAT(load_error(file), HasSubstr("'blocks.1.mlp.fc1.weight' is I32"));
}

TEST_F(Checkpoint, WithNaNIsRefused) {
  const Safetensors file = changed("swin", [](std::vector<OwnedTensor>& tensors) {
    const float nan = std::numeric_limits<float>::quiet_NaN();
    std::memcpy(find(tensors, "norm.bias").bytes.data() + 8, &nan, sizeof(nan));
  });
  EXPECT_THAT(load_error(file), HasSubstr("'norm.bias' holds NaN at element 2"));
}

/// Keeps the upper half of every value, as BF16 does.
OwnedTensor truncated_to_bf16(const OwnedTensor& tensor) {
  OwnedTensor result = {tensor.name, DType::bf16, tensor.shape, {}};
  for (std::size_t i = 0; i < tensor.bytes.size(); i += 4) {
    result.bytes.push_back(tensor.bytes[i + 2]);
    result.bytes.push_back(tensor.bytes[i + 3]);
  }
  return result;
}

TEST_F(Checkpoint, OfBF16Loads) {
  const Safetensors file = changed("vit", [](std::vector<OwnedTensor>& tensors) {
    std::ranges::transform(tensors, tensors.begin(), truncated_to_bf16);
  });
  const auto exact = parameters(load_model(nano("vit"), config_of(file)));
  for (const auto& [name, values] : parameters(load_model(file, config_of(file)))) {
    for (std::size_t i = 0; i < values.size(); ++i) {
      ASSERT_NEAR(values[i], exact.at(name)[i], std::abs(exact.at(name)[i]) / 128) << name;
    }
  }
}

TEST_F(Checkpoint, OfF16Loads) {
  const Safetensors file = changed("vit", [](std::vector<OwnedTensor>& tensors) {
    for (OwnedTensor& tensor : tensors) {
      const std::vector<std::uint16_t> ones(tensor.bytes.size() / 4, 0x3c00);
      tensor = make_tensor(tensor.name, DType::f16, tensor.shape, ones);
    }
  });
  for (const auto& [name, values] : parameters(load_model(file, config_of(file)))) {
    EXPECT_EQ(values, std::vector<float>(values.size(), 1.0F)) << name;
  }
}

/// The weights of these models would not fit in memory, so the comparison of shapes must fail
/// first.
TEST_F(Checkpoint, OfASmallModelIsNoHugeOne) {
  ModelConfig vit = config_of(nano("vit"));
  vit.embed_dim = 65536;
  vit.mlp_ratio = 64;
  vit.depths = {100};
  vit.num_classes = 1 << 20;
  EXPECT_THAT(load_error(nano("vit"), vit), HasSubstr("not [1, 1, 65536]"));
  ModelConfig swin = config_of(nano("swin"));
  swin.embed_dim = 32768;
  swin.mlp_ratio = 64;
  swin.depths = {100, 100};
  EXPECT_THAT(load_error(nano("swin"), swin), HasSubstr("not [32768]"));
}

TEST_F(Checkpoint, RandomModelsSurviveTheirFile) {
  for (const char* family : {"vit", "swin"}) {
    const ModelConfig config = config_of(nano(family));
    Model model = make_random_model(config, 7);
    const Safetensors file = changed(
        family, [&](std::vector<OwnedTensor>& tensors) { tensors = testing::tensors_of(model); });
    EXPECT_EQ(parameters(load_model(file, config)), parameters(model));
    EXPECT_EQ(parameters(make_random_model(config, 7)), parameters(model));
    EXPECT_NE(parameters(make_random_model(config, 8)), parameters(model));
  }
}

// ---- Wrappers and counters -------------------------------------------------------------

TEST_F(Checkpoint, PrefixesOfWrappersAreLeftOutAndSaidOnce) {
  for (const char* family : {"vit", "swin"}) {
    for (const char* prefix :
         {"module.", "model.", "_orig_mod.", "backbone.", "vit.", "module.model.",
          "_orig_mod.module.", "state_dict.model.", "model_ema.", "model._orig_mod.backbone."}) {
      const Safetensors file = changed(
          family, [&](std::vector<OwnedTensor>& tensors) { rename_prefix(tensors, "", prefix); });
      const LoadedCheckpoint loaded = load_checkpoint(file, config_of(file));
      EXPECT_EQ(parameters(loaded.model), parameters(load_model(nano(family), config_of(file))));
      EXPECT_THAT(loaded.notes, ElementsAre(fmt::format("{}: its names are read without '{}'",
                                                        file.name(), prefix)));
    }
  }
}

TEST_F(Checkpoint, APrefixOfSomeNamesIsLeftOutToo) {
  const Safetensors file = changed("vit", [](std::vector<OwnedTensor>& tensors) {
    for (OwnedTensor& tensor : tensors) {
      tensor.name = (tensor.name.starts_with("head.") ? "model." : "model.backbone.") + tensor.name;
    }
  });
  const LoadedCheckpoint loaded = load_checkpoint(file, config_of(file));
  EXPECT_EQ(parameters(loaded.model), parameters(load_model(nano("vit"), config_of(file))));
  EXPECT_THAT(loaded.notes, ElementsAre(HasSubstr("without 'model.', 'model.backbone.'")));
}

TEST_F(Checkpoint, CurrentSwinNamesMayHaveAPrefix) {
  const Safetensors file = changed("swin", [](std::vector<OwnedTensor>& tensors) {
    rename_prefix(tensors, "layers.0.downsample.", "layers.1.downsample.");
    rename_prefix(tensors, "head.", "head.fc.");
    rename_prefix(tensors, "", "module.");
  });
  EXPECT_EQ(parameters(load_model(file, config_of(file))),
            parameters(load_model(nano("swin"), config_of(file))));
}

TEST_F(Checkpoint, OfPublishedNamesHasNoNotes) {
  EXPECT_THAT(load_checkpoint(nano("vit"), config_of(nano("vit"))).notes, ElementsAre());
}

TEST_F(Checkpoint, MisfitsBehindAPrefixHaveTheFilesNames) {
  const Safetensors file = changed("vit", [](std::vector<OwnedTensor>& tensors) {
    find(tensors, "norm.bias").shape = {24, 2};
    rename_prefix(tensors, "", "module.");
    tensors.push_back(make_tensor("module.gate", DType::f32, {2}, std::vector<float>{0, 1}));
  });
  EXPECT_THAT(
      misfits_of(file, config_of(file)),
      ElementsAre("'module.norm.bias' is [24, 2], not [48]", "'module.gate' is not part of it"));
}

TEST_F(Checkpoint, WithTwoSetsOfWeightsNamesBoth) {
  const auto doubled = [&](const std::string& first, const std::string& second) {
    return changed("vit", [&](std::vector<OwnedTensor>& tensors) {
      std::vector<OwnedTensor> copy = tensors;
      rename_prefix(tensors, "", first);
      rename_prefix(copy, "", second);
      tensors.insert(tensors.end(), copy.begin(), copy.end());
    });
  };
  EXPECT_THAT(load_error(doubled("model.", "model_ema.")),
              AllOf(HasSubstr("twice, under 'model.' and under 'model_ema.'; keep one: python3"),
                    HasSubstr("removeprefix('model_ema.')")));
  EXPECT_THAT(load_error(doubled("", "model_ema.")),
              AllOf(HasSubstr("no prefix"), HasSubstr("startswith('model_ema.')")));
}

TEST_F(Checkpoint, CountersAreIgnoredAndSaidOnce) {
  const Safetensors file = changed("vit", [](std::vector<OwnedTensor>& tensors) {
    rename_prefix(tensors, "", "module.");
    for (const char* name : {"module.total_ops", "module.total_params", "module.norm.total_ops"}) {
      tensors.push_back(make_tensor(name, DType::f32, {1}, std::vector<float>{3}));
    }
    for (const char* name : {"n_averaged", "module.bn.num_batches_tracked", "own_counter"}) {
      tensors.push_back(make_tensor(name, DType::i64, {}, std::vector<std::int64_t>{9}));
    }
  });
  const LoadedCheckpoint loaded = load_checkpoint(file, config_of(file));
  EXPECT_EQ(parameters(loaded.model), parameters(load_model(nano("vit"), config_of(file))));
  EXPECT_THAT(loaded.notes,
              ElementsAre(HasSubstr("without 'module.'"),
                          file.name() + ": tensors that are no weights are ignored: n_averaged, "
                                        "num_batches_tracked, own_counter, total_ops and 1 more"));
}

TEST_F(Checkpoint, WhatIsMoreThanOneNumberIsNoCounter) {
  const Safetensors file = changed("vit", [](std::vector<OwnedTensor>& tensors) {
    tensors.push_back(make_tensor("total_ops", DType::f32, {2}, std::vector<float>{3, 4}));
    tensors.push_back(make_tensor("logit_scale", DType::f32, {}, std::vector<float>{3}));
  });
  EXPECT_THAT(misfits_of(file, config_of(file)),
              ElementsAre("'logit_scale' is not part of it", "'total_ops' is not part of it"));
}

// ---- What to do ------------------------------------------------------------------------

TEST_F(Checkpoint, WithAHeadOfAnotherSizeSaysWhatToDo) {
  for (const char* family : {"vit", "swin"}) {
    ModelConfig config = config_of(nano(family));
    config.name = "ours";
    config.num_classes = 1000;
    EXPECT_EQ(load_error(nano(family), config),
              nano(family).name() +
                  ": its head has 10 classes, ours has 1000; use --config "
                  "FILE.json with \"num_classes\": 10 "
                  "(docs/datasets-and-configs.md)");
  }
}

TEST_F(Checkpoint, OfAnotherImageSizeSaysWhatToDo) {
  ModelConfig config = config_of(nano("vit"));
  config.img_size = 64;
  EXPECT_THAT(load_error(nano("vit"), config),
              HasSubstr("its position embedding is for images of 32 x 32, custom has 64; use "
                        "--config FILE.json with \"img_size\": 32 "));
  config.num_classes = 3;
  EXPECT_THAT(load_error(nano("vit"), config),
              HasSubstr("with \"num_classes\": 10, \"img_size\": 32 "));
}

TEST_F(Checkpoint, WithoutAHeadSaysSo) {
  const auto is_head = [](const OwnedTensor& tensor) { return tensor.name.starts_with("head."); };
  const Safetensors file =
      changed("vit", [&](std::vector<OwnedTensor>& tensors) { std::erase_if(tensors, is_head); });
  EXPECT_THAT(load_error(file), HasSubstr("it has no head (head.weight)"));
  const Safetensors more = changed("vit", [&](std::vector<OwnedTensor>& tensors) {
    std::erase_if(tensors, is_head);
    find(tensors, "norm.bias").name = "norm.shift";
  });
  EXPECT_THAT(load_error(more), HasSubstr("'head.weight' is missing; 'head.bias' is missing"));
}

TEST_F(Checkpoint, OfOtherLibrariesIsNamedByItsNaming) {
  struct Named {
    const char* tensor;
    const char* library;
  };
  for (const Named& named : std::initializer_list<Named>{
           {"visual.transformer.resblocks.0.attn.in_proj_weight", "OpenCLIP's"},
           {"backbone.patch_embed.projection.weight", "MMPretrain's"},
           {"to_patch_embedding.1.weight", "vit-pytorch's"}}) {
    const Safetensors file = changed("vit", [&](std::vector<OwnedTensor>& tensors) {
      tensors = {make_tensor(named.tensor, DType::f32, {1}, std::vector<float>{0})};
    });
    EXPECT_THAT(load_error(file, find_named_model("deit_tiny").config),
                AllOf(HasSubstr(named.library), HasSubstr(fmt::format("('{}')", named.tensor)),
                      HasSubstr("those of timm, transformers and torchvision are known")));
  }
  const Safetensors lora = changed("vit", [](std::vector<OwnedTensor>& tensors) {
    tensors = {make_tensor("base_model.model.blocks.0.attn.qkv.lora_A.weight", DType::f32, {1},
                           std::vector<float>{0})};
  });
  EXPECT_THAT(load_error(lora), HasSubstr("LoRA adapters"));
}

// ---- Class names -----------------------------------------------------------------------

Safetensors with_class_names(const std::string& text, std::string& bytes,
                             const std::string& key = "class_names") {
  std::string escaped;
  for (const char letter : text) {
    escaped += letter == '"' ? std::string("\\\"") : std::string(1, letter);
  }
  bytes = testing::safetensors_bytes(
      fmt::format(R"({{"__metadata__":{{"{}":"{}"}}}})", key, escaped), "");
  return Safetensors::parse(std::as_bytes(std::span(bytes)), "named.safetensors");
}

ModelConfig called(const std::string& name, std::size_t num_classes) {
  ModelConfig config;
  config.name = name;
  config.num_classes = num_classes;
  return config;
}

TEST(ClassNames, ComeFromTheFile) {
  std::string bytes;
  for (const char* key : {"class_names", "label_names"}) {
    EXPECT_THAT(
        class_names(with_class_names(R"(["shirt","bag"])", bytes, key), called("custom", 2)),
        ElementsAre("shirt", "bag"));
  }
  EXPECT_THAT(class_names(with_class_names(R"({"1":"bag","0":"shirt"})", bytes, "id2label"),
                          called("deit_tiny", 2)),
              ElementsAre("shirt", "bag"));
}

TEST(ClassNames, OfAPublishedModelAreImageNets) {
  const std::vector<std::string> names = class_names(nano("vit"), called("deit_tiny", 1000));
  ASSERT_EQ(names.size(), 1000U);
  EXPECT_THAT(names[1], HasSubstr("goldfish"));
  EXPECT_THAT(class_names(nano("vit"), called("deit_tiny", 10)), ElementsAre());
}

TEST(ClassNames, OfAnotherModelWithAThousandClassesAreUnknown) {
  EXPECT_THAT(class_names(nano("vit"), called("custom", 1000)), ElementsAre());
}

TEST(ClassNames, MustBeOnePerClass) {
  for (const char* text :
       {R"(["shirt"])", R"(["a","b","c"])", R"(["a",1])", R"({"a":1,"b":2})", "", "[", "null"}) {
    std::string bytes;
    EXPECT_THAT(error_of([&] { class_names(with_class_names(text, bytes), called("custom", 2)); }),
                AllOf(StartsWith("named.safetensors"), HasSubstr("array of 2 strings")))
        << text;
  }
  for (const char* text : {R"({"0":"a"})", R"({"0":"a","2":"b"})", R"({"0":"a","1":2})", "["}) {
    std::string bytes;
    EXPECT_THAT(error_of([&] {
                  class_names(with_class_names(text, bytes, "id2label"), called("custom", 2));
                }),
                HasSubstr("'id2label' is not a JSON object of 2 strings"))
        << text;
  }
}

// ---- Structure -------------------------------------------------------------------------

TEST(ModelStructure, ListsLinearLayersInOrderOfExecution) {
  Model model = make_model(config_of(nano("swin")));
  std::vector<std::string> names;
  for_each_linear(model, [&](Linear& linear) { names.push_back(linear.name); });
  ASSERT_EQ(names.size(), 19U);
  EXPECT_EQ(names.front(), "patch_embed.proj");
  EXPECT_EQ(names[1], "layers.0.blocks.0.attn.qkv");
  EXPECT_EQ(names[9], "layers.0.downsample.reduction");
  EXPECT_EQ(names.back(), "head");
}

TEST(ModelStructure, WindowsHoldEveryTokenOnce) {
  for (const std::size_t window : {2U, 4U, 7U}) {
    for (const std::size_t windows : {1U, 2U, 3U}) {
      ModelConfig config = config_of(nano("swin"));
      config.window_size = window;
      config.img_size = config.patch_size * window * windows;
      config.depths = {2};
      config.num_heads = {2};
      const Model model = make_model(config);
      for (const Block& block : model.stages[0].blocks) {
        std::vector<std::uint32_t> tokens = block.attn.groups.token_indices;
        std::ranges::sort(tokens);
        ASSERT_EQ(tokens.size(), window * windows * window * windows);
        for (std::uint32_t i = 0; i < tokens.size(); ++i) {
          ASSERT_EQ(tokens[i], i);
        }
      }
      const bool shifts = !model.stages[0].blocks[1].attn.groups.regions.empty();
      EXPECT_EQ(shifts, windows > 1);
      EXPECT_THAT(model.stages[0].blocks[0].attn.groups.regions, ElementsAre());
    }
  }
}

}  // namespace
}  // namespace bitlog2
