// Tensors in torch's pickles: reads the arguments of the few constructors that tensors need. All
// other constructors are ignored.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "io/torch/pickle.h"

namespace bitlog2::torch {

/// Elements in memory or in a file, which tensors are views of.
struct Storage {
  std::string_view key;         ///< the key of its bytes
  std::string_view dtype_name;  ///< as a safetensors header spells it
  std::size_t element_bytes = 0;
  std::uint64_t offset = 0;  ///< elements before it in the bytes of its key
  std::uint64_t size = 0;    ///< elements
};

/// A tensor as its constructor's arguments describe it; nothing is checked against its storage.
struct Tensor {
  Storage storage;
  std::uint64_t offset = 0;  ///< of its first element in the storage
  std::vector<std::uint64_t> shape;
  std::vector<std::uint64_t> strides;  ///< elements, one for each dimension
};

/// The items of a dict, of an OrderedDict or of its arguments: key, value, key, ... Nothing for
/// other values.
std::optional<std::vector<ValueId>> dict_items(const PickleGraph& graph, ValueId id);

/// Whether `id` is a call of one of torch's constructors of plain tensors, or a Parameter or a
/// Tensor with attributes around one.
bool is_tensor(const PickleGraph& graph, ValueId id);

/// The tensor that such a call describes; throws Error beginning with `where` for arguments that
/// make no tensor.
Tensor read_tensor(const PickleGraph& graph, ValueId id, const std::string& where);

/// Whether a persistent value names a storage. Old files name the sources of classes, too.
bool is_storage(const PickleGraph& graph, ValueId id);

/// The storage that a persistent value names; throws Error beginning with `where` if it names none.
Storage read_storage(const PickleGraph& graph, ValueId id, const std::string& where);

/// The name of the constructor, if `id` is a call of one that is not on the allow-list:
/// "posix.system".
std::optional<std::string> refused_call(const PickleGraph& graph, ValueId id);

}  // namespace bitlog2::torch
