#include "integer/program_builder.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <limits>
#include <numeric>

#include "bitlog2/error.h"
#include "integer/file.h"
#include "integer/runtime/network.h"

namespace bitlog2::integer {
namespace {

using runtime::Header;
using runtime::Op;

/// The fields of an Op that refer to a tensor.
constexpr std::array kReferences = {&Op::weights,     &Op::zero_points, &Op::bias,
                                    &Op::multipliers, &Op::decode,      &Op::table,
                                    &Op::positions,   &Op::head_table,  &Op::score_bias};

std::size_t element_bytes(DType dtype) {
  return dtype == DType::i32 ? 4 : dtype == DType::i16 ? 2 : 1;
}

template <class T>
std::vector<std::byte> copy_bytes(std::span<const T> values) {
  const auto bytes = std::as_bytes(values);
  return {bytes.begin(), bytes.end()};
}

}  // namespace

std::uint32_t ProgramBuilder::add_tensor(Tensor tensor) {
  tensors_.push_back(std::move(tensor));
  return static_cast<std::uint32_t>(tensors_.size());  // 0 is "none"
}

std::uint32_t ProgramBuilder::add(const std::string& name, std::span<const std::int32_t> values) {
  return add_tensor({name, DType::i32, {values.size()}, copy_bytes(values)});
}

std::uint32_t ProgramBuilder::add(const std::string& name, std::span<const std::int16_t> values) {
  return add_tensor({name, DType::i16, {values.size()}, copy_bytes(values)});
}

std::uint32_t ProgramBuilder::add(const std::string& name, std::span<const std::uint8_t> values) {
  return add_tensor({name, DType::u8, {values.size()}, copy_bytes(values)});
}

std::uint32_t ProgramBuilder::add_heads(const std::string& name,
                                        std::span<const runtime::HeadRecord> heads) {
  return add_tensor(
      {name, DType::i32, {heads.size(), sizeof(runtime::HeadRecord) / 4}, copy_bytes(heads)});
}

std::uint32_t ProgramBuilder::add_codes(const std::string& name,
                                        std::span<const std::uint8_t> codes, std::size_t rows,
                                        std::size_t columns, int bits) {
  if (bits > 4) {
    return add_tensor({name, DType::u8, {rows, columns}, copy_bytes(codes)});
  }
  const std::size_t row_bytes = (columns + 1) / 2;
  std::vector<std::byte> packed(rows * row_bytes);
  for (std::size_t row = 0; row < rows; ++row) {
    for (std::size_t i = 0; i < columns; ++i) {
      packed[row * row_bytes + i / 2] |= std::byte{codes[row * columns + i]} << (i % 2 * 4);
    }
  }
  return add_tensor({name, DType::u8, {rows, row_bytes}, std::move(packed)});
}

void ProgramBuilder::add_op(const Op& op, const std::string& layer) {
  ops_.push_back(op);
  layers_.push_back(layer);
}

std::vector<std::byte> ProgramBuilder::finish(Header header, const QuantizedFileInfo& info) const {
  // Widest elements first: then every tensor is aligned without gaps.
  std::vector<std::size_t> order(tensors_.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    return element_bytes(tensors_[a].dtype) > element_bytes(tensors_[b].dtype);
  });
  const std::size_t program_bytes = sizeof(Header) + ops_.size() * sizeof(Op);
  std::vector<std::uint64_t> offsets(tensors_.size());
  std::uint64_t size = program_bytes;
  for (const std::size_t index : order) {
    offsets[index] = size;
    size += tensors_[index].bytes.size();
  }
  if (size > std::numeric_limits<std::int32_t>::max()) {
    throw Error("the quantized model is larger than 2 GB");
  }

  std::vector<std::byte> data(static_cast<std::size_t>(size));
  for (std::size_t i = 0; i < ops_.size(); ++i) {
    Op op = ops_[i];
    for (const auto reference : kReferences) {
      op.*reference =
          op.*reference == 0 ? 0 : static_cast<std::uint32_t>(offsets[op.*reference - 1]);
    }
    std::memcpy(data.data() + sizeof(Header) + i * sizeof(Op), &op, sizeof(Op));
  }
  for (std::size_t i = 0; i < tensors_.size(); ++i) {
    std::copy(tensors_[i].bytes.begin(), tensors_[i].bytes.end(),
              data.begin() + static_cast<std::ptrdiff_t>(offsets[i]));
  }
  header.data_bytes = static_cast<std::uint32_t>(size);
  header.op_count = static_cast<std::uint32_t>(ops_.size());
  std::memcpy(data.data(), &header, sizeof(Header));
  const std::uint64_t checksum = runtime::checksum(data);
  header.checksum_low = static_cast<std::uint32_t>(checksum);
  header.checksum_high = static_cast<std::uint32_t>(checksum >> 32);
  std::memcpy(data.data(), &header, sizeof(Header));

  const std::span<const std::byte> all = data;
  std::vector<TensorToWrite> tensors = {
      {"program", DType::i32, {program_bytes / 4}, all.first(program_bytes)}};
  for (const std::size_t index : order) {
    const Tensor& tensor = tensors_[index];
    tensors.push_back({tensor.name, tensor.dtype, tensor.shape,
                       all.subspan(static_cast<std::size_t>(offsets[index]), tensor.bytes.size())});
  }
  return serialize_safetensors(tensors, file_metadata(info, layers_));
}

}  // namespace bitlog2::integer
