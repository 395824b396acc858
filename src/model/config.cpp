// Model configurations: the published models, and JSON. A config is checked here once,
// so that nothing after it meets sizes that do not go together.
#include <fmt/format.h>

#include <cmath>
#include <nlohmann/json.hpp>
#include <numeric>

#include "bitlog2/error.h"
#include "bitlog2/model.h"

namespace bitlog2 {
namespace {

using nlohmann::json;

// Generous bounds; what stays inside them has a structure of at most a few hundred MB.
constexpr std::size_t kMaxSize = 1 << 16;    // channels, tokens
constexpr std::size_t kMaxBlocks = 1 << 10;  // in all stages
constexpr std::size_t kMaxWindow = 16;

Preprocessing preprocessing_for(std::size_t img_size, double crop_pct) {
  Preprocessing result;
  result.crop = static_cast<int>(img_size);
  result.resize = static_cast<int>(std::floor(static_cast<double>(img_size) / crop_pct));
  return result;
}

/// The largest crop_pct from which preprocessing_for makes this resize.
double crop_share(const Preprocessing& preprocessing) {
  const double crop = preprocessing.crop;
  const double share = crop / preprocessing.resize;
  // The quotient may have been rounded up, and crop / share then falls short of resize.
  return std::floor(crop / share) < preprocessing.resize ? std::nextafter(share, 0.0) : share;
}

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
  ModelConfig config;
  config.name = std::move(name);
  config.family = Family::swin;
  config.patch_size = 4;
  config.embed_dim = 96;
  config.depths = {2, 2, third_stage_depth, 2};
  config.num_heads = {3, 6, 12, 24};
  config.layer_norm_eps = 1e-5F;
  config.preprocessing = preprocessing_for(config.img_size, 0.9);
  return config;
}

/// Reads one JSON object's members; every failure names the file and the key.
class ConfigReader {
 public:
  ConfigReader(const json& object, const std::string& where) : object_(object), where_(where) {}

  [[noreturn]] void fail(const std::string& what) const {
    throw Error(fmt::format("{}: config: {}", where_, what));
  }

  bool has(const char* key) const { return object_.contains(key); }

  std::size_t size(const char* key, std::size_t largest = kMaxSize) const {
    return checked_size(key, member(key), largest);
  }

  std::vector<std::size_t> sizes(const char* key, std::size_t largest = kMaxSize) const {
    const json& value = member(key);
    if (!value.is_array()) {
      return {checked_size(key, value, largest)};
    }
    if (value.empty() || value.size() > 16) {
      fail(fmt::format("'{}' needs 1 to 16 entries", key));
    }
    std::vector<std::size_t> result;
    for (const json& item : value) {
      result.push_back(checked_size(key, item, largest));
    }
    return result;
  }

  double number(const char* key, double low, double high) const {
    const json& value = member(key);
    if (!value.is_number()) {
      fail(fmt::format("'{}' must be a number", key));
    }
    const double result = value.get<double>();
    if (!(result >= low && result <= high)) {
      fail(fmt::format("'{}' is {}, outside {} to {}", key, result, low, high));
    }
    return result;
  }

  std::string text(const char* key) const {
    const json& value = member(key);
    if (!value.is_string()) {
      fail(fmt::format("'{}' must be a string", key));
    }
    return value.get<std::string>();
  }

  std::array<float, 3> per_channel(const char* key, float low) const {
    const json& value = member(key);
    std::array<float, 3> result = {};
    if (!value.is_array() || value.size() != result.size()) {
      fail(fmt::format("'{}' needs three numbers", key));
    }
    for (std::size_t i = 0; i < result.size(); ++i) {
      if (!value[i].is_number() || !(value[i].get<float>() >= low) ||
          !(value[i].get<float>() <= 1e3F)) {
        fail(fmt::format("'{}' needs three numbers from {} to 1000", key, low));
      }
      result[i] = value[i].get<float>();
    }
    return result;
  }

 private:
  const json& member(const char* key) const {
    if (!object_.contains(key)) {
      fail(fmt::format("'{}' is missing", key));
    }
    return object_[key];
  }

  std::size_t checked_size(const char* key, const json& value, std::size_t largest) const {
    if (!value.is_number_unsigned() || value.get<std::uint64_t>() < 1 ||
        value.get<std::uint64_t>() > largest) {
      fail(fmt::format("'{}' must be a whole number from 1 to {}", key, largest));
    }
    return value.get<std::size_t>();
  }

