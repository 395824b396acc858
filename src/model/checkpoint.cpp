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

std::vector<std::string> class_names(const Safetensors& file, std::size_t num_classes) {
  const auto found = file.metadata().find("class_names");
  if (found != file.metadata().end()) {
    const auto names = nlohmann::json::parse(found->second, nullptr, false);
    const bool well_formed =
        names.is_array() && names.size() == num_classes &&
        std::all_of(names.begin(), names.end(), [](const auto& name) { return name.is_string(); });
    if (!well_formed) {
      throw Error(fmt::format("{}: metadata 'class_names' is not a JSON array of {} strings",
                              file.name(), num_classes));
    }
    return names.get<std::vector<std::string>>();
  }
  std::vector<std::string> result;
  if (num_classes == imagenet_classes().size()) {
    for (const ImageNetClass& entry : imagenet_classes()) {
      result.emplace_back(entry.name);
    }
  }
  return result;
}

}  // namespace bitlog2
