// Runs of values and of bytes, a register at a time, whose last one may not be full.
#pragma once

#include <cstddef>
#include <cstdint>

namespace bitlog2::runtime {
namespace {

/// Like FirstLanes, for a full register.
struct AllLanes {
  static I32 load_from(const std::int32_t* at) { return I32::load(at); }
  static void store_to(std::int32_t* at, I32 values) { values.store(at); }
  static I32 keep(I32 values) { return values; }
  static I32 choose(I32, I32 values) { return values; }
};

/// Like FirstBytes, for a full register.
struct AllBytes {
  static U8 load_from(const std::uint8_t* at) { return U8::load(at); }
  static U8 load_nibbles_from(const std::uint8_t* at) { return U8::load_nibbles(at); }
  static void store_to(std::uint8_t* at, U8 bytes) { bytes.store(at); }
  static U8 keep(U8 bytes) { return bytes; }
};

/// Calls use(at, which lanes) for every kValues values.
template <class Use>
[[gnu::always_inline]] inline void for_each_lanes(std::size_t count, const Use& use) {
  std::size_t i = 0;
  for (; i + kValues <= count; i += kValues) {
    use(i, AllLanes());
  }
  if (i < count) {
    use(i, FirstLanes(count - i));
  }
}

/// Calls use(at, which bytes) for every kBytes bytes.
template <class Use>
[[gnu::always_inline]] inline void for_each_bytes(std::size_t count, const Use& use) {
  std::size_t i = 0;
  for (; i + kBytes <= count; i += kBytes) {
    use(i, AllBytes());
  }
  if (i < count) {
    use(i, FirstBytes(count - i));
  }
}

}  // namespace
}  // namespace bitlog2::runtime
