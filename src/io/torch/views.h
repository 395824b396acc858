// Tensors as views of their storages' bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "bitlog2/tensors.h"
#include "io/torch/tensors.h"

namespace bitlog2::torch {

/// Makes views of tensors. Tensors that are not contiguous in their storage are copied, up to a
/// bound on the bytes of all copies.
class ViewMaker {
 public:
  /// `most_copied` is that bound.
  explicit ViewMaker(std::uint64_t most_copied) : left_(most_copied) {}

  /// `storage` holds the bytes of the tensor's storage and may be shorter than it says. Throws
  /// Error beginning with `where` for a tensor that is not within it.
  TensorView view(const Tensor& tensor, std::span<const std::byte> storage,
                  const std::string& where);

  /// The memory of the copies.
  std::vector<std::shared_ptr<const void>> take_memory() { return std::move(memory_); }

 private:
  std::uint64_t left_;
  std::vector<std::shared_ptr<const void>> memory_;
};

}  // namespace bitlog2::torch
