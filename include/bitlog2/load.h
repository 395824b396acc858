// Loads a model with its weights, by a published name or from files.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "bitlog2/model.h"
#include "bitlog2/tensors.h"

#pragma GCC visibility push(default)
namespace bitlog2 {

/// Which model to load; any of the fields may be empty.
struct ModelSource {
  /// A published name (find_named_model); a folder as timm or transformers save a model, or a
  /// snapshot of the Hugging Face hub; a checkpoint file; or a repository ("owner/name") in the
  /// Hugging Face cache.
  std::string model = {};
  /// A checkpoint file, for a published model or in place of `model`.
  std::filesystem::path weights = {};
  /// A JSON file for parse_config; one without `family` only adds to, or overrides, what the
  /// model's files say.
  std::filesystem::path config = {};
  /// Side of the input, pixels; 0: as the files say. For another side than theirs, position
  /// embeddings are interpolated.
  std::size_t image_size = 0;
};

/// A model with its weights.
struct LoadedModel {
  Model model;
  std::vector<std::string> class_names;  ///< one per class, or none if they are not known
  std::vector<std::string> notes;        ///< lines for people, e.g. which tensors were ignored
};

/// What is known about a model before its weights are read.
struct ModelDescription {
  ModelConfig config;
  /// How position embeddings are resized for the config's image size; nothing: they have its size.
  std::optional<PositionResize> position_resize;
  std::string library;                   ///< whose names the tensors have: "timm"
  std::vector<std::string> class_names;  ///< from the files beside the weights, or empty
  std::vector<std::string> notes;        ///< lines for people, e.g. what was assumed
};

/// Works out a model's config from its files; `weights` is the opened checkpoint. Throws Error that
/// says what is missing.
ModelDescription describe_model(const ModelSource& source, const TensorFile& weights);

/// The file that holds a model's weights, or the index of its shards. Throws Error if there is
/// none.
std::filesystem::path weights_of(const ModelSource& source);

/// The files that load_model would read. Throws Error as it does where the weights are not found.
std::vector<std::filesystem::path> files_of(const ModelSource& source);

/// Loads a model: architecture, sizes, classes and preprocessing come from the published name, from
/// `source.config`, or from the files. Throws Error that says what is missing and, for weights, the
/// command that gets them.
LoadedModel load_model(const ModelSource& source);

}  // namespace bitlog2
#pragma GCC visibility pop
