// From what people call a model, its name or its files, to the model with its weights.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "bitlog2/model.h"

#pragma GCC visibility push(default)
namespace bitlog2 {

/// Which model, as the user says it; any of these may be empty.
struct ModelSource {
  std::string model;              ///< a published name (find_named_model)
  std::filesystem::path weights;  ///< a checkpoint file; else the one in the Hugging Face cache
  std::filesystem::path config;   ///< a JSON file, where no name describes the model
};

/// A model with its weights.
struct LoadedModel {
  Model model;
  std::vector<std::string> class_names;  ///< one per class, or none if they are not known
  std::vector<std::string> notes;        ///< lines for people, e.g. which tensors were ignored
};

/// The files that load_model would read. Throws Error as it does where the weights are not found.
std::vector<std::filesystem::path> files_of(const ModelSource& source);

/// Loads a model. Its config comes from `source.config`, else from the published model's name,
/// else from the checkpoint's metadata. Throws Error that says what is missing and, for weights,
/// the command that gets them.
LoadedModel load_model(const ModelSource& source);

}  // namespace bitlog2
#pragma GCC visibility pop
