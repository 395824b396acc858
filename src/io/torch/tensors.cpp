// The allow-list. `call` values of it are read here; nothing is ever called.
#include "io/torch/tensors.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <set>

#include "bitlog2/error.h"

namespace bitlog2::torch {
namespace {

using namespace std::string_view_literals;

constexpr std::size_t kMostDimensions = 64;  // as torch

constexpr auto kOrderedDict = "collections.OrderedDict"sv;
constexpr auto kSize = "torch.Size"sv;
constexpr auto kTensor = "torch._utils._rebuild_tensor"sv;
constexpr auto kTensor2 = "torch._utils._rebuild_tensor_v2"sv;
constexpr auto kTensor3 = "torch._utils._rebuild_tensor_v3"sv;  // with a dtype beside its storage
constexpr auto kParameter = "torch._utils._rebuild_parameter"sv;
constexpr auto kParameterWithState = "torch._utils._rebuild_parameter_with_state"sv;
constexpr auto kTensorWithState = "torch._tensor._rebuild_from_type_v2"sv;

constexpr std::array kAllowed = {
    kOrderedDict,        kSize,           kTensor, kTensor2, kTensor3, kParameter,
    kParameterWithState, kTensorWithState};

struct ElementType {
  std::string_view storage;  ///< the storage's name, without "Storage"
  std::string_view torch;    ///< torch.NAME
  std::string_view name;     ///< in a safetensors header
  std::size_t bytes;
};

constexpr std::array kElementTypes = {
    ElementType{"Float", "float32", "F32", 4},
    ElementType{"Double", "float64", "F64", 8},
    ElementType{"Half", "float16", "F16", 2},
    ElementType{"BFloat16", "bfloat16", "BF16", 2},
    ElementType{"Long", "int64", "I64", 8},
    ElementType{"Int", "int32", "I32", 4},
    ElementType{"Short", "int16", "I16", 2},
    ElementType{"Char", "int8", "I8", 1},
    ElementType{"Byte", "uint8", "U8", 1},
    ElementType{"Bool", "bool", "BOOL", 1},
    ElementType{"", "uint16", "U16", 2},
    ElementType{"", "uint32", "U32", 4},
    ElementType{"", "uint64", "U64", 8},
    ElementType{"Untyped", "", "untyped", 1},
    ElementType{"ComplexFloat", "complex64", "C64", 8},
    ElementType{"ComplexDouble", "complex128", "complex128", 16},
    ElementType{"QInt8", "qint8", "qint8", 1},
    ElementType{"QUInt8", "quint8", "quint8", 1},
    ElementType{"QInt32", "qint32", "qint32", 4},
    ElementType{"", "float8_e4m3fn", "F8_E4M3", 1},
    ElementType{"", "float8_e5m2", "F8_E5M2", 1},
    ElementType{"", "float8_e4m3fnuz", "F8_E4M3FNUZ", 1},
    ElementType{"", "float8_e5m2fnuz", "F8_E5M2FNUZ", 1},
};

/// The name of the function that a call calls; empty if `id` is no call of a global.
std::string called(const PickleGraph& graph, ValueId id) {
  return graph[id].kind == ValueKind::call ? graph.global_name(graph[id].first) : "";
}

std::span<const ValueId> arguments(const PickleGraph& graph, ValueId id) {
  const ValueId tuple = graph[id].second;
  return graph[tuple].kind == ValueKind::tuple ? graph.items(tuple) : std::span<const ValueId>();
}

bool is_sequence(const PickleGraph& graph, ValueId id) {
  return graph[id].kind == ValueKind::list || graph[id].kind == ValueKind::tuple;
}

[[noreturn]] void fail(const std::string& where, const std::string& what) {
  throw Error(fmt::format("{} {}; the file is damaged", where, what));
}

std::uint64_t unsigned_of(const PickleGraph& graph, ValueId id, const std::string& where) {
  const Value& value = graph[id];
  if (value.kind != ValueKind::integer || value.number < 0) {
    fail(where, "has a size or offset that is no whole number");
  }
  return static_cast<std::uint64_t>(value.number);
}

std::vector<std::uint64_t> sizes_of(const PickleGraph& graph, ValueId id,
                                    const std::string& where) {
  if (called(graph, id) == kSize && arguments(graph, id).size() == 1) {
    id = arguments(graph, id).front();
  }
  if (!is_sequence(graph, id) || graph.items(id).size() > kMostDimensions) {
    fail(where, "has an impossible shape");
  }
  std::vector<std::uint64_t> sizes;
  for (const ValueId item : graph.items(id)) {
    sizes.push_back(unsigned_of(graph, item, where));
  }
  return sizes;
}

/// An element type by the global that names it: a class of storages or a dtype.
const ElementType* element_type(std::string name) {
  for (const auto prefix : {"torch.cuda."sv, "torch.storage."sv, "torch."sv}) {
    if (name.starts_with(prefix)) {
      name.erase(0, prefix.size());
      break;
    }
  }
  const auto* found = std::ranges::find_if(kElementTypes, [&](const ElementType& type) {
    return (!type.torch.empty() && name == type.torch) ||
           (!type.storage.empty() && name == fmt::format("{}Storage", type.storage));
  });
  return found == kElementTypes.end() ? nullptr : found;
}

bool is_parameter(std::string_view name) {
  return name == kParameter || name == kParameterWithState;
}

/// What a Tensor with attributes can be an object of.
bool is_plain_type(std::string_view name) {
  return name == "torch.Tensor"sv || name == "torch.nn.parameter.Parameter"sv;
}

/// The arguments that a constructor of plain tensors needs at least; 0 for any other name.
std::size_t arguments_needed(std::string_view name) {
  return name == kTensor ? 4 : name == kTensor2 ? 6 : name == kTensor3 ? 7 : 0;
}

/// A constructor of plain tensors, and its arguments.
struct Constructor {
  std::string name;
  std::span<const ValueId> arguments;
};

/// The constructor inside a tensor's wrappers.
std::optional<Constructor> tensor_constructor(const PickleGraph& graph, ValueId id) {
  constexpr int kMostWrappers = 8;
  for (int i = 0; i < kMostWrappers; ++i) {
    Constructor found = {called(graph, id), arguments(graph, id)};
    if (found.name == kTensorWithState && found.arguments.size() >= 3 &&
        is_plain_type(graph.global_name(found.arguments[1]))) {
      const ValueId inner = found.arguments[2];
      found = {graph.global_name(found.arguments[0]), graph[inner].kind == ValueKind::tuple
                                                          ? graph.items(inner)
                                                          : std::span<const ValueId>()};
    }
    if (is_parameter(found.name) && !found.arguments.empty()) {
      id = found.arguments.front();
      continue;
    }
    const std::size_t needed = arguments_needed(found.name);
    return needed > 0 && found.arguments.size() >= needed ? std::optional(found) : std::nullopt;
  }
  return std::nullopt;
}

std::span<const ValueId> persistent_parts(const PickleGraph& graph, ValueId id) {
  const Value& value = graph[id];
  return value.kind == ValueKind::persistent && graph[value.first].kind == ValueKind::tuple
             ? graph.items(value.first)
             : std::span<const ValueId>();
}

bool is_allowed(std::string_view name) {
  return std::ranges::find(kAllowed, name) != kAllowed.end();
}

}  // namespace

std::optional<std::vector<ValueId>> dict_items(const PickleGraph& graph, ValueId id) {
  const auto put_in = graph.items(id);
  if (graph[id].kind == ValueKind::dict) {
    return std::vector<ValueId>(put_in.begin(), put_in.end());
  }
  if (called(graph, id) != kOrderedDict) {
    return std::nullopt;
  }
  std::vector<ValueId> items;
  const auto pairs = arguments(graph, id);  // of Python 2: a list of lists of two
  if (pairs.size() == 1 && is_sequence(graph, pairs.front())) {
    for (const ValueId pair : graph.items(pairs.front())) {
      if (is_sequence(graph, pair) && graph.items(pair).size() == 2) {
        items.insert(items.end(), {graph.items(pair)[0], graph.items(pair)[1]});
      }
    }
  }
  items.insert(items.end(), put_in.begin(), put_in.end());
  return items;
}

bool is_tensor(const PickleGraph& graph, ValueId id) {
  return tensor_constructor(graph, id).has_value();
}

bool is_storage(const PickleGraph& graph, ValueId id) {
  const auto parts = persistent_parts(graph, id);
  return parts.size() >= 5 && graph[parts[0]].text == "storage"sv &&
         graph[parts[2]].kind == ValueKind::text;
}

Storage read_storage(const PickleGraph& graph, ValueId id, const std::string& where) {
  if (!is_storage(graph, id)) {
    fail(where, "has no storage");
  }
  const auto parts = persistent_parts(graph, id);
  const ElementType* type = element_type(graph.global_name(parts[1]));
  if (type == nullptr) {
    fail(where, fmt::format("has a storage of the unknown type '{}'", graph.global_name(parts[1])));
  }
  Storage storage = {.key = graph[parts[2]].text,
                     .dtype_name = type->name,
                     .element_bytes = type->bytes,
                     .size = unsigned_of(graph, parts[4], where)};
  // Before torch 0.4 a storage could be a part of another: its own key, offset and size.
  if (parts.size() > 5 && is_sequence(graph, parts[5]) && graph.items(parts[5]).size() == 3) {
    storage.offset = unsigned_of(graph, graph.items(parts[5])[1], where);
    storage.size = unsigned_of(graph, graph.items(parts[5])[2], where);
  }
  return storage;
}

Tensor read_tensor(const PickleGraph& graph, ValueId id, const std::string& where) {
  const auto constructor = tensor_constructor(graph, id);
  if (!constructor) {
    fail(where, "is no tensor");
  }
  const auto values = constructor->arguments;
  Tensor tensor = {.storage = read_storage(graph, values[0], where),
                   .offset = unsigned_of(graph, values[1], where),
                   .shape = sizes_of(graph, values[2], where),
                   .strides = sizes_of(graph, values[3], where)};
  if (tensor.shape.size() != tensor.strides.size()) {
    fail(where, "has an impossible shape");
  }
  if (constructor->name == kTensor3) {
    const ElementType* type = element_type(graph.global_name(values[6]));
    if (type == nullptr) {
      fail(where, fmt::format("has the unknown dtype '{}'", graph.global_name(values[6])));
    }
    if (tensor.storage.element_bytes != 1) {
      fail(where, "has a dtype beside a storage that has one");
    }
    tensor.storage.size /= type->bytes;
    tensor.storage.element_bytes = type->bytes;
    tensor.storage.dtype_name = type->name;
  }
  return tensor;
}

std::optional<std::string> refused_call(const PickleGraph& graph, ValueId id) {
  if (graph[id].kind != ValueKind::call) {
    return std::nullopt;
  }
  const std::string name = called(graph, id);
  if (!is_allowed(name)) {
    return name.empty() ? "what has no name" : name;
  }
  const auto values = arguments(graph, id);
  if (name == kTensorWithState && values.size() >= 2) {
    const std::string inner = graph.global_name(values[0]);
    const std::string type = graph.global_name(values[1]);
    if (!is_allowed(inner) || !is_plain_type(type)) {
      return is_allowed(inner) ? type : inner;
    }
  }
  return std::nullopt;
}

}  // namespace bitlog2::torch