  const json& object_;
  const std::string& where_;
};

void check_swin_grid(const ConfigReader& reader, const ModelConfig& config) {
  std::size_t grid = config.img_size / config.patch_size;
  for (std::size_t stage = 0; stage < config.depths.size(); ++stage) {
    if (grid > config.window_size && grid % config.window_size != 0) {
      reader.fail(fmt::format("stage {} has {} x {} tokens, which windows of {} do not tile", stage,
                              grid, grid, config.window_size));
    }
    if (stage + 1 < config.depths.size() && grid % 2 != 0) {
      reader.fail(fmt::format("stage {} has an odd number of tokens per side, {}", stage, grid));
    }
    grid /= 2;
  }
}

void check_consistency(const ConfigReader& reader, const ModelConfig& config) {
  if (config.img_size % config.patch_size != 0) {
    reader.fail(fmt::format("img_size {} is no multiple of patch_size {}", config.img_size,
                            config.patch_size));
  }
  if (config.num_heads.size() != config.depths.size()) {
    reader.fail(fmt::format("{} stages but {} entries of num_heads", config.depths.size(),
                            config.num_heads.size()));
  }
  std::size_t channels = config.embed_dim;
  for (const std::size_t heads : config.num_heads) {
    if (channels % heads != 0) {
      reader.fail(fmt::format("{} channels do not split into {} heads", channels, heads));
    }
    if (channels > kMaxSize) {
      reader.fail(fmt::format("more than {} channels", kMaxSize));
    }
    channels *= 2;
  }
  if (std::accumulate(config.depths.begin(), config.depths.end(), std::size_t{0}) > kMaxBlocks) {
    reader.fail(fmt::format("more than {} blocks", kMaxBlocks));
  }
  const std::size_t grid = config.img_size / config.patch_size;
  if (grid * grid >= kMaxSize) {
    reader.fail(fmt::format("{} patches, more than {}", grid * grid, kMaxSize));
  }
  if (config.family == Family::vit) {
    if (config.depths.size() != 1) {
      reader.fail("a ViT has one stage: give depth, not depths");
    }
  } else {
    check_swin_grid(reader, config);
  }
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

const NamedModel& find_named_model(std::string_view name) {
  std::string choices;
  for (const NamedModel& model : named_models()) {
    if (model.config.name == name) {
      return model;
    }
    choices += (choices.empty() ? "" : ", ") + model.config.name;
  }
  throw Error(fmt::format("unknown model '{}'; choose one of {}", name, choices));
}

ModelConfig parse_config(std::string_view json_text, const std::string& where) {
  const json object = json::parse(json_text, nullptr, false);
  if (!object.is_object()) {
    throw Error(fmt::format("{}: config: not a JSON object", where));
  }
  const ConfigReader reader(object, where);
  ModelConfig config;
  const std::string family = reader.text("family");
  if (family != "vit" && family != "swin") {
    reader.fail(fmt::format("unknown family '{}'; choose vit or swin", family));
  }
  config.family = family == "vit" ? Family::vit : Family::swin;
  if (reader.has("name")) {
    config.name = reader.text("name");
  }
  config.img_size = reader.size("img_size", 1 << 14);
  config.patch_size = reader.size("patch_size", 1 << 10);
  config.embed_dim = reader.size("embed_dim");
  config.depths = reader.sizes(reader.has("depths") ? "depths" : "depth", kMaxBlocks);
  config.num_heads = reader.sizes("num_heads");
  config.num_classes = reader.size("num_classes", 1 << 20);
  config.layer_norm_eps = static_cast<float>(reader.number("layer_norm_eps", 1e-12, 1));
  if (config.family == Family::swin) {
    config.window_size = reader.size("window_size", kMaxWindow);
  }
  if (reader.has("mlp_ratio")) {
    config.mlp_ratio = reader.size("mlp_ratio", 1 << 6);
  }
  const double crop_pct = reader.has("crop_pct") ? reader.number("crop_pct", 0.1, 1) : 0.875;
  config.preprocessing = preprocessing_for(config.img_size, crop_pct);
  if (reader.has("mean")) {
    config.preprocessing.mean = reader.per_channel("mean", -1e3F);
  }
  if (reader.has("std")) {
    config.preprocessing.std = reader.per_channel("std", 1e-6F);
  }
  check_consistency(reader, config);
  return config;
}

std::string config_to_json(const ModelConfig& config) {
  nlohmann::ordered_json object = {
      {"name", config.name},
      {"family", config.family == Family::vit ? "vit" : "swin"},
      {"img_size", config.img_size},
      {"patch_size", config.patch_size},
      {"embed_dim", config.embed_dim},
      {"depths", config.depths},
      {"num_heads", config.num_heads},
      {"mlp_ratio", config.mlp_ratio},
      {"num_classes", config.num_classes},
      {"layer_norm_eps", config.layer_norm_eps},
      {"mean", config.preprocessing.mean},
      {"std", config.preprocessing.std},
      {"crop_pct", crop_share(config.preprocessing)},
  };
  if (config.family == Family::swin) {
    object["window_size"] = config.window_size;
  }
  return object.dump();
}

}  // namespace bitlog2
