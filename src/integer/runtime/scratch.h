// How an operation divides its scratch memory; asked once at open and again at run.
#pragma once

#include <cstddef>
#include <cstdint>

#include "program.h"

namespace bitlog2::runtime {

/// Tokens that a linear layer takes through one row of unpacked weights.
inline constexpr std::size_t kTokenBlock = 16;

/// Tokens that attend to each other.
constexpr std::size_t group_tokens(const Op& op) {
  return op.window == 0 ? op.rows : std::size_t{op.window} * op.window;
}

/// Parts of the arena start at multiples of this.
inline constexpr std::size_t kAlignment = 16;

constexpr std::uint64_t scratch_bytes(const Op& op) {
  switch (static_cast<OpKind>(op.kind)) {
    case OpKind::embed:
    case OpKind::linear:  // inputs and one row of weights as int16
      return (kTokenBlock + 1) * 2 * std::uint64_t{op.in_features} + 2 * kAlignment;
    case OpKind::layer_norm:  // one row as int32
      return 4 * std::uint64_t{op.in_features} + kAlignment;
    case OpKind::attention: {  // context; scores; k, v and a row of q of one head
      const std::uint64_t tokens = group_tokens(op);
      const std::uint64_t head_dim = op.heads == 0 ? 0 : op.out_features / op.heads;
      return 8 * head_dim + 4 * tokens + 2 * head_dim * (2 * tokens + 1) + 5 * kAlignment;
    }
    case OpKind::mean:
      return 0;
  }
  return 0;
}

}  // namespace bitlog2::runtime
