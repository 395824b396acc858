// Reads the configuration files of other libraries: timm's config.json, and transformers'
// config.json with preprocessor_config.json.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "bitlog2/model.h"
#include "model/names/checkpoint_names.h"

namespace bitlog2 {

/// The values in the files. Others are empty; they are found from the tensors or are the library's
/// defaults.
struct LibraryConfig {
  Library library = Library::timm;
  std::string name;  ///< "vit_base_patch16_224.augreg_in21k", "ViTForImageClassification"
  std::optional<std::size_t> img_size;  ///< side of the input that the preprocessing makes
  std::optional<std::size_t> num_heads;
  std::optional<float> layer_norm_eps;
  std::optional<Activation> activation;
  std::optional<bool> mean_pooling;  ///< of the patches, in the class token's place
  std::optional<bool> class_and_mean;
  std::optional<double> rope_theta;  ///< of a model with rotary positions
  std::size_t rope_grid = 0;
  bool output_is_embedding = false;  ///< the head is a projection, not a classifier
  std::optional<PositionResize> position_resize;
  std::optional<Preprocessing> preprocessing;
  std::string unknown_crop_mode;    ///< timm's crop_mode, if images cannot be prepared by it
  bool resize_by_crop_pct = false;  ///< for another size, not in proportion
  double crop_pct = 0.875;
  std::vector<std::string> class_names;
  std::vector<std::string> notes;  ///< for people
};

/// The text of a config.json and, of transformers, of a preprocessor_config.json (may be empty).
/// `where` is the folder's name, for messages. Throws Error for a model of another kind and for
/// values out of range.
LibraryConfig parse_library_config(std::string_view config, std::string_view preprocessor,
                                   const std::string& where);

/// `preprocessing` of a library's config for an input of another size.
Preprocessing preprocessing_at(const LibraryConfig& config, std::size_t img_size);

}  // namespace bitlog2
