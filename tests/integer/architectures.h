// Small configurations of every architecture that the integer engine runs, and models of them with
// random weights.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#include "bitlog2/model.h"

namespace bitlog2::testing {

inline ModelConfig tiny_config(Family family) {
  ModelConfig config = config_of(family);
  config.img_size = 8;
  config.patch_size = family == Family::vit ? 4 : 2;
  config.embed_dim = 8;
  config.depths =
      family == Family::vit ? std::vector<std::size_t>{1} : std::vector<std::size_t>{2, 1};
  config.num_heads =
      family == Family::vit ? std::vector<std::size_t>{2} : std::vector<std::size_t>{2, 4};
  config.window_size = 2;
  config.num_classes = 3;
  config.preprocessing.crop = static_cast<int>(config.img_size);
  config.preprocessing.resize = static_cast<int>(config.img_size);
  return config;
}

/// An architecture of published models, with a name for tests.
struct Architecture {
  std::string name;
  ModelConfig config;
};

/// All architectures, in sizes that are small, but in which a change of one code is only noise.
inline std::vector<Architecture> architectures() {
  ModelConfig vit = tiny_config(Family::vit);
  vit.img_size = 16;
  vit.embed_dim = 24;
  vit.depths = {2};
  vit.num_heads = {3};
  vit.num_classes = 10;
  vit.preprocessing.crop = 16;
  vit.preprocessing.resize = 16;
  const auto with = [&](const char* name, const auto& change) {
    Architecture result = {name, vit};
    change(result.config);
    return result;
  };
  ModelConfig swin = tiny_config(Family::swin);
  swin.num_classes = 0;
  return {
      with("vit", [](ModelConfig&) {}),
      with("distilled",
           [](ModelConfig& config) {
             config.prefix_tokens = 2;
             config.pooling = Pooling::class_tokens;
           }),
      with("patches_alone",  // DeiT-3 without a class token
           [](ModelConfig& config) {
             config.prefix_tokens = 0;
             config.pooling = Pooling::mean;
           }),
      with("mean", [](ModelConfig& config) { config.pooling = Pooling::mean; }),
      with("mean_then_norm", [](ModelConfig& config) { config.pooling = Pooling::mean_then_norm; }),
      with("dinov2", [](ModelConfig& config) { config.pooling = Pooling::class_and_mean; }),
      with("registers",
           [](ModelConfig& config) {
             config.prefix_tokens = 5;
             config.pooling = Pooling::class_and_mean;
           }),
      with("clip",
           [](ModelConfig& config) {
             config.activation = Activation::quick_gelu;
             config.embed_norm = true;
             config.num_classes = 0;
             config.projection = 12;
           }),
      with("siglip",
           [](ModelConfig& config) {
             config.activation = Activation::gelu_tanh;
             config.prefix_tokens = 0;
             config.pooling = Pooling::map;
             config.num_classes = 0;
           }),
      with("beit",
           [](ModelConfig& config) {
             config.relative_position_bias = true;
             config.pooling = Pooling::mean_then_norm;
           }),
      with("biased_class_token", [](ModelConfig& config) { config.relative_position_bias = true; }),
      with("pre_logits", [](ModelConfig& config) { config.pre_logits = 20; }),
      with("pre_logits_projected",
           [](ModelConfig& config) {
             config.pre_logits = 20;
             config.num_classes = 0;
             config.projection = 12;
           }),
      with("encoder", [](ModelConfig& config) { config.num_classes = 0; }),
      with("rotary",  // DINOv3
           [](ModelConfig& config) {
             config.rope_theta = 100;
             config.prefix_tokens = 5;
           }),
      with("eva02",
           [](ModelConfig& config) {
             config.rope_theta = 10000;
             config.rope_grid = 3;
             config.activation = Activation::swiglu;
             config.pooling = Pooling::mean_then_norm;
           }),
      with("swiglu",  // whose last group of outputs is not full
           [](ModelConfig& config) {
             config.activation = Activation::swiglu;
             config.mlp_ratio = 43.0 / 24;
           }),
      {"swin_encoder", swin},
  };
}

inline const ModelConfig& architecture(const std::string& name) {
  static const std::vector<Architecture> all = architectures();
  const auto found = std::ranges::find(all, name, &Architecture::name);
  if (found == all.end()) {
    throw std::out_of_range("no architecture is called " + name);
  }
  return found->config;
}

/// The architecture with two patches per side, for tests that run damaged files thousands of times.
inline ModelConfig tiny_architecture(const std::string& name) {
  ModelConfig config = architecture(name);
  const ModelConfig tiny = tiny_config(config.family);
  config.img_size = tiny.img_size;
  config.embed_dim = tiny.embed_dim;
  config.depths = tiny.depths;
  config.num_heads = tiny.num_heads;
  config.preprocessing = tiny.preprocessing;
  config.num_classes = std::min(config.num_classes, tiny.num_classes);
  config.pre_logits = std::min<std::size_t>(config.pre_logits, 5);
  config.projection = std::min<std::size_t>(config.projection, 4);
  return config;
}

/// make_random_model, with random values also for what is constant in a new network: biases,
/// positions and norms. The query of attention pooling does not depend on the image, as in every
/// loaded model.
inline Model random_model(const ModelConfig& config, std::uint32_t seed = 3) {
  Model model = make_random_model(config, seed);
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0.0F, 0.4F);
  for_each_parameter(model, [&](const Parameter& parameter) {
    const bool is_weight = parameter.name.ends_with(".weight");
    if (is_weight && parameter.name.find("norm") == std::string::npos) {
      return;
    }
    // The position bias is so large that it decides to which tokens a token attends.
    const float factor = parameter.name.ends_with("bias_table") ? 5.0F : 1.0F;
    for (float& value : parameter.values) {
      value = factor * normal(random) + (is_weight ? 1.0F : 0.0F);
    }
  });
  if (model.attention_pooling) {
    Linear& qkv = model.attention_pooling->attn.qkv;
    std::fill_n(qkv.weight.begin(), qkv.weight.size() / 3, 0.0F);
  }
  return model;
}

}  // namespace bitlog2::testing
