// Model configurations in JSON. A config is checked here once, so that all other code can rely on
// sizes that go together.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <numeric>
#include <set>

#include "bitlog2/error.h"
#include "bitlog2/model.h"
#include "io/nearest_word.h"
#include "model/config_reader.h"
#include "model/json_object.h"
#include "model/preprocessing.h"

namespace bitlog2 {
namespace {

using nlohmann::json;

// Generous bounds; what stays inside them has a structure of at most a few hundred MB.
constexpr std::size_t kMaxBlocks = 1 << 10;  // in all stages
constexpr std::size_t kMaxWindow = 16;
constexpr std::size_t kMostPrefixTokens = 64;

/// The largest crop_pct from which preprocessing_for makes this resize.
double crop_share(const Preprocessing& preprocessing) {
  const double crop = preprocessing.crop;
  const double share = crop / preprocessing.resize;
  // The quotient may have been rounded up, and crop / share then falls short of resize.
  return std::floor(crop / share) < preprocessing.resize ? std::nextafter(share, 0.0) : share;
}

// ---- Its keys -----------------------------------------------------------------------------

constexpr auto kKeys = std::to_array<std::string_view>(
    {"name",        "family",       "img_size",      "patch_size",  "embed_dim",
     "depth",       "depths",       "num_heads",     "num_classes", "layer_norm_eps",
     "mlp_ratio",   "window_size",  "mean",          "std",         "crop_pct",
     "activation",  "pooling",      "prefix_tokens", "embed_norm",  "relative_position_bias",
     "rope_theta",  "rope_grid",    "pre_logits",    "projection",  "interpolation",
     "resize_mode", "crop_rounding"});

constexpr std::array kActivations = {
    Choice{Activation::gelu, "gelu"}, Choice{Activation::gelu_tanh, "gelu_tanh"},
    Choice{Activation::quick_gelu, "quick_gelu"}, Choice{Activation::swiglu, "swiglu"}};

constexpr std::array kPoolings = {Choice{Pooling::class_token, "class_token"},
                                  Choice{Pooling::class_tokens, "class_tokens"},
                                  Choice{Pooling::mean, "mean"},
                                  Choice{Pooling::mean_then_norm, "mean_then_norm"},
                                  Choice{Pooling::class_and_mean, "class_and_mean"},
                                  Choice{Pooling::map, "map"}};

constexpr std::array kResizeModes = {Choice{ResizeMode::shorter, "shorter"},
                                     Choice{ResizeMode::squash, "squash"}};

constexpr std::array kCropRoundings = {Choice{CropRounding::torchvision, "torchvision"},
                                       Choice{CropRounding::transformers, "transformers"}};

/// Refuses the configurations that other libraries keep beside their weights.
void check_is_ours(const json& object, const std::string& where) {
  const auto has = [&](const char* key) { return object.contains(key); };
  const char* library = nullptr;
  if (has("architecture") || has("pretrained_cfg")) {
    library = "timm";
  } else if (has("model_type") || has("architectures") || has("hidden_size")) {
    library = "Hugging Face transformers";
  }
  if (library != nullptr && !has("family")) {
    throw Error(fmt::format(
        "{}: config: this is a configuration of {}, whose keys are others; write one with the "
        "keys {} (docs/datasets-and-configs.md)",
        where, library, fmt::join(kKeys, ", ")));
  }
}

/// Refuses keys that are not known and the lack of keys that are needed, all in one message.
void check_keys(const json& object, const std::string& where) {
  constexpr std::size_t kMostNamed = 8;
  check_is_ours(object, where);
  std::vector<std::string> wrong;
  std::set<std::string_view> meant;
  for (const auto& [key, value] : object.items()) {
    // Keys that begin with _ are comments.
    if (key.starts_with('_') || std::ranges::find(kKeys, key) != kKeys.end()) {
      continue;
    }
    const std::string_view nearest = nearest_word(key, kKeys);
    meant.insert(nearest);
    if (wrong.size() < kMostNamed) {
      wrong.push_back(fmt::format("unknown key '{}'", key.substr(0, 64)) +
                      (nearest.empty() ? "" : fmt::format("; did you mean '{}'?", nearest)));
    }
  }
  const bool has_depth = object.contains("depth") || object.contains("depths") ||
                         meant.contains("depth") || meant.contains("depths");
  std::vector<std::string_view> needed = {"family",    "img_size",    "patch_size",    "embed_dim",
                                          "num_heads", "num_classes", "layer_norm_eps"};
  const bool is_swin = object.contains("family") && object["family"] == "swin";
  if (!has_depth) {
    needed.insert(needed.begin() + 4, is_swin ? "depths" : "depth");
  }
  if (is_swin) {
    needed.emplace_back("window_size");
  }
  std::vector<std::string> missing;
  for (const std::string_view key : needed) {
    if (!object.contains(key) && !meant.contains(key)) {
      missing.push_back(fmt::format("'{}'", key));
    }
  }
  if (!missing.empty()) {
    wrong.push_back(
        fmt::format("{} {} missing", fmt::join(missing, ", "), missing.size() == 1 ? "is" : "are"));
  }
  if (!wrong.empty()) {
    throw Error(fmt::format("{}: config: {} (docs/datasets-and-configs.md)", where,
                            fmt::join(wrong, "; ")));
  }
  if (object.contains("depth") && object.contains("depths")) {
    throw Error(fmt::format("{}: config: give depth or depths, not both", where));
  }
}

std::string of_unit_range(const char* key, const Channels& values) {
  return fmt::format("\"{}\": [{:.6g}, {:.6g}, {:.6g}]", key, values[0] / 255, values[1] / 255,
                     values[2] / 255);
}

/// Mean and standard deviation are of pixels from 0 to 1; many configurations have them of 0 to
/// 255, with which images would be classified wrongly.
void check_range(const ConfigReader& reader, const Preprocessing& preprocessing) {
  const bool mean = is_of_bytes(preprocessing.mean);
  const bool std = is_of_bytes(preprocessing.std);
  const bool any_mean = preprocessing.mean == Channels{};
  if (mean && std) {
    reader.fail(fmt::format(
        "mean and std are of pixels from 0 to 255; write them for 0 to 1: {}, {}",
        of_unit_range("mean", preprocessing.mean), of_unit_range("std", preprocessing.std)));
  }
  if (std && any_mean) {
    reader.fail(fmt::format("std is of pixels from 0 to 255; write it for 0 to 1: {}",
                            of_unit_range("std", preprocessing.std)));
  }
  if (mean || std) {
    reader.fail(fmt::format(
        "{} is of pixels from 0 to 255 and {} of 0 to 1{}; write both for 0 to 1, {} if that one "
        "is right",
        mean ? "mean" : "std", mean ? "std" : "mean",
        reader.has(mean ? "std" : "mean") ? "" : ", its default",
        mean ? of_unit_range("mean", preprocessing.mean)
             : of_unit_range("std", preprocessing.std)));
  }
}

Preprocessing read_preprocessing(const ConfigReader& reader, std::size_t img_size) {
  const double crop_pct = reader.has("crop_pct") ? reader.number("crop_pct", 0.1, 1.0) : 0.875;
  Preprocessing result = preprocessing_for(img_size, crop_pct);
  if (reader.has("mean")) {
    result.mean = reader.per_channel("mean", 0.0F);
  }
  if (reader.has("std")) {
    result.std = reader.per_channel("std", 1e-6F);
  }
  if (reader.has("interpolation")) {
    result.filter = reader.word("interpolation", find_filter);
  }
  if (reader.has("resize_mode")) {
    result.resize_mode = reader.choice("resize_mode", kResizeModes);
  }
  if (reader.has("crop_rounding")) {
    result.crop_rounding = reader.choice("crop_rounding", kCropRoundings);
  }
  check_range(reader, result);
  return result;
}

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

void read_variant(const ConfigReader& reader, ModelConfig& config) {
  if (reader.has("activation")) {
    config.activation = reader.choice("activation", kActivations);
  }
  if (reader.has("pooling")) {
    config.pooling = reader.choice("pooling", kPoolings);
  }
  if (reader.has("prefix_tokens")) {
    config.prefix_tokens = reader.count("prefix_tokens", kMostPrefixTokens);
  }
  if (reader.has("embed_norm")) {
    config.embed_norm = reader.flag("embed_norm");
  }
  if (reader.has("relative_position_bias")) {
    config.relative_position_bias = reader.flag("relative_position_bias");
  }
  if (reader.has("rope_theta")) {
    config.rope_theta = reader.number("rope_theta", 1.0, 1e6);
  }
  if (reader.has("rope_grid")) {
    config.rope_grid = reader.size("rope_grid", 1 << 10);
  }
  if (reader.has("pre_logits")) {
    config.pre_logits = reader.size("pre_logits");
  }
  if (reader.has("projection")) {
    config.projection = reader.size("projection");
  }
}

/// Throws Error where the parts that a config names do not go together.
void check_variant(const ConfigReader& reader, const ModelConfig& config) {
  const std::size_t class_tokens =
      config.pooling == Pooling::class_and_mean ? 1 : tokens_read(config.pooling);
  if (config.prefix_tokens < class_tokens) {
    reader.fail(fmt::format("pooling '{}' reads {} class tokens, but prefix_tokens is {}",
                            name_of(kPoolings, config.pooling), class_tokens,
                            config.prefix_tokens));
  }
  if (config.family == Family::swin &&
      (config.prefix_tokens > 0 || config.embed_norm || config.relative_position_bias ||
       config.rope_theta > 0 || config.pooling == Pooling::map)) {
    reader.fail(
        "a swin has no prefix_tokens, embed_norm, relative_position_bias, rope_theta or pooling "
        "'map'");
  }
  if (config.rope_grid > 0 && config.rope_theta == 0) {
    reader.fail("rope_grid needs rope_theta");
  }
  if (config.rope_theta > 0 && config.embed_dim / config.num_heads[0] % 4 != 0) {
    reader.fail(fmt::format("rope_theta needs heads of a multiple of 4 channels; they have {}",
                            config.embed_dim / config.num_heads[0]));
  }
  if (config.relative_position_bias && config.prefix_tokens != 1) {
    reader.fail("relative_position_bias needs prefix_tokens 1, the class token");
  }
  if (config.projection > 0 && config.num_classes > 0) {
    reader.fail("projection is of a model without classes: num_classes 0");
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
  check_variant(reader, config);
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

ModelConfig parse_config(std::string_view json_text, const std::string& where) {
  const json object = parse_object(json_text, where + ": config");
  check_keys(object, where);
  const ConfigReader reader(object, where);
  const std::string family = reader.text("family");
  if (family != "vit" && family != "swin") {
    reader.fail(fmt::format("unknown family '{}'; choose vit or swin", family));
  }
  ModelConfig config = config_of(family == "vit" ? Family::vit : Family::swin);
  if (reader.has("name")) {
    config.name = reader.text("name");
  }
  config.img_size = reader.size("img_size", 1 << 14);
  config.patch_size = reader.size("patch_size", 1 << 10);
  config.embed_dim = reader.size("embed_dim");
  config.depths = reader.sizes(reader.has("depths") ? "depths" : "depth", kMaxBlocks);
  config.num_heads = reader.sizes("num_heads");
  config.num_classes = reader.count("num_classes", 1 << 20);
  config.layer_norm_eps = reader.number("layer_norm_eps", 1e-12F, 1.0F);
  if (config.family == Family::swin) {
    config.window_size = reader.size("window_size", kMaxWindow);
  }
  if (reader.has("mlp_ratio")) {
    config.mlp_ratio = reader.number("mlp_ratio", 1.0 / 64, 64.0);
  }
  read_variant(reader, config);
  config.preprocessing = read_preprocessing(reader, config.img_size);
  check_consistency(reader, config);
  return config;
}

namespace {

/// A whole number as one.
nlohmann::ordered_json number_to_json(double value) {
  return value == std::floor(value) ? nlohmann::ordered_json(static_cast<std::uint64_t>(value))
                                    : nlohmann::ordered_json(value);
}

/// Writes the features that differ from most models of the family.
void write_variant(const ModelConfig& config, nlohmann::ordered_json& object) {
  const ModelConfig usual = config_of(config.family);
  if (config.activation != usual.activation) {
    object["activation"] = name_of(kActivations, config.activation);
  }
  if (config.pooling != usual.pooling) {
    object["pooling"] = name_of(kPoolings, config.pooling);
  }
  if (config.prefix_tokens != usual.prefix_tokens) {
    object["prefix_tokens"] = config.prefix_tokens;
  }
  if (config.embed_norm) {
    object["embed_norm"] = true;
  }
  if (config.relative_position_bias) {
    object["relative_position_bias"] = true;
  }
  if (config.rope_theta > 0) {
    object["rope_theta"] = number_to_json(config.rope_theta);
  }
  if (config.rope_grid > 0) {
    object["rope_grid"] = config.rope_grid;
  }
  if (config.pre_logits > 0) {
    object["pre_logits"] = config.pre_logits;
  }
  if (config.projection > 0) {
    object["projection"] = config.projection;
  }
}

/// Writes the resize only where it is not the default, so that files from before these keys keep
/// their bytes.
void write_resize(const Preprocessing& preprocessing, nlohmann::ordered_json& object) {
  const Preprocessing usual;
  if (preprocessing.filter != usual.filter) {
    object["interpolation"] = kFilterNames[static_cast<std::size_t>(preprocessing.filter)];
  }
  if (preprocessing.resize_mode != usual.resize_mode) {
    object["resize_mode"] = name_of(kResizeModes, preprocessing.resize_mode);
  }
  if (preprocessing.crop_rounding != usual.crop_rounding) {
    object["crop_rounding"] = name_of(kCropRoundings, preprocessing.crop_rounding);
  }
}

}  // namespace

std::string config_to_json(const ModelConfig& config) {
  nlohmann::ordered_json object = {
      {"name", config.name},
      {"family", config.family == Family::vit ? "vit" : "swin"},
      {"img_size", config.img_size},
      {"patch_size", config.patch_size},
      {"embed_dim", config.embed_dim},
      {"depths", config.depths},
      {"num_heads", config.num_heads},
      {"mlp_ratio", number_to_json(config.mlp_ratio)},
      {"num_classes", config.num_classes},
      {"layer_norm_eps", config.layer_norm_eps},
      {"mean", config.preprocessing.mean},
      {"std", config.preprocessing.std},
      {"crop_pct", crop_share(config.preprocessing)},
  };
  if (config.family == Family::swin) {
    object["window_size"] = config.window_size;
  }
  write_variant(config, object);
  write_resize(config.preprocessing, object);
  return object.dump();
}

}  // namespace bitlog2
