// A float model as bytes, for pickles.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "bitlog2/model.h"

namespace bitlog2::python {

/// The model as the content of a safetensors file. It holds the parameters as for_each_parameter
/// names them, not as one of the libraries does, and only `model_from_content` reads it.
std::vector<std::byte> content_of_model(Model model);

/// The same model again. Throws Error for bytes that are no such content.
Model model_from_content(std::span<const std::byte> content);

}  // namespace bitlog2::python
