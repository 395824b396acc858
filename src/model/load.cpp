// Finds a model's config and weights, and loads them.
#include "bitlog2/load.h"

#include <fmt/format.h>

#include "bitlog2/error.h"
#include "bitlog2/files.h"
#include "bitlog2/hub.h"
#include "bitlog2/tensors.h"

namespace bitlog2 {
namespace {

std::filesystem::path find_weights(const ModelSource& source) {
  if (!source.weights.empty()) {
    return source.weights;
  }
  if (source.model.empty()) {
    throw Error(fmt::format("no model: give --weights FILE.safetensors, or --model, one of {}",
                            model_names()));
  }
  const std::string& repository = find_named_model(source.model).repository;
  if (const auto cached = find_in_hub_cache(repository)) {
    return *cached;
  }
  throw Error(
      fmt::format("the weights of {} are not on this machine; give --weights FILE, or "
                  "download them: {}",
                  source.model, hub_download_command(repository)));
}

/// Throws Error for two descriptions of one model.
void check_source(const ModelSource& source) {
  if (!source.model.empty() && !source.config.empty()) {
    throw Error("--model and --config both describe the model; leave one out");
  }
  if (!source.model.empty()) {
    find_named_model(source.model);  // a wrong name is told before missing weights
  }
}

/// The classes' names. Those in a file that do not fit its model are no reason to stop.
std::vector<std::string> usable_class_names(const TensorFile& weights, const ModelConfig& config,
                                            std::vector<std::string>& notes) {
  try {
    return class_names(weights, config);
  } catch (const Error& error) {
    notes.push_back(fmt::format("{}; the classes have no names", error.what()));
    return {};
  }
}

ModelConfig find_config(const ModelSource& source, const TensorFile& weights) {
  if (!source.config.empty()) {
    const FileBytes file(source.config);
    const auto* text = reinterpret_cast<const char*>(file.bytes().data());
    return parse_config({text, file.bytes().size()}, source.config.string());
  }
  if (!source.model.empty()) {
    return find_named_model(source.model).config;
  }
  const auto found = weights.metadata().find("config");
  if (found != weights.metadata().end()) {
    return parse_config(found->second, weights.name());
  }
  // A file of another library is told as such.
  const CheckpointFit fit = fit_checkpoint(weights, named_models().front().config);
  if (!fit.obstacle.empty()) {
    throw Error(fmt::format("{}: {}", weights.name(), fit.obstacle));
  }
  throw Error(
      fmt::format("{} does not say which model it is; give --model, one of {}, or "
                  "--config FILE.json (docs/datasets-and-configs.md)",
                  weights.name(), model_names()));
}

}  // namespace

std::vector<std::filesystem::path> files_of(const ModelSource& source) {
  check_source(source);
  std::vector<std::filesystem::path> files = {find_weights(source)};
  if (!source.config.empty()) {
    files.emplace_back(source.config);
  }
  return files;
}

LoadedModel load_model(const ModelSource& source) {
  check_source(source);
  const TensorFile weights = open_tensors(find_weights(source));
  const ModelConfig config = find_config(source, weights);
  LoadedCheckpoint checkpoint = load_checkpoint(weights, config);
  LoadedModel loaded = {std::move(checkpoint.model), {}, std::move(checkpoint.notes)};
  loaded.class_names = usable_class_names(weights, config, loaded.notes);
  return loaded;
}

}  // namespace bitlog2
