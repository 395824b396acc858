// Checkpoints: timm's names, current and older, to a model's parameters. A file is
// checked whole before anything is read from it.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>

#include "bitlog2/dataset.h"
#include "bitlog2/error.h"
#include "bitlog2/model.h"

namespace bitlog2 {
namespace {

constexpr std::size_t kMisfitsNamed = 4;  // in a message

// ---- Names -----------------------------------------------------------------------------

/// What wrappers put before a model's names, in any nesting: data parallelism, torch.compile,
/// Lightning modules, averaged weights. No name of timm's begins like one of these.
constexpr auto kWrappers = std::to_array<std::string_view>(
    {"module.", "model.", "_orig_mod.", "backbone.", "vit.", "deit.", "swin.", "net.", "network.",
     "encoder.", "state_dict.", "model_state_dict.", "model_ema.", "ema_model.", "ema.",
     "online_model.", "student.", "teacher."});

/// How much of `name` wrappers have put before it.
std::size_t wrapper_length(std::string_view name) {
  std::size_t length = 0;
  for (bool found = true; found;) {
    found = false;
    for (const std::string_view wrapper : kWrappers) {
      if (name.substr(length).starts_with(wrapper)) {
        length += wrapper.size();
        found = true;
      }
    }
  }
  return length;
}

std::string last_part(const std::string& name) {
  return name.substr(name.rfind('.') + 1);  // npos + 1 is 0
}

/// Counters that training and profiling leave in a checkpoint: single numbers that no forward
/// pass reads.
bool is_counter(const std::string& name, const TensorView& tensor) {
  constexpr auto kCounters = std::to_array<std::string_view>(
      {"total_ops", "total_params", "n_averaged", "num_batches_tracked", "initted", "step", "steps",
       "global_step", "num_updates", "epoch", "decay"});
  if (tensor.element_count != 1) {
    return false;
  }
  const bool is_integer = tensor.dtype_name.starts_with('I') || tensor.dtype_name == "BOOL" ||
                          (tensor.dtype_name.starts_with('U') && tensor.dtype_name.size() <= 3);
  return is_integer || std::ranges::find(kCounters, last_part(name)) != kCounters.end();
}

/// A checkpoint's tensors by their names without wrappers.
class UnwrappedNames {
 public:
  explicit UnwrappedNames(const TensorFile& file) {
    for (const auto& [name, tensor] : file.tensors()) {
      const std::size_t length = wrapper_length(name);
      const std::string prefix = name.substr(0, length);
      const auto [entry, is_new] = in_file_.emplace(name.substr(length), name);
      if (!is_new && !twice_ && !is_counter(name, tensor)) {
        const std::string& other = entry->second;
        twice_ = std::pair(other.substr(0, wrapper_length(other)), prefix);
      }
      if (length > 0) {
        prefixes_.insert(prefix);
      }
    }
  }

  bool contains(const std::string& name) const { return in_file_.contains(name); }

  bool contains_prefix(const std::string& prefix) const {
    const auto entry = in_file_.lower_bound(prefix);
    return entry != in_file_.end() && entry->first.starts_with(prefix);
  }

  /// The name in the file; `name` itself if it is not there.
  const std::string& in_file(const std::string& name) const {
    const auto entry = in_file_.find(name);
    return entry == in_file_.end() ? name : entry->second;
  }

  const std::map<std::string, std::string>& all() const { return in_file_; }
  const std::set<std::string>& prefixes() const { return prefixes_; }

  /// Two prefixes under which one name stands.
  const std::optional<std::pair<std::string, std::string>>& twice() const { return twice_; }

