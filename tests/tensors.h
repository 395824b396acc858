// Tensors that a test owns, and safetensors files of them.
#pragma once

#include <cstring>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "bitlog2/model.h"
#include "bitlog2/safetensors.h"

namespace bitlog2::testing {

struct OwnedTensor {
  std::string name;
  DType dtype = DType::f32;
  std::vector<std::uint64_t> shape;
  std::vector<std::byte> bytes;
};

template <class T>
OwnedTensor make_tensor(std::string name, DType dtype, std::vector<std::uint64_t> shape,
                        const std::vector<T>& values) {
  const auto bytes = std::as_bytes(std::span(values));
  return {std::move(name), dtype, std::move(shape), {bytes.begin(), bytes.end()}};
}

inline std::vector<OwnedTensor> tensors_of(const Safetensors& file) {
  std::vector<OwnedTensor> tensors;
  for (const auto& [name, view] : file.tensors()) {
    tensors.push_back({name, view.dtype, view.shape, {view.bytes.begin(), view.bytes.end()}});
  }
  return tensors;
}

/// The tensors of a model's checkpoint, in F32.
inline std::vector<OwnedTensor> tensors_of(Model& model) {
  std::vector<OwnedTensor> tensors;
  for_each_parameter(model, [&](const Parameter& parameter) {
    tensors.push_back(make_tensor(parameter.name, DType::f32, parameter.shape, parameter.values));
  });
  return tensors;
}

inline void write_tensors(const std::filesystem::path& path,
                          const std::vector<OwnedTensor>& tensors,
                          const std::map<std::string, std::string>& metadata = {}) {
  std::vector<TensorToWrite> to_write;
  to_write.reserve(tensors.size());
  for (const OwnedTensor& tensor : tensors) {
    to_write.push_back({tensor.name, tensor.dtype, tensor.shape, tensor.bytes});
  }
  write_safetensors(path, to_write, metadata);
}

/// A file's bytes from its JSON header and its data.
inline std::string safetensors_bytes(const std::string& header, const std::string& data) {
  const std::uint64_t length = header.size();
  std::string bytes(sizeof(length), '\0');
  std::memcpy(bytes.data(), &length, sizeof(length));
  return bytes + header + data;
}

}  // namespace bitlog2::testing
