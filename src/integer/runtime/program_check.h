// The part of opening a network that checks its operations.
#pragma once

#include "network.h"

namespace bitlog2::runtime {

inline constexpr std::uint32_t kMaxFeatures = 1 << 19;

/// Little-endian words at any address.
template <class T>
T read_at(const std::byte* data) {
  T value;
  auto* target = reinterpret_cast<unsigned char*>(&value);
  for (std::size_t i = 0; i < sizeof(T); ++i) {
    target[i] = static_cast<unsigned char>(data[i]);
  }
  return value;
}

/// Checks the operations behind a header that is already checked, and sets the sizes of the arena's
/// parts in `network`.
Status check_program(Network& network);

}  // namespace bitlog2::runtime
