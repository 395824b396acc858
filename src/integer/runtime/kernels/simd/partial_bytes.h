// FirstBytes through memory, for instruction sets without masks of bytes.
#pragma once

#include <cstddef>
#include <cstdint>

namespace bitlog2::runtime {
namespace {

/// The first `count` bytes of a register, at most all. Memory of the others is not accessed.
class FirstBytes {
 public:
  explicit FirstBytes(std::size_t count) : count_(count) {}

  /// Anything in the others.
  U8 load_from(const std::uint8_t* at) const {
    std::uint8_t bytes[kBytes] = {};
    __builtin_memcpy(bytes, at, count_);
    return U8::load(bytes);
  }
  /// Anything in the others.
  U8 load_nibbles_from(const std::uint8_t* at) const {
    std::uint8_t pairs[kBytes / 2] = {};
    __builtin_memcpy(pairs, at, (count_ + 1) / 2);
    return U8::load_nibbles(pairs);
  }
  void store_to(std::uint8_t* at, U8 a) const {
    std::uint8_t bytes[kBytes];
    a.store(bytes);
    __builtin_memcpy(at, bytes, count_);
  }
  /// 0 in the others.
  U8 keep(U8 a) const {
    std::uint8_t bytes[kBytes] = {};
    store_to(bytes, a);
    return U8::load(bytes);
  }

 private:
  std::size_t count_;
};

}  // namespace
}  // namespace bitlog2::runtime
