// A model's config from its tensors' names and shapes, and from what its library's files say.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "bitlog2/model.h"
#include "bitlog2/tensors.h"
#include "model/names/library_config.h"

namespace bitlog2 {

struct InferredConfig {
  ModelConfig config;
  PositionResize position_resize = PositionResize::antialias;
  std::vector<std::string> notes;  ///< what was assumed, for people
};

/// `said` is from the library's files, if there are any; `img_size` is what the user asks for, or
/// 0; `num_heads` is what the user says of a ViT whose files do not say it, or 0. Throws Error,
/// naming the file, for what is no vision transformer and for what neither tensors nor files say.
InferredConfig infer_config(const TensorFile& file, const std::optional<LibraryConfig>& said,
                            std::size_t img_size, std::size_t num_heads);

}  // namespace bitlog2
