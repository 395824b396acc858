// AVX-VNNI: the dot product of bytes without AVX-512, as Intel's client CPUs have it from Alder
// Lake on, and Zen 5. All that is no product is AVX2's. Compiled into any x86-64 build; select.cpp
// asks the CPU before it hands this table out.
#if defined(__x86_64__)

#include <immintrin.h>

#include "target_region.h"

BITLOG2_BEGIN_TARGET("avx2,avxvnni")

#include "simd/avx2.h"
// Written once, over these vectors.
#include "generic/attend_values.h"
#include "generic/ceiling.h"

namespace bitlog2::runtime {
namespace {

/// Rows by kValues * Lanes channels from c on, all sums in registers.
template <std::size_t Rows, std::size_t Lanes>
void multiply_tile(const std::uint8_t* first, std::size_t input_stride, const Panel& panel,
                   std::size_t c, std::int32_t* sums, std::size_t stride) {
  // Every loop over `totals` is unrolled, or it would not stay in registers.
  __m256i totals[Rows][Lanes];
#pragma GCC unroll 8
  for (std::size_t r = 0; r < Rows; ++r) {
#pragma GCC unroll 8
    for (std::size_t l = 0; l < Lanes; ++l) {
      totals[r][l] = _mm256_setzero_si256();
    }
  }
  const std::size_t steps = panel.steps();
  const std::int8_t* values = panel.values + c * kDepthStep;
  for (std::size_t step = 0; step < steps; ++step) {
    __m256i rows[Rows];
#pragma GCC unroll 8
    for (std::size_t r = 0; r < Rows; ++r) {
      std::int32_t four = 0;
      __builtin_memcpy(&four, first + r * input_stride + step * kDepthStep, sizeof(four));
      rows[r] = _mm256_set1_epi32(four);
    }
#pragma GCC unroll 8
    for (std::size_t l = 0; l < Lanes; ++l) {
      const __m256i column = load_register(values + l * kBytes);
#pragma GCC unroll 8
      for (std::size_t r = 0; r < Rows; ++r) {
        totals[r][l] = _mm256_dpbusd_avx_epi32(totals[r][l], rows[r], column);
      }
    }
    values += panel.width * kDepthStep;
  }
#pragma GCC unroll 8
  for (std::size_t r = 0; r < Rows; ++r) {
#pragma GCC unroll 8
    for (std::size_t l = 0; l < Lanes; ++l) {
      store_register(sums + r * stride + c + l * kValues, totals[r][l]);
    }
  }
}

template <std::size_t Lanes>
void multiply_rows(const Inputs& inputs, std::size_t rows, const Panel& panel, std::size_t c,
                   std::int32_t* sums, std::size_t stride) {
  constexpr std::size_t kTileRows = 3;
  std::size_t r = 0;
  for (; r + kTileRows <= rows; r += kTileRows) {
    multiply_tile<kTileRows, Lanes>(inputs.row(r), inputs.stride, panel, c, sums + r * stride,
                                    stride);
  }
  for (; r < rows; ++r) {
    multiply_tile<1, Lanes>(inputs.row(r), inputs.stride, panel, c, sums + r * stride, stride);
  }
}

void multiply(const Inputs& inputs, std::size_t rows, const Panel& panel, std::int32_t* sums,
              std::size_t stride) {
  std::size_t c = 0;
  for (; c + 4 * kValues <= panel.width; c += 4 * kValues) {
    multiply_rows<4>(inputs, rows, panel, c, sums, stride);
  }
  for (; c < panel.width; c += 2 * kValues) {
    multiply_rows<2>(inputs, rows, panel, c, sums, stride);
  }
}

std::uint64_t multiply_in_registers(std::uint64_t rounds) {
  return multiply_in<14>(rounds, [](I32 sums, U8 bytes) -> I32 {
    return {_mm256_dpbusd_avx_epi32(sums.v, bytes.v, bytes.v)};
  });
}

}  // namespace
}  // namespace bitlog2::runtime

BITLOG2_END_TARGET

namespace bitlog2::runtime {

const Kernels& avx2_kernels();
const Kernels& avx_vnni_kernels();

const Kernels& avx_vnni_kernels() {
  static const Kernels kernels = [] {
    Kernels own = avx2_kernels();
    own.name = "avx_vnni";
    own.multiply = multiply;
    own.attend_values = attend_values;
    own.multiply_in_registers = multiply_in_registers;
    return own;
  }();
  return kernels;
}

}  // namespace bitlog2::runtime

#endif
