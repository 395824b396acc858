// Finds a model's files, works out its config, and loads its weights.
#include "bitlog2/load.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <optional>
#include <string_view>
#include <system_error>

#include "bitlog2/dataset.h"
#include "bitlog2/error.h"
#include "bitlog2/files.h"
#include "bitlog2/hub.h"
#include "bitlog2/tensors.h"
#include "io/file_kind.h"
#include "model/json_object.h"
#include "model/names/class_name_list.h"
#include "model/names/infer_config.h"
#include "model/preprocessing.h"

namespace bitlog2 {
namespace {

namespace fs = std::filesystem;

/// The names that libraries give to weights, the first that is there.
constexpr auto kWeightsNames =
    std::to_array<std::string_view>({"model.safetensors", "model.safetensors.index.json",
                                     "pytorch_model.bin", "pytorch_model.bin.index.json"});

/// Where a model's parts are.
struct ModelFiles {
  const NamedModel* published = nullptr;
  fs::path weights;
  fs::path library_config;  ///< timm's or transformers' config.json, if there is one
  fs::path preprocessor;    ///< transformers', if there is one
};

bool is_there(const fs::path& path) {
  std::error_code ignored;
  return fs::exists(path, ignored);
}

std::string read_text(const fs::path& path) {
  const FileBytes file(path);
  const auto* text = reinterpret_cast<const char*>(file.bytes().data());
  return {text, file.bytes().size()};
}

/// Weights in a folder: under a library's name, or the only file that can be some.
std::optional<fs::path> weights_in(const fs::path& folder) {
  for (const std::string_view name : kWeightsNames) {
    if (is_there(folder / name)) {
      return folder / name;
    }
  }
  std::vector<fs::path> candidates;
  std::error_code error;
  for (fs::directory_iterator entry(folder, error), end; !error && entry != end;
       entry.increment(error)) {
    const std::string ending = entry->path().extension().string();
    if (ending == ".safetensors" || ending == ".pth" || ending == ".pt" || ending == ".bin" ||
        ending == ".ckpt") {
      candidates.push_back(entry->path());
    }
  }
  return candidates.size() == 1 ? std::optional(candidates.front()) : std::nullopt;
}

ModelFiles files_in(const fs::path& folder) {
  const auto weights = weights_in(folder);
  if (!weights) {
    throw Error(fmt::format("{}: {}", folder.string(), describe_folder(folder)));
  }
  ModelFiles files = {nullptr, *weights, {}, {}};
  if (is_there(folder / "config.json")) {
    files.library_config = folder / "config.json";
  }
  if (is_there(folder / "preprocessor_config.json")) {
    files.preprocessor = folder / "preprocessor_config.json";
  }
  return files;
}

/// A file under a library's name has that library's files beside it.
ModelFiles files_with(const fs::path& weights) {
  const bool has_usual_name =
      std::ranges::find(kWeightsNames, weights.filename().string()) != kWeightsNames.end();
  if (has_usual_name && is_there(weights.parent_path() / "config.json")) {
    ModelFiles files = files_in(weights.parent_path());
    files.weights = weights;
    return files;
  }
  return {nullptr, weights, {}, {}};
}

const NamedModel* find_published(const std::string& name) {
  try {
    return &find_named_model(name);
  } catch (const Error&) {
    return nullptr;
  }
}

std::string without_hub_prefix(const std::string& name) {
  for (const std::string_view prefix : {"hf_hub:", "hf-hub:"}) {
    if (name.starts_with(prefix)) {
      return name.substr(prefix.size());
    }
  }
  return name;
}

ModelFiles find_published_files(const NamedModel& published, const ModelSource& source) {
  if (!source.config.empty()) {
    throw Error("--model and --config both describe the model; leave one out");
  }
  if (!source.weights.empty()) {
    return {&published, source.weights, {}, {}};
  }
  if (const auto cached = find_in_hub_cache(published.repository)) {
    return {&published, *cached, {}, {}};
  }
  throw Error(
      fmt::format("the weights of {} are not on this machine; give --weights FILE, or "
                  "download them: {}",
                  source.model, hub_download_command(published.repository)));
}

ModelFiles find_files(const ModelSource& source) {
  if (source.model.empty()) {
    if (source.weights.empty()) {
      throw Error(
          fmt::format("no model: give --model, a folder, a file or one of {}", model_names()));
    }
    return files_with(source.weights);
  }
  if (const NamedModel* published = find_published(source.model)) {
    return find_published_files(*published, source);
  }
  std::error_code ignored;
  const fs::path path = source.model;
  const std::string repository = without_hub_prefix(source.model);
  const bool is_folder = fs::is_directory(path, ignored);
  if (!source.weights.empty() && (is_folder || is_there(path))) {
    throw Error("--model and --weights both name files; leave one out");
  }
  if (is_folder) {
    return files_in(path);
  }
  if (is_there(path)) {
    return files_with(path);
  }
  if (const auto snapshot = find_snapshot_in_hub_cache(repository)) {
    return files_in(*snapshot);
  }
  if (std::ranges::count(repository, '/') == 1 && repository.find("..") == std::string::npos &&
      !repository.starts_with('/') && !repository.starts_with('.') && !repository.ends_with('/')) {
    throw Error(
        fmt::format("{}: neither a file or folder nor in the Hugging Face cache; download it: pip "
                    "install -U huggingface_hub && hf download {}",
                    source.model, repository));
  }
  find_named_model(source.model);  // which says what there is
  throw Error(fmt::format("unknown model '{}'", source.model));
}

/// The config for another size of the input.
ModelConfig at_size(ModelConfig config, std::size_t size) {
  if (size > 0 && size != config.img_size) {
    const Preprocessing& old = config.preprocessing;
    const double crop_pct = static_cast<double>(old.crop) / old.resize;
    Preprocessing changed = old;
    const Preprocessing sized = preprocessing_for(size, crop_pct);
    changed.resize = sized.resize;
    changed.crop = sized.crop;
    config.img_size = size;
    config.preprocessing = changed;
    config = parse_config(config_to_json(config), "--image-size");
  }
  return config;
}

/// Sets the preprocessing of a file that has the name of one of timm's models, if no other file
/// says it.
void prepare_by_name(const fs::path& weights, InferredConfig& inferred) {
  const std::string name = weights.stem().string();
  const bool is_plain_vit = name.starts_with("vit_") &&
                            std::ranges::none_of(std::array{"dinov2", "dinov3", "clip", "siglip"},
                                                 [&](const char* other) {
                                                   return name.find(other) != std::string::npos;
                                                 });
  if (!is_plain_vit) {
    return;
  }
  Preprocessing& preprocessing = inferred.config.preprocessing;
  preprocessing = preprocessing_for(inferred.config.img_size, 0.9);
  preprocessing.mean = {0.5F, 0.5F, 0.5F};
  preprocessing.std = {0.5F, 0.5F, 0.5F};
  std::erase_if(inferred.notes, [](const std::string& note) {
    return note.find("how images are prepared") != std::string::npos;
  });
  inferred.notes.emplace_back(
      "images are prepared as timm's ViTs take them, after the file's name: mean and std 0.5, "
      "crop_pct 0.9 (--config FILE.json says otherwise)");
}

std::optional<LibraryConfig> read_library_config(const ModelFiles& files) {
  if (files.library_config.empty()) {
    return std::nullopt;
  }
  const std::string preprocessor =
      files.preprocessor.empty() ? std::string() : read_text(files.preprocessor);
  return parse_library_config(read_text(files.library_config), preprocessor,
                              files.library_config.parent_path().string());
}

/// Whether a model is one of timm's, by its config.json or, where there is none, by the file's
/// name.
bool is_from_timm(const fs::path& weights, const std::optional<LibraryConfig>& said) {
  if (said) {
    return said->library == Library::timm;
  }
  const std::string name = weights.stem().string();
  return std::ranges::any_of(std::array{"vit_", "deit_", "deit3_", "swin_", "beit_", "beitv2_"},
                             [&](const char* start) { return name.starts_with(start); });
}

/// Describes a model by its own files alone.
ModelDescription describe_files(const ModelFiles& files, const ModelSource& source,
                                const TensorFile& weights, const nlohmann::json& additions) {
  const std::optional<LibraryConfig> said = read_library_config(files);
  if (said && !said->unknown_crop_mode.empty() && !additions.contains("resize_mode")) {
    throw Error(
        fmt::format("{}: crop_mode '{}' is not supported; to prepare images in another way, give "
                    "--config FILE.json with {{\"resize_mode\": \"shorter\"}}, which crops the "
                    "centre, or \"squash\"",
                    files.library_config.string(), said->unknown_crop_mode));
  }
  const auto heads = additions.find("num_heads");
  const std::size_t num_heads =
      heads != additions.end() && heads->is_number_unsigned() ? heads->get<std::size_t>() : 0;
  InferredConfig inferred = infer_config(weights, said, source.image_size, num_heads);
  if (!said) {
    prepare_by_name(files.weights, inferred);
  }
  ModelDescription result = {
      inferred.config, inferred.position_resize, {}, {}, std::move(inferred.notes)};
  nlohmann::json whole = nlohmann::json::parse(config_to_json(result.config));
  whole.merge_patch(additions);
  result.config = parse_config(whole.dump(), weights.name());
  if (said) {
    result.notes.insert(result.notes.end(), said->notes.begin(), said->notes.end());
  }
  if (additions.contains("mean") || additions.contains("std") || additions.contains("crop_pct")) {
    std::erase_if(result.notes, [](const std::string& note) {
      return note.find("--config FILE.json says otherwise") != std::string::npos;
    });
  }
  if (said) {
    result.class_names = with_imagenet_spelling(said->class_names);
  }
  const auto imagenet = imagenet_classes();
  if (result.class_names.empty() && result.config.num_classes == imagenet.size() &&
      is_from_timm(files.weights, said) && !names_classes(weights)) {
    for (const ImageNetClass& entry : imagenet) {
      result.class_names.emplace_back(entry.name);
    }
    result.notes.emplace_back(
        "it does not name its classes; being one of timm's with 1000, it gets ImageNet's names");
  }
  return result;
}

ModelDescription describe(const ModelFiles& files, const ModelSource& source,
                          const TensorFile& weights) {
  const auto strictly = [&](const ModelConfig& config) {
    const auto resize =
        source.image_size > 0 ? std::optional(PositionResize::antialias) : std::nullopt;
    return ModelDescription{at_size(config, source.image_size), resize, {}, {}, {}};
  };
  if (files.published != nullptr) {
    return strictly(files.published->config);
  }
  nlohmann::json additions = nlohmann::json::object();
  if (!source.config.empty()) {
    const std::string text = read_text(source.config);
    additions = parse_object(text, source.config.string() + ": config");
    if (additions.contains("family") || weights.metadata().contains("config")) {
      return strictly(parse_config(text, source.config.string()));
    }
  }
  const auto own = weights.metadata().find("config");
  if (own != weights.metadata().end()) {
    return strictly(parse_config(own->second, weights.name()));
  }
  // A file of another kind gives an error that names the kind.
  const CheckpointFit fit = fit_checkpoint(weights, named_models().front().config);
  if (!fit.obstacle.empty()) {
    throw Error(fmt::format("{}: {}", weights.name(), fit.obstacle));
  }
  return describe_files(files, source, weights, additions);
}

/// The classes' names. Those in a file that do not fit its model are no reason to stop.
std::vector<std::string> usable_class_names(const TensorFile& weights,
                                            const ModelDescription& described,
                                            std::vector<std::string>& notes) {
  const ModelConfig& config = described.config;
  if (config.num_classes > 0 && described.class_names.size() == config.num_classes) {
    return described.class_names;
  }
  try {
    return class_names(weights, config);
  } catch (const Error& error) {
    notes.push_back(fmt::format("{}; the classes have no names", error.what()));
    return {};
  }
}

}  // namespace

std::vector<std::filesystem::path> files_of(const ModelSource& source) {
  const ModelFiles files = find_files(source);
  std::vector<fs::path> result = {files.weights};
  for (const fs::path& path : {files.library_config, files.preprocessor, source.config}) {
    if (!path.empty()) {
      result.push_back(path);
    }
  }
  return result;
}

std::filesystem::path weights_of(const ModelSource& source) {
  return find_files(source).weights;
}

ModelDescription describe_model(const ModelSource& source, const TensorFile& weights) {
  ModelDescription result = describe(find_files(source), source, weights);
  result.library = library_name(CheckpointNames(weights).library());
  return result;
}

LoadedModel load_model(const ModelSource& source) {
  const TensorFile weights = open_tensors(weights_of(source));
  const ModelDescription described = describe_model(source, weights);
  LoadedCheckpoint checkpoint =
      load_checkpoint(weights, described.config, described.position_resize);
  LoadedModel loaded = {std::move(checkpoint.model), {}, std::move(checkpoint.notes)};
  for (const std::string& note : described.notes) {
    loaded.notes.push_back(fmt::format("{}: {}", weights.name(), note));
  }
  loaded.class_names = usable_class_names(weights, described, loaded.notes);
  return loaded;
}

}  // namespace bitlog2
