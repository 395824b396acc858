// The published models, by their names here and at timm.
#include <fmt/format.h>

#include <algorithm>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "bitlog2/error.h"
#include "bitlog2/model.h"
#include "io/nearest_word.h"
#include "model/preprocessing.h"

namespace bitlog2 {
namespace {

ModelConfig vit(std::string name, std::size_t dim, std::size_t heads, double crop_pct) {
  ModelConfig config;
  config.name = std::move(name);
  config.embed_dim = dim;
  config.num_heads = {heads};
  config.preprocessing = preprocessing_for(config.img_size, crop_pct);
  return config;
}

ModelConfig half_normalised(ModelConfig config) {
  config.preprocessing.mean = {0.5F, 0.5F, 0.5F};
  config.preprocessing.std = {0.5F, 0.5F, 0.5F};
  return config;
}

ModelConfig swin(std::string name, std::size_t third_stage_depth) {
  ModelConfig config = config_of(Family::swin);
  config.name = std::move(name);
  config.patch_size = 4;
  config.embed_dim = 96;
  config.depths = {2, 2, third_stage_depth, 2};
  config.num_heads = {3, 6, 12, 24};
  config.layer_norm_eps = 1e-5F;
  config.preprocessing = preprocessing_for(config.img_size, 0.9);
  return config;
}

constexpr std::string_view kOwner = "timm/";

/// "deit_tiny_patch16_224" of "timm/deit_tiny_patch16_224.fb_in1k".
std::string_view without_owner_and_tag(std::string_view name) {
  name = name.substr(name.rfind('/') + 1);  // npos + 1 is 0
  return name.substr(0, name.find('.'));
}

/// True if timm calls the model of `repository` ("timm/deit_tiny_patch16_224.fb_in1k") by `name`,
/// with or without the owner and the tag behind the dot.
bool is_timm_name(std::string_view name, std::string_view repository) {
  if (name.starts_with(kOwner)) {
    name.remove_prefix(kOwner.size());
  }
  return name == repository.substr(kOwner.size()) || name == without_owner_and_tag(repository);
}

/// A name as it is compared: without the prefix that timm takes for models on the hub, in lower
/// case and with underscores.
std::string folded(std::string_view name) {
  std::string result(name);
  std::ranges::transform(result, result.begin(), [](char letter) {
    return letter == '-'                    ? '_'
           : letter >= 'A' && letter <= 'Z' ? static_cast<char>(letter - 'A' + 'a')
                                            : letter;
  });
  constexpr std::string_view kHub = "hf_hub:";
  return result.starts_with(kHub) ? result.substr(kHub.size()) : result;
}

/// The published model whose name, here or by timm, is nearest to `name`; nullptr if none is near.
const NamedModel* nearest_model(std::string_view name) {
  std::vector<std::string_view> known;
  for (const NamedModel& model : named_models()) {
    known.push_back(model.config.name);
    known.push_back(without_owner_and_tag(model.repository));
  }
  const std::string_view nearest = nearest_word(without_owner_and_tag(name), known);
  const auto at = static_cast<std::size_t>(std::ranges::find(known, nearest) - known.begin());
  return at < known.size() ? &named_models()[at / 2] : nullptr;
}

}  // namespace

const std::vector<NamedModel>& named_models() {
  static const std::vector<NamedModel> models = {
      {half_normalised(vit("vit_small", 384, 6, 0.9)),
       "timm/vit_small_patch16_224.augreg_in21k_ft_in1k"},
      {half_normalised(vit("vit_base", 768, 12, 0.9)),
       "timm/vit_base_patch16_224.augreg_in21k_ft_in1k"},
      {vit("deit_tiny", 192, 3, 0.875), "timm/deit_tiny_patch16_224.fb_in1k"},
      {vit("deit_small", 384, 6, 0.875), "timm/deit_small_patch16_224.fb_in1k"},
      {vit("deit_base", 768, 12, 0.875), "timm/deit_base_patch16_224.fb_in1k"},
      {swin("swin_tiny", 6), "timm/swin_tiny_patch4_window7_224.ms_in1k"},
      {swin("swin_small", 18), "timm/swin_small_patch4_window7_224.ms_in1k"},
  };
  return models;
}

std::string model_names() {
  std::string names;
  for (const NamedModel& model : named_models()) {
    names += (names.empty() ? "" : ", ") + model.config.name;
  }
  return names;
}

const NamedModel& find_named_model(std::string_view name) {
  const std::string wanted = folded(name);
  for (const NamedModel& model : named_models()) {
    if (model.config.name == wanted || is_timm_name(wanted, model.repository)) {
      return model;
    }
  }
  const NamedModel* nearest = nearest_model(wanted);
  throw Error(fmt::format(
      "unknown model '{}'; {}choose one of {}", name,
      nearest == nullptr ? "" : fmt::format("did you mean {}? Else ", nearest->config.name),
      model_names()));
}

}  // namespace bitlog2
