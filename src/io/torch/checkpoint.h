// Checkpoints by torch.save, without Python: the pickle says where the tensors are, and they are
// used in place.
#pragma once

#include <cstddef>
#include <span>
#include <string>

#include "bitlog2/tensors.h"

namespace bitlog2::torch {

/// The weights in a checkpoint of torch's zip format (since 1.6). Tensors are views into `bytes`,
/// which the caller keeps alive. Tensors that are compressed or not contiguous are copied to
/// `memory` of the result. Checksums are compared only for data that is copied out of the archive:
/// the pickle, and compressed tensors. Throws Error beginning with `name`.
TensorFileContent read_zip(std::span<const std::byte> bytes, const std::string& name);

/// The same of the format before it (0.1.10 to 1.5).
TensorFileContent read_legacy(std::span<const std::byte> bytes, const std::string& name);

}  // namespace bitlog2::torch
