// Checkpoints: timm's names, current and older, to a model's parameters. A file is
// checked whole before anything is read from it.
#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

#include "bitlog2/dataset.h"
#include "bitlog2/error.h"
#include "bitlog2/model.h"

namespace bitlog2 {
namespace {

constexpr std::size_t kMisfitsNamed = 4;  // in a message

bool has_prefix(const Safetensors& file, const std::string& prefix) {
  return std::ranges::any_of(file.tensors(),
                             [&](const auto& entry) { return entry.first.starts_with(prefix); });
}

/// The name under which `file` holds the parameter that timm 0.4.12 calls `name`. Since
/// then Swin's downsample moved to the start of the next stage, so that the first has none,
/// and the heads into `head.fc`.
std::string name_in_file(const Safetensors& file, const std::string& name) {
  if (file.find(name) != nullptr && name.find("downsample") == std::string::npos) {
    return name;
  }
  if (name.starts_with("head.") && file.find("head.fc." + name.substr(5)) != nullptr) {
    return "head.fc." + name.substr(5);
  }
  if (name.starts_with("layers.") && name.find("downsample") != std::string::npos &&
      !has_prefix(file, "layers.0.downsample.") && has_prefix(file, "layers.1.downsample.")) {
    const std::size_t dot = name.find('.', 7);
    return fmt::format("layers.{}{}", std::stoul(name.substr(7, dot - 7)) + 1, name.substr(dot));
  }
  return name;
}

std::string shape_text(const std::vector<std::uint64_t>& shape) {
  std::string text = "[";
  for (const std::uint64_t size : shape) {
    text += fmt::format("{}{}", text.size() > 1 ? ", " : "", size);
  }
  return text + "]";
}

bool is_computed_buffer(const std::string& name) {
  return name.ends_with("relative_position_index") || name.ends_with("attn_mask");
}

bool is_distilled(const Safetensors& file) {
  return file.find("dist_token") != nullptr || file.find("head_dist.weight") != nullptr;
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

std::vector<std::string> checkpoint_misfits(const Safetensors& file, const ModelConfig& config) {
  std::vector<std::string> misfits;
  if (is_distilled(file)) {
    misfits.emplace_back(
        "it has the second head of a distilled DeiT (dist_token, head_dist), which is not "
        "supported; use the checkpoint without 'distilled' in its name");
    return misfits;
  }
  std::set<std::string> expected;
  Model model = make_model(config);
  for_each_parameter(model, [&](const Parameter& parameter) {
    const std::string name = name_in_file(file, parameter.name);
    expected.insert(name);
    const TensorView* tensor = file.find(name);
    if (tensor == nullptr) {
      misfits.push_back(fmt::format("'{}' is missing", name));
    } else if (tensor->shape != parameter.shape) {
      misfits.push_back(fmt::format("'{}' is {}, not {}", name, shape_text(tensor->shape),
                                    shape_text(parameter.shape)));
    }
  });
  for (const auto& [name, tensor] : file.tensors()) {
    if (!expected.contains(name) && !is_computed_buffer(name)) {
      misfits.push_back(fmt::format("'{}' is not part of it", name));
    }
  }
  return misfits;
}

Model load_model(const Safetensors& file, const ModelConfig& config) {
  const std::vector<std::string> misfits = checkpoint_misfits(file, config);
  if (!misfits.empty()) {
    const std::size_t named = std::min(misfits.size(), kMisfitsNamed);
    std::string text;
    for (std::size_t i = 0; i < named; ++i) {
      text += (i > 0 ? "; " : "") + misfits[i];
    }
    if (misfits.size() > named) {
      text += fmt::format("; and {} more", misfits.size() - named);
    }
    throw Error(fmt::format("{}: not a checkpoint of {}: {}", file.name(), config.name, text));
  }
  Model model = make_model(config);
  for_each_parameter(model, [&](const Parameter& parameter) {
    parameter.values = file.read_floats(name_in_file(file, parameter.name));
  });
  return model;
}

std::vector<std::string> class_names(const Safetensors& file, const ModelConfig& config) {
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
