// Which files --model takes, and the messages if they are not sufficient.
#include "bitlog2/load.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "bitlog2/error.h"
#include "error_of.h"
#include "reference.h"
#include "tensors.h"

namespace bitlog2 {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

const fs::path kArchitectures = fs::path(BITLOG2_SOURCE_DIR) / "tests/data/architectures";

class Load : public ::testing::Test {
 protected:
  /// A copy of a model's folder, which a test may change.
  fs::path copy_of(const std::string& name) const {
    fs::copy(kArchitectures / name, folder_ / name);
    return folder_ / name;
  }

  fs::path write(const fs::path& path, const std::string& text) const {
    std::ofstream(folder_ / path) << text;
    return folder_ / path;
  }

  static ModelSource source(const fs::path& model, const fs::path& config = {}) {
    return {.model = model.string(), .weights = {}, .config = config, .image_size = 0};
  }

  testing::TemporaryFolder temporary_;
  fs::path folder_ = temporary_.path();
};

TEST_F(Load, AFileInAFolderHasTheFolderBesideIt) {
  const LoadedModel folder = load_model(source(kArchitectures / "timm_vit"));
  const LoadedModel file = load_model(source(kArchitectures / "timm_vit/model.safetensors"));
  EXPECT_EQ(folder.model.config.name, "vit_tiny_patch16_224.augreg_in21k_ft_in1k");
  EXPECT_EQ(config_to_json(folder.model.config), config_to_json(file.model.config));
}

TEST_F(Load, ARepositoryIsFoundInTheHubsCache) {
  const fs::path snapshot = folder_ / "models--someone--model/snapshots/abc";
  fs::create_directories(snapshot.parent_path());
  fs::copy(kArchitectures / "transformers_vit_classifier", snapshot);
  ASSERT_EQ(setenv("HF_HUB_CACHE", folder_.c_str(), 1), 0);
  for (const char* name : {"someone/model", "hf_hub:someone/model"}) {
    EXPECT_EQ(load_model(source(name)).model.config.name, "ViTForImageClassification") << name;
  }
  EXPECT_THAT(
      testing::error_of([] { load_model(source("someone/else")); }),
      AllOf(HasSubstr("nor in the Hugging Face cache"), HasSubstr("hf download someone/else")));
  ASSERT_EQ(unsetenv("HF_HUB_CACHE"), 0);
}

TEST_F(Load, ClassNamesComeFromTheFoldersFiles) {
  EXPECT_THAT(load_model(source(kArchitectures / "transformers_vit_no_qkv_bias")).class_names,
              Contains("great white shark"));
  // The names LABEL_0, LABEL_1, ... say nothing.
  const fs::path model = copy_of("transformers_vit_no_qkv_bias");
  std::ifstream in(model / "config.json");
  std::string text((std::istreambuf_iterator<char>(in)), {});
  int number = 0;
  for (const char* name : {"tench", "goldfish", "great white shark", "tiger shark", "hammerhead",
                           "stingray", "cock", "hen", "ostrich", "brambling"}) {
    const std::string quoted = "\"" + std::string(name) + "\"";
    const auto at = text.find(quoted);
    ASSERT_NE(at, std::string::npos) << name;
    text.replace(at, quoted.size(), "\"LABEL_" + std::to_string(number++) + "\"");
  }
  std::ofstream(model / "config.json") << text;
  EXPECT_THAT(load_model(source(model)).class_names, ElementsAre());
}

TEST_F(Load, AConfigMaySayOnlyWhatTheFilesDoNot) {
  const fs::path file = kArchitectures / "timm_swin_old_pth/model.pth";
  const fs::path config =
      write("more.json", R"({"mean": [0.5, 0.5, 0.5], "crop_pct": 1.0, "img_size": 32})");
  const ModelConfig plain = load_model(source(file)).model.config;
  const LoadedModel loaded = load_model(source(file, config));
  EXPECT_EQ(loaded.model.config.preprocessing.mean[0], 0.5F);
  EXPECT_EQ(loaded.model.config.preprocessing.std, plain.preprocessing.std);
  EXPECT_EQ(loaded.model.config.preprocessing.resize, 32);
  EXPECT_EQ(loaded.model.config.depths, plain.depths);
  EXPECT_THAT(loaded.notes, ::testing::Not(Contains(HasSubstr("how images are prepared"))));
}

TEST_F(Load, ACropModeThatIsNotSupportedNeedsAnotherOneInAConfig) {
  const fs::path model = copy_of("timm_vit");
  std::ifstream in(model / "config.json");
  std::string text((std::istreambuf_iterator<char>(in)), {});
  const std::string center = "\"crop_mode\": \"center\"";
  ASSERT_NE(text.find(center), std::string::npos);
  text.replace(text.find(center), center.size(), "\"crop_mode\": \"border\"");
  std::ofstream(model / "config.json") << text;
  EXPECT_THAT(testing::error_of([&] { load_model(source(model)); }),
              AllOf(HasSubstr("config.json: crop_mode 'border' is not supported"),
                    HasSubstr("--config FILE.json")));
  const fs::path config = write("more.json", R"({"resize_mode": "squash"})");
  EXPECT_EQ(load_model(source(model, config)).model.config.preprocessing.resize_mode,
            ResizeMode::squash);
}

TEST_F(Load, WhatIsAssumedIsSaid) {
  const auto notes = load_model(source(kArchitectures / "timm_vit_pth/model.pth")).notes;
  EXPECT_THAT(notes, Contains(HasSubstr("does not say how many heads it has; 1 are assumed")));
  EXPECT_THAT(notes, Contains(HasSubstr("does not say how images are prepared")));
  const fs::path bare = copy_of("transformers_dinov2_model");
  fs::remove(bare / "preprocessor_config.json");
  EXPECT_THAT(load_model(source(bare)).notes,
              Contains(HasSubstr("there is no preprocessor_config.json")));
}

TEST_F(Load, OtherSizesInterpolatePositionsAndSaySo) {
  ModelSource larger = source(kArchitectures / "timm_vit");
  larger.image_size = 48;
  const LoadedModel loaded = load_model(larger);
  EXPECT_EQ(loaded.model.config.img_size, 48U);
  EXPECT_EQ(loaded.model.config.preprocessing.crop, 48);
  EXPECT_THAT(loaded.notes, Contains(HasSubstr("positions are interpolated from 32 to 48 pixels")));
  larger.image_size = 30;
  EXPECT_THAT(testing::error_of([&] { load_model(larger); }),
              HasSubstr("no multiple of its patches, 4 pixels"));
}

TEST_F(Load, TheOriginalDinov2HasItsOwnNamesOfSwiGlu) {
  const fs::path model = copy_of("timm_dinov2_swiglu");
  const Model timm = load_model(source(model)).model;
  EXPECT_EQ(timm.config.activation, Activation::swiglu);
  std::vector<testing::OwnedTensor> tensors =
      testing::tensors_of(Safetensors::open(model / "model.safetensors"));
  std::size_t renamed = 0;
  for (testing::OwnedTensor& tensor : tensors) {
    for (const auto& [from, to] :
         {std::pair(".mlp.fc1.", ".mlp.w12."), {".mlp.fc2.", ".mlp.w3."}}) {
      if (const auto at = tensor.name.find(from); at != std::string::npos) {
        tensor.name.replace(at, std::string(from).size(), to);
        ++renamed;
      }
    }
  }
  EXPECT_EQ(renamed, 4U);
  testing::write_tensors(model / "model.safetensors", tensors);
  const Model original = load_model(source(model)).model;
  EXPECT_EQ(original.config.activation, Activation::swiglu);
  const Block& block = original.stages[0].blocks[0];
  EXPECT_EQ(block.fc1.weight, timm.stages[0].blocks[0].fc1.weight);
  EXPECT_EQ(block.fc2.weight, timm.stages[0].blocks[0].fc2.weight);
}

TEST_F(Load, OtherRotaryPositionsAreRefusedByName) {
  const fs::path model = copy_of("timm_eva02");
  EXPECT_EQ(load_model(source(model)).model.config.rope_grid, 8U);
  const auto refusal_of = [&](const std::string& architecture) {
    write(model / "config.json", R"({"architecture": ")" + architecture + R"("})");
    return testing::error_of([&] { load_model(source(model)); });
  };
  for (const char* architecture : {"vit_small_patch16_rope_ape_224", "vit_pe_core_tiny_patch16_384",
                                   "eva02_base_patch16_clip_224"}) {
    EXPECT_THAT(refusal_of(architecture), HasSubstr("rotary positions")) << architecture;
  }
  fs::remove(model / "config.json");
  EXPECT_THAT(testing::error_of([&] { load_model(source(model)); }),
              HasSubstr("EVA-02's rotary positions, but no config.json"));
}

TEST_F(Load, ClassifiersOnImageTowersOfClip) {
  const auto replace_in_config = [](const fs::path& model, const char* from, const char* to) {
    std::ifstream in(model / "config.json");
    std::string text((std::istreambuf_iterator<char>(in)), {});
    ASSERT_NE(text.find(from), std::string::npos) << from;
    text.replace(text.find(from), std::string(from).size(), to);
    std::ofstream(model / "config.json") << text;
  };
  // Without names, timm's head is OpenAI's projection.
  const fs::path timm = copy_of("timm_clip_quickgelu");
  EXPECT_EQ(load_model(source(timm)).model.config.num_classes, 0U);
  replace_in_config(timm, "{",
                    R"({"label_names": ["a","b","c","d","e","f","g","h","i","j","k","l"],)");
  const LoadedModel classifier = load_model(source(timm));
  EXPECT_EQ(classifier.model.config.num_classes, 12U);
  EXPECT_EQ(classifier.class_names.back(), "l");
  const fs::path clip = copy_of("transformers_clip");
  replace_in_config(clip, "\"CLIPModel\"", "\"CLIPForImageClassification\"");
  EXPECT_THAT(testing::error_of([&] { load_model(source(clip)); }),
              HasSubstr("CLIPForImageClassification is not supported"));
}

TEST_F(Load, Dinov3NeedsItsConfig) {
  const fs::path model = copy_of("transformers_dinov3");
  const ModelConfig config = load_model(source(model)).model.config;
  EXPECT_EQ(config.rope_theta, 100);
  EXPECT_EQ(config.prefix_tokens, 5U);
  fs::remove(model / "config.json");
  EXPECT_THAT(testing::error_of([&] { load_model(source(model)); }),
              AllOf(HasSubstr("no position embedding"), HasSubstr("config.json")));
}

struct BadFile {
  const char* file;
  const char* from;
  const char* to;
  const char* message;
};

TEST_F(Load, FilesThatCannotBeMeantAreNamed) {
  for (const BadFile& bad : {
           BadFile{"config.json", "\"vit\"", "\"bert\"", "models of the type 'bert'"},
           BadFile{"config.json", "\"gelu\"", "\"relu\"", "hidden_act 'relu'"},
           BadFile{"config.json", "{", "[", "config.json"},
           BadFile{"config.json", "\"model_type\"", "\"kind\"", "neither timm's nor transformers'"},
           BadFile{"preprocessor_config.json", "\"resample\": 2", "\"resample\": 9", "'resample'"},
           BadFile{"preprocessor_config.json", "\"width\": 32", "\"width\": 16", "only squares"},
           BadFile{"preprocessor_config.json", "\"image_mean\": [", "\"image_mean\": [127.5, ",
                   "three numbers from 0 to 1"},
           BadFile{"preprocessor_config.json", "ViTImage", "SamImage", "the image processor"},
       }) {
    const fs::path model = copy_of("transformers_vit_classifier");
    std::ifstream in(model / bad.file);
    std::string text((std::istreambuf_iterator<char>(in)), {});
    ASSERT_NE(text.find(bad.from), std::string::npos) << bad.from;
    text.replace(text.find(bad.from), std::string(bad.from).size(), bad.to);
    std::ofstream(model / bad.file) << text;
    const std::string error = testing::error_of([&] { load_model(source(model)); });
    EXPECT_THAT(error, AllOf(HasSubstr(bad.file), HasSubstr(bad.message)));
    fs::remove_all(model);
  }
}

TEST_F(Load, WhatPreprocessingIsAssumedIsTold) {
  const fs::path timm = copy_of("timm_vit");
  EXPECT_THAT(load_model(source(timm)).notes, Not(Contains(HasSubstr("defaults are taken"))));
  const auto write_config = [&](const std::string& pretrained) {
    std::ofstream(timm / "config.json")
        << R"({"architecture": "vit_tiny_patch16_224", "model_args": {"num_heads": 2},
               "pretrained_cfg": {"input_size": [3, 32, 32])"
        << pretrained << "}}";
  };
  write_config(R"(, "mean": [0.5, 0.5, 0.5], "interpolation": "random")");
  EXPECT_THAT(
      load_model(source(timm)).notes,
      AllOf(Contains(HasSubstr("pretrained_cfg has no std, crop_pct; timm's defaults are taken")),
            Contains(HasSubstr("its interpolation is random; bicubic is taken"))));
  const fs::path vit = copy_of("transformers_vit_classifier");
  EXPECT_THAT(load_model(source(vit)).notes, Not(Contains(HasSubstr("defaults are taken"))));
  std::ofstream(vit / "preprocessor_config.json") << R"({"image_mean": [0.5, 0.5, 0.5]})";
  const LoadedModel loaded = load_model(source(vit));
  EXPECT_THAT(loaded.notes,
              AllOf(Contains(HasSubstr("preprocessor_config.json has no resample, image_std; ViT's "
                                       "defaults are taken")),
                    Contains(HasSubstr("has no size; the model's 32 pixels are taken"))));
  EXPECT_EQ(loaded.model.config.img_size, 32U);  // the model's, not the processor's
  std::ofstream(vit / "preprocessor_config.json")
      << R"({"image_processor_type": "DeiTImageProcessor", "crop_size": 40, "size": null})";
  EXPECT_EQ(load_model(source(vit)).model.config.img_size, 40U);
}

TEST_F(Load, AFolderWithoutWeightsSaysWhatItHolds) {
  write("readme.txt", "hello");
  EXPECT_THAT(testing::error_of([&] { load_model(source(folder_)); }), HasSubstr("readme.txt"));
}

TEST_F(Load, TwoDescriptionsOfOneModelAreRefused) {
  ModelSource both = source(kArchitectures / "timm_vit");
  both.weights = kArchitectures / "timm_vit_pth/model.pth";
  EXPECT_THAT(testing::error_of([&] { load_model(both); }), HasSubstr("both name files"));
}

}  // namespace
}  // namespace bitlog2
