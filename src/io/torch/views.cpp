// Bounds, contiguity and the copy of what is not contiguous.
#include "io/torch/views.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <limits>

#include "bitlog2/error.h"
#include "io/dtypes.h"

namespace bitlog2::torch {
namespace {

/// `a` times `b` plus `c`; the largest number if that is larger.
std::uint64_t multiply_add(std::uint64_t a, std::uint64_t b, std::uint64_t c) {
  constexpr std::uint64_t kLargest = std::numeric_limits<std::uint64_t>::max();
  return b != 0 && a > (kLargest - c) / b ? kLargest : a * b + c;
}

std::uint64_t count_elements(const Tensor& tensor) {
  std::uint64_t count = 1;
  for (const std::uint64_t size : tensor.shape) {
    count = multiply_add(count, size, 0);
  }
  return std::ranges::find(tensor.shape, 0U) == tensor.shape.end() ? count : 0;
}

/// The place in the storage of the last element of a tensor that has one.
std::uint64_t last_element(const Tensor& tensor) {
  std::uint64_t last = tensor.offset;
  for (std::size_t i = 0; i < tensor.shape.size(); ++i) {
    last = multiply_add(tensor.shape[i] - 1, tensor.strides[i], last);
  }
  return last;
}

/// Whether the elements stand in a row, in row-major order.
bool is_contiguous(const Tensor& tensor) {
  std::uint64_t expected = 1;
  for (std::size_t i = tensor.shape.size(); i > 0; --i) {
    if (tensor.shape[i - 1] != 1 && tensor.strides[i - 1] != expected) {
      return false;
    }
    expected *= tensor.shape[i - 1];
  }
  return true;
}

/// Copies the elements of dimensions `dimension` and up, row-major; `from` is the first one's place
/// in the storage. Returns where the next goes.
std::byte* copy_elements(const Tensor& tensor, const std::byte* storage, std::size_t dimension,
                         std::uint64_t from, std::byte* to) {
  const std::size_t bytes = tensor.storage.element_bytes;
  if (dimension == tensor.shape.size()) {
    std::memcpy(to, storage + from * bytes, bytes);
    return to + bytes;
  }
  for (std::uint64_t i = 0; i < tensor.shape[dimension]; ++i) {
    to = copy_elements(tensor, storage, dimension + 1, from + i * tensor.strides[dimension], to);
  }
  return to;
}

}  // namespace

TensorView ViewMaker::view(const Tensor& tensor, std::span<const std::byte> storage,
                           const std::string& where) {
  const DTypeEntry* dtype = find_dtype(tensor.storage.dtype_name);
  TensorView view = {.dtype = dtype == nullptr ? DType::other : dtype->dtype,
                     .dtype_name = std::string(tensor.storage.dtype_name),
                     .shape = tensor.shape,
                     .bytes = {},
                     .element_count = count_elements(tensor)};
  if (view.element_count == 0) {
    return view;
  }
  const std::size_t element_bytes = tensor.storage.element_bytes;
  const std::uint64_t there = std::min(tensor.storage.size, storage.size() / element_bytes);
  if (last_element(tensor) >= there) {
    throw Error(
        fmt::format("{} goes beyond the {} elements of its storage; the file is cut off or "
                    "damaged: copy or download it again",
                    where, there));
  }
  if (is_contiguous(tensor)) {
    view.bytes = storage.subspan(static_cast<std::size_t>(tensor.offset) * element_bytes,
                                 static_cast<std::size_t>(view.element_count) * element_bytes);
    return view;
  }
  // A stride of 0 repeats elements, to any number.
  const std::uint64_t size = multiply_add(view.element_count, element_bytes, 0);
  if (size > left_) {
    throw Error(fmt::format(
        "{} repeats its storage's elements too often; save it after .contiguous()", where));
  }
  left_ -= size;
  auto copy = std::make_shared<std::vector<std::byte>>(static_cast<std::size_t>(size));
  copy_elements(tensor, storage.data(), 0, tensor.offset, copy->data());
  view.bytes = *copy;
  memory_.push_back(std::move(copy));
  return view;
}

}  // namespace bitlog2::torch
