// The element types in files.
#pragma once

#include <cstdint>
#include <string_view>

#include "bitlog2/tensors.h"

namespace bitlog2 {

struct DTypeEntry {
  DType dtype;
  std::string_view name;  ///< in a safetensors header
  unsigned bits;
  bool codes = false;  ///< quantized codes, whose scales are not known
};

/// The dtype that a safetensors header calls `name`, or nullptr.
const DTypeEntry* find_dtype(std::string_view name);

}  // namespace bitlog2
