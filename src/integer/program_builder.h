// Collects a program's tensors and operations and lays them out as a quantized file.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "bitlog2/integer.h"
#include "bitlog2/safetensors.h"
#include "integer/runtime/program.h"

namespace bitlog2::integer {

class ProgramBuilder {
 public:
  /// Adds a tensor and returns its handle, which an Op holds in place of the tensor's offset.
  std::uint32_t add(const std::string& name, std::span<const std::int32_t> values);
  std::uint32_t add(const std::string& name, std::span<const std::int16_t> values);
  std::uint32_t add(const std::string& name, std::span<const std::uint8_t> values);
  std::uint32_t add_heads(const std::string& name, std::span<const runtime::HeadRecord> heads);

  /// Adds codes [rows, columns] of `bits` bits: up to 4 bits, two in a byte. Every row starts at a
  /// byte.
  std::uint32_t add_codes(const std::string& name, std::span<const std::uint8_t> codes,
                          std::size_t rows, std::size_t columns, int bits);

  /// `layer` is the name under which `bitlog2 compare` shows what the operation writes.
  void add_op(const runtime::Op& op, const std::string& layer);

  /// The whole file, with `info` as metadata. Completes the header with sizes and checksum.
  std::vector<std::byte> finish(runtime::Header header, const QuantizedFileInfo& info) const;

 private:
  struct Tensor {
    std::string name;
    DType dtype;
    std::vector<std::uint64_t> shape;
    std::vector<std::byte> bytes;
  };

  std::uint32_t add_tensor(Tensor tensor);

  std::vector<Tensor> tensors_;
  std::vector<runtime::Op> ops_;
  std::vector<std::string> layers_;
};

}  // namespace bitlog2::integer
