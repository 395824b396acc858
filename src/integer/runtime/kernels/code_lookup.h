// A decode table in parts of sixteen entries, as many as one shuffle of bytes can look up.
#pragma once

#include <cstddef>
#include <cstdint>

namespace bitlog2::runtime {

struct CodeLookup {
  static constexpr std::size_t kPart = 16;
  static constexpr std::size_t kMost = 256;

  /// `table` has 1 to kMost entries; zeros fill its last part.
  CodeLookup(const std::uint8_t* table, std::size_t size) : parts((size + kPart - 1) / kPart) {
    __builtin_memset(entries[parts - 1], 0, kPart);
    __builtin_memcpy(entries, table, size);
  }

  std::size_t parts;
  std::uint8_t entries[kMost / kPart][kPart];
};

}  // namespace bitlog2::runtime
