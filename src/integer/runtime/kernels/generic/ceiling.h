// Products in registers, for tables' multiply_in_registers().
#pragma once

#include <cstddef>
#include <cstdint>

namespace bitlog2::runtime {
namespace {

/// `rounds` times multiply_add(sums, bytes), of kBytes products, on each of kSums registers.
template <std::size_t kSums, class MultiplyAdd>
[[gnu::always_inline]] inline std::uint64_t multiply_in(std::uint64_t rounds,
                                                        const MultiplyAdd& multiply_add) {
  I32 sums[kSums];
#pragma GCC unroll 24
  // NOLINTNEXTLINE(modernize-loop-convert): only loops over indices unroll
  for (std::size_t i = 0; i < kSums; ++i) {
    sums[i] = I32::all(0);
  }
  U8 bytes = U8::all(3);
  for (std::uint64_t round = 0; round < rounds; ++round) {
#pragma GCC unroll 24
    // NOLINTNEXTLINE(modernize-loop-convert): only loops over indices unroll
    for (std::size_t i = 0; i < kSums; ++i) {
      sums[i] = multiply_add(sums[i], bytes);
      keep_in_registers(sums[i], bytes);  // so that every product is made
    }
  }
  return rounds * kSums * kBytes;
}

}  // namespace
}  // namespace bitlog2::runtime
