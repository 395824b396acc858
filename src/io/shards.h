// Checkpoints in several files, as transformers saves large ones.
#pragma once

#include <filesystem>
#include <functional>
#include <span>

#include "bitlog2/tensors.h"

namespace bitlog2 {

/// The tensors that an index (`model.safetensors.index.json`) names, from the shards beside it.
/// `open` opens one shard. Throws Error for a shard that is missing, that lies elsewhere than
/// beside the index, or that lacks a tensor of its own.
TensorFile open_shards(const std::filesystem::path& index, std::span<const std::byte> bytes,
                       const std::function<TensorFile(const std::filesystem::path&)>& open);

}  // namespace bitlog2
