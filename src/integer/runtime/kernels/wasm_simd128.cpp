// WebAssembly's vectors of 128 bits: four channels to a register, products of 16 bits. For
// WebAssembly modules that are built for them as a whole (built_for.h); a page chooses the
// WebAssembly module.
#if defined(__wasm_simd128__)

#include "simd/wasm.h"
#include "target_region.h"
// Written once, over these vectors.
#include "generic/table.h"

namespace bitlog2::runtime {
namespace {

constexpr std::size_t kRows = 4;

/// kRowCount rows by the four channels from c on. Sums are kept by pairs of products, since a dot
/// product adds up two.
template <std::size_t kRowCount>
void multiply_tile(const Inputs& inputs, std::size_t r, const Panel& panel, std::size_t c,
                   std::int32_t* sums, std::size_t stride) {
  v128_t first_channels[kRowCount];
  v128_t last_channels[kRowCount];
#pragma GCC unroll 4
  for (std::size_t i = 0; i < kRowCount; ++i) {
    first_channels[i] = wasm_i32x4_splat(0);
    last_channels[i] = wasm_i32x4_splat(0);
  }
  const std::int8_t* at = panel.values + c * kDepthStep;
  for (std::size_t step = 0; step < panel.steps(); ++step) {
    const v128_t values = wasm_v128_load(at);
    const v128_t first = wasm_i16x8_extend_low_i8x16(values);
    const v128_t last = wasm_i16x8_extend_high_i8x16(values);
#pragma GCC unroll 4
    for (std::size_t i = 0; i < kRowCount; ++i) {
      const v128_t four = wasm_v128_load32_splat(inputs.row(r + i) + step * kDepthStep);
      const v128_t row = wasm_u16x8_extend_low_u8x16(four);
      first_channels[i] = wasm_i32x4_add(first_channels[i], wasm_i32x4_dot_i16x8(first, row));
      last_channels[i] = wasm_i32x4_add(last_channels[i], wasm_i32x4_dot_i16x8(last, row));
    }
    at += panel.width * kDepthStep;
  }
#pragma GCC unroll 4
  for (std::size_t i = 0; i < kRowCount; ++i) {
    const I32 even = {wasm_i32x4_shuffle(first_channels[i], last_channels[i], 0, 2, 4, 6)};
    const I32 odd = {wasm_i32x4_shuffle(first_channels[i], last_channels[i], 1, 3, 5, 7)};
    (even + odd).store(sums + (r + i) * stride + c);
  }
}

void multiply(const Inputs& inputs, std::size_t rows, const Panel& panel, std::int32_t* sums,
              std::size_t stride) {
  for (std::size_t c = 0; c < panel.width; c += kValues) {
    std::size_t r = 0;
    for (; r + kRows <= rows; r += kRows) {
      multiply_tile<kRows>(inputs, r, panel, c, sums, stride);
    }
    for (; r < rows; ++r) {
      multiply_tile<1>(inputs, r, panel, c, sums, stride);
    }
  }
}

std::uint64_t multiply_in_registers(std::uint64_t rounds) {
  return portable_kernels().multiply_in_registers(rounds);
}

}  // namespace

const Kernels& wasm_simd128_kernels();

const Kernels& wasm_simd128_kernels() {
  static constexpr Kernels kKernels = make_table("wasm_simd128");
  return kKernels;
}

}  // namespace bitlog2::runtime

#endif
