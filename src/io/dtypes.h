// The element types that stand in files.
#pragma once

#include <cstdint>
#include <string_view>

#include "bitlog2/tensors.h"

namespace bitlog2 {

struct DTypeEntry {
  DType dtype;
  std::string_view name;  ///< in a safetensors header
  unsigned bits;
  bool codes = false;  ///< quantized values, of which the file alone does not say what they mean
};

/// The dtype that a safetensors header calls `name`, or nullptr.
const DTypeEntry* find_dtype(std::string_view name);

}  // namespace bitlog2