 private:
  std::map<std::string, std::string> in_file_;
  std::set<std::string> prefixes_;
  std::optional<std::pair<std::string, std::string>> twice_;
};

/// The name under which a checkpoint holds the parameter that timm 0.4.12 calls `name`, wrappers
/// aside. Since then Swin's downsample moved to the start of the next stage, so that the first
/// has none, and the heads into `head.fc`.
std::string name_in_checkpoint(const UnwrappedNames& names, const std::string& name) {
  if (names.contains(name) && name.find("downsample") == std::string::npos) {
    return name;
  }
  if (name.starts_with("head.") && names.contains("head.fc." + name.substr(5))) {
    return "head.fc." + name.substr(5);
  }
  if (name.starts_with("layers.") && name.find("downsample") != std::string::npos &&
      !names.contains_prefix("layers.0.downsample.") &&
      names.contains_prefix("layers.1.downsample.")) {
    const std::size_t dot = name.find('.', 7);
    return fmt::format("layers.{}{}", std::stoul(name.substr(7, dot - 7)) + 1, name.substr(dot));
  }
  return name;
}

std::string shape_text(const std::vector<std::uint64_t>& shape) {
  return fmt::format("[{}]", fmt::join(shape, ", "));
}

bool is_computed_buffer(const std::string& name) {
  return name.ends_with("relative_position_index") || name.ends_with("attn_mask");
}

// ---- What a checkpoint of something else is ---------------------------------------------

struct Naming {
  std::string_view part;  ///< of a name, as only this library has it
  std::string_view library;
};

constexpr auto kOtherNamings =
    std::to_array<Naming>({{"embeddings.patch_embeddings.", "Hugging Face transformers'"},
                           {"attention.attention.query.", "Hugging Face transformers'"},
                           {"vision_model.", "Hugging Face transformers' (CLIP or SigLIP)"},
                           {"visual.transformer.resblocks.", "OpenCLIP's"},
                           {"encoder.layers.encoder_layer_", "torchvision's"},
                           {"features.0.0.weight", "torchvision's"},
                           {"patch_embed.projection.", "MMPretrain's"},
                           {"attn.w_msa.", "MMPretrain's"},
                           {"to_patch_embedding.", "vit-pytorch's"},
                           {"Transformer/encoderblock_", "JAX's (big_vision)"}});

/// What makes the file no checkpoint of any model here; empty if nothing does.
std::string find_obstacle(const TensorFile& file, const UnwrappedNames& names) {
  const auto format = file.metadata().find("format");
  if (format != file.metadata().end() && format->second == "bitlog2") {
    return "it is a quantized model already; run it with bitlog2 eval --quantized or bitlog2 "
           "predict --quantized";
  }
  if (names.contains("dist_token") || names.contains("head_dist.weight")) {
    return "it has the second head of a distilled DeiT (dist_token, head_dist), which is not "
           "supported; use the checkpoint without 'distilled' in its name";
  }
  for (const auto& [name, tensor] : file.tensors()) {
    if (name.find(".lora_A.") != std::string::npos) {
      return fmt::format(
          "it holds LoRA adapters ('{}'), which change another checkpoint; merge them into it "
          "(PEFT's merge_and_unload) and save that",
          name);
    }
    const auto* naming = std::ranges::find_if(kOtherNamings, [&text = name](const Naming& other) {
      return text.find(other.part) != std::string::npos;
    });
    if (naming != kOtherNamings.end()) {
      return fmt::format(
          "its tensors have {} names ('{}'); timm's are needed: save the model from timm, or "
          "rename its tensors",
          naming->library, name);
    }
  }
  if (names.twice()) {
    const auto quoted = [](const std::string& prefix) {
      return prefix.empty() ? std::string("no prefix") : fmt::format("'{}'", prefix);
    };
    const auto& [first, second] = *names.twice();
    const std::string& kept = second.empty() ? first : second;
    return fmt::format(
        "it holds the weights twice, under {} and under {}; keep one: python3 -c \"import "
        "safetensors.torch as s; s.save_file({{k.removeprefix('{}'): v for k, v in "
        "s.load_file('FILE').items() if k.startswith('{}')}}, 'one.safetensors')\"",
        quoted(first), quoted(second), kept, kept);
  }
  return "";
}

/// Tensors that do not fit a model, and what is needed to say what to do about them.
struct Differences {
  std::vector<std::string> misfits;
  std::map<std::string, const TensorView*> by_parameter;  ///< nullptr: missing
  bool strangers = false;                                 ///< tensors that are no parameter
};

/// The side of the image for which a position embedding was made; 0 if that cannot be told.
std::size_t embedded_image_size(const TensorView& embedding, const ModelConfig& config) {
  if (embedding.shape.size() != 3 || embedding.shape[2] != config.embed_dim ||
      embedding.shape[1] < 2 || embedding.shape[1] > (1U << 20)) {
    return 0;
  }
  const std::size_t patches = static_cast<std::size_t>(embedding.shape[1]) - 1;
  const auto side = static_cast<std::size_t>(std::lround(std::sqrt(static_cast<double>(patches))));
  return side * side == patches ? side * config.patch_size : 0;
}

/// What to do if all that differs is the head, or the position embedding, or both.
std::string advice_about(const Differences& differences, const ModelConfig& config) {
  if (differences.strangers || differences.by_parameter.empty()) {
    return "";
  }
  const std::size_t features = config.embed_dim << (config.depths.size() - 1);
  std::vector<std::string> causes;
  std::vector<std::string> keys;
  bool headless = false;
  for (const auto& [name, tensor] : differences.by_parameter) {
    if (name == "head.bias") {
      continue;  // goes with head.weight
    }
    if (name == "head.weight" && tensor == nullptr) {
      headless = true;
    } else if (name == "head.weight" && tensor->shape.size() == 2 &&
               tensor->shape[0] != config.num_classes && tensor->shape[1] == features) {
      causes.push_back(fmt::format("its head has {} classes, {} has {}", tensor->shape[0],
                                   config.name, config.num_classes));
      keys.push_back(fmt::format("\"num_classes\": {}", tensor->shape[0]));
    } else if (name == "pos_embed" && tensor != nullptr &&
               embedded_image_size(*tensor, config) > 0) {
      const std::size_t size = embedded_image_size(*tensor, config);
      causes.push_back(fmt::format("its position embedding is for images of {} x {}, {} has {}",
                                   size, size, config.name, config.img_size));
      keys.push_back(fmt::format("\"img_size\": {}", size));
    } else {
      return "";  // something else differs
    }
  }
  if (headless) {
    return fmt::format(
        "it has no head (head.weight), so it classifies nothing; give a checkpoint of {} that was "
        "trained to classify",
        config.name);
  }
  if (causes.empty()) {
    return "";
  }
  return fmt::format("{}; use --config FILE.json with {} (docs/datasets-and-configs.md)",
                     fmt::join(causes, ", "), fmt::join(keys, ", "));
}

std::string list_of(const std::set<std::string>& names, std::string_view quote) {
  constexpr std::size_t kMostNamed = 4;
  std::string text;
  std::size_t named = 0;
  for (const std::string& name : names) {
    if (named == kMostNamed) {
      return fmt::format("{} and {} more", text, names.size() - named);
    }
    text += fmt::format("{}{}{}{}", named == 0 ? "" : ", ", quote, name, quote);
    ++named;
  }
  return text;
}

std::string message_of(const CheckpointFit& fit, const std::string& model) {
  if (!fit.obstacle.empty() || !fit.advice.empty()) {
    return fit.obstacle.empty() ? fit.advice : fit.obstacle;
  }
  const std::size_t named = std::min(fit.misfits.size(), kMisfitsNamed);
  std::string text =
      fmt::format("not a checkpoint of {}: {}", model,
                  fmt::join(fit.misfits.begin(),
                            fit.misfits.begin() + static_cast<std::ptrdiff_t>(named), "; "));
  if (fit.misfits.size() > named) {
    text += fmt::format("; and {} more", fit.misfits.size() - named);
  }
  return text;
}

CheckpointFit fit_names(const TensorFile& file, const UnwrappedNames& names,
                        const ModelConfig& config) {
  CheckpointFit fit;
  fit.obstacle = find_obstacle(file, names);
  if (!fit.obstacle.empty()) {
    return fit;
  }
  Differences differences;
  std::set<std::string> expected;
  Model model = make_model(config);
  for_each_parameter(model, [&](const Parameter& parameter) {
    const std::string name = name_in_checkpoint(names, parameter.name);
    expected.insert(name);
    const TensorView* tensor = file.find(names.in_file(name));
    if (tensor == nullptr) {
      differences.misfits.push_back(fmt::format("'{}' is missing", name));
    } else if (tensor->shape != parameter.shape) {
      differences.misfits.push_back(fmt::format("'{}' is {}, not {}", names.in_file(name),
                                                shape_text(tensor->shape),
                                                shape_text(parameter.shape)));
    } else {
      return;
    }
    differences.by_parameter.emplace(parameter.name, tensor);
  });
  std::set<std::string> counters;
  for (const auto& [name, in_file] : names.all()) {
    if (expected.contains(name) || is_computed_buffer(name)) {
      continue;
    }
    if (is_counter(name, file.at(in_file))) {
      counters.insert(last_part(name));
    } else {
      differences.misfits.push_back(fmt::format("'{}' is not part of it", in_file));
      differences.strangers = true;
    }
  }
  if (!names.prefixes().empty()) {
    fit.notes.push_back(
        fmt::format("its names are read without {}", list_of(names.prefixes(), "'")));
  }
  if (!counters.empty()) {
    fit.notes.push_back(
        fmt::format("tensors that are no weights are ignored: {}", list_of(counters, "")));
  }
  fit.advice = advice_about(differences, config);
  fit.misfits = std::move(differences.misfits);
  return fit;
}

/// The strings of an array, or of an object whose keys are 0 to size - 1; empty if it is neither.
std::vector<std::string> names_by_class(const nlohmann::json& json) {
  std::vector<std::string> names;
  for (std::size_t i = 0; json.is_structured() && i < json.size(); ++i) {
    const std::string key = std::to_string(i);
    if (json.is_object() && !json.contains(key)) {
      return {};
    }
    const nlohmann::json& name = json.is_array() ? json[i] : json[key];
    if (!name.is_string()) {
      return {};
    }
    names.push_back(name.get<std::string>());
  }
  return names;
}

bool is_published(const ModelConfig& config) {
  return std::ranges::any_of(
      named_models(), [&](const NamedModel& model) { return model.config.name == config.name; });
}

}  // namespace

CheckpointFit fit_checkpoint(const TensorFile& file, const ModelConfig& config) {
  return fit_names(file, UnwrappedNames(file), config);
}

LoadedCheckpoint load_checkpoint(const TensorFile& file, const ModelConfig& config) {
  const UnwrappedNames names(file);
  const CheckpointFit fit = fit_names(file, names, config);
  if (!fit.fits()) {
    throw Error(fmt::format("{}: {}", file.name(), message_of(fit, config.name)));
  }
  LoadedCheckpoint result = {make_model(config), {}};
  for_each_parameter(result.model, [&](const Parameter& parameter) {
    parameter.values = file.read_floats(names.in_file(name_in_checkpoint(names, parameter.name)));
  });
  for (const auto* notes : {&file.notes(), &fit.notes}) {
    for (const std::string& note : *notes) {
      result.notes.push_back(fmt::format("{}: {}", file.name(), note));
    }
  }
  return result;
}

Model load_model(const TensorFile& file, const ModelConfig& config) {
  return load_checkpoint(file, config).model;
}

std::vector<std::string> class_names(const TensorFile& file, const ModelConfig& config) {
  for (const char* key : {"class_names", "label_names", "id2label"}) {
    const auto found = file.metadata().find(key);
    if (found == file.metadata().end()) {
      continue;
    }
    auto names = names_by_class(nlohmann::json::parse(found->second, nullptr, false));
    if (names.size() != config.num_classes) {
      throw Error(
          fmt::format("{}: metadata '{}' is not {} of {} strings", file.name(), key,
                      key == std::string_view("id2label") ? "a JSON object" : "a JSON array",
                      config.num_classes));
    }
    return names;
  }
  std::vector<std::string> result;
  if (config.num_classes == imagenet_classes().size() && is_published(config)) {
    for (const ImageNetClass& entry : imagenet_classes()) {
      result.emplace_back(entry.name);
    }
  }
  return result;
}

}  // namespace bitlog2
