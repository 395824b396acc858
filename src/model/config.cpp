// Model configurations in JSON. A config is checked here once, so that nothing after it meets sizes
// that do not go together.
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
#include "model/config_text.h"
#include "model/preprocessing.h"

namespace bitlog2 {
namespace {

using nlohmann::json;

// Generous bounds; what stays inside them has a structure of at most a few hundred MB.
constexpr std::size_t kMaxSize = 1 << 16;    // channels, tokens
constexpr std::size_t kMaxBlocks = 1 << 10;  // in all stages
constexpr std::size_t kMaxWindow = 16;

/// The largest crop_pct from which preprocessing_for makes this resize.
double crop_share(const Preprocessing& preprocessing) {
  const double crop = preprocessing.crop;
  const double share = crop / preprocessing.resize;
  // The quotient may have been rounded up, and crop / share then falls short of resize.
  return std::floor(crop / share) < preprocessing.resize ? std::nextafter(share, 0.0) : share;
}

// ---- Its keys -----------------------------------------------------------------------------

constexpr std::array<std::string_view, 18> kKeys = {
    "name",   "family",    "img_size",    "patch_size",     "embed_dim",   "depth",
    "depths", "num_heads", "num_classes", "layer_norm_eps", "mlp_ratio",   "window_size",
    "mean",   "std",       "crop_pct",    "interpolation",  "resize_mode", "crop_rounding"};

// In the orders of ResizeMode and of CropRounding.
constexpr std::array<std::string_view, 2> kResizeModeNames = {"shorter", "squash"};
constexpr std::array<std::string_view, 2> kCropRoundingNames = {"torchvision", "transformers"};

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

  /// The place of a text among `names`.
  std::size_t choice(const char* key, std::span<const std::string_view> names) const {
    const std::string word = text(key);
    const auto found = std::ranges::find(names, word);
    if (found == names.end()) {
      fail(fmt::format("unknown {} '{}'; choose {}", key, word.substr(0, 64),
                       fmt::join(names, ", ")));
    }
    return static_cast<std::size_t>(found - names.begin());
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
  const json& member(const char* key) const { return object_[key]; }

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

using Channels = std::array<float, 3>;

/// Whether these cannot be meant for pixels of 0 to 1. A zero fits any range.
bool is_of_bytes(const Channels& values) {
  return std::ranges::any_of(values, [](float value) { return std::abs(value) > 2; });
}

std::string of_unit_range(const char* key, const Channels& values) {
  return fmt::format("\"{}\": [{:.6g}, {:.6g}, {:.6g}]", key, values[0] / 255, values[1] / 255,
                     values[2] / 255);
}

/// Mean and standard deviation are of pixels from 0 to 1; many configurations have them of 0 to
/// 255, with which no image would be classified right.
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
  const double crop_pct = reader.has("crop_pct") ? reader.number("crop_pct", 0.1, 1) : 0.875;
  Preprocessing result = preprocessing_for(img_size, crop_pct);
  if (reader.has("mean")) {
    result.mean = reader.per_channel("mean", -1e3F);
  }
  if (reader.has("std")) {
    result.std = reader.per_channel("std", 1e-6F);
  }
  if (reader.has("interpolation")) {
    result.filter = static_cast<Filter>(reader.choice("interpolation", kFilterNames));
  }
  if (reader.has("resize_mode")) {
    result.resize_mode = static_cast<ResizeMode>(reader.choice("resize_mode", kResizeModeNames));
  }
  if (reader.has("crop_rounding")) {
    result.crop_rounding =
        static_cast<CropRounding>(reader.choice("crop_rounding", kCropRoundingNames));
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

ModelConfig parse_config(std::string_view json_text, const std::string& where) {
  const json object = parse_config_object(json_text, where);
  check_keys(object, where);
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
  config.layer_norm_eps = static_cast<float>(reader.number("layer_norm_eps", 1e-12F, 1));
  if (config.family == Family::swin) {
    config.window_size = reader.size("window_size", kMaxWindow);
  }
  if (reader.has("mlp_ratio")) {
    config.mlp_ratio = reader.size("mlp_ratio", 1 << 6);
  }
  config.preprocessing = read_preprocessing(reader, config.img_size);
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
  // Only what differs from the defaults: files of before these keys keep their bytes.
  const Preprocessing& preprocessing = config.preprocessing;
  const auto place = [](auto value) { return static_cast<std::size_t>(value); };
  if (preprocessing.filter != Filter::bicubic) {
    object["interpolation"] = kFilterNames[place(preprocessing.filter)];
  }
  if (preprocessing.resize_mode != ResizeMode::shorter) {
    object["resize_mode"] = kResizeModeNames[place(preprocessing.resize_mode)];
  }
  if (preprocessing.crop_rounding != CropRounding::torchvision) {
    object["crop_rounding"] = kCropRoundingNames[place(preprocessing.crop_rounding)];
  }
  return object.dump();
}

}  // namespace bitlog2
