// AVX-512 with VNNI (Cascade Lake, Zen 4 and later): sixteen channels to a register, four products
// deep. Compiled into any x86-64 build; select.cpp asks the CPU before it hands this table out.
#if defined(__x86_64__)

#if !defined(__clang__)
// GCC 12 takes its own header's "undefined" registers for mistakes (GCC bug 105593).
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif

#include <immintrin.h>

#include "target_region.h"

BITLOG2_BEGIN_TARGET("avx512f,avx512bw,avx512dq,avx512vl,avx512cd,avx512vnni")

#include "simd/avx512.h"
// Written once, over these vectors.
#include "generic/table.h"

namespace bitlog2::runtime {
namespace {

/// Rows by kLane * Lanes channels, all sums in registers.
template <std::size_t Rows, std::size_t Lanes>
void multiply_tile(const std::uint8_t* first, std::size_t input_stride, const Panel& panel,
                   std::int32_t* sums, std::size_t stride) {
  // Every loop over `totals` is unrolled, or it would not stay in registers.
  __m512i totals[Rows][Lanes];
#pragma GCC unroll 8
  for (std::size_t r = 0; r < Rows; ++r) {
#pragma GCC unroll 8
    for (std::size_t l = 0; l < Lanes; ++l) {
      totals[r][l] = _mm512_setzero_si512();
    }
  }
  const std::int8_t* values = panel.values;
  const std::size_t steps = panel.steps();
  for (std::size_t step = 0; step < steps; ++step) {
    __m512i columns[Lanes];
#pragma GCC unroll 8
    for (std::size_t l = 0; l < Lanes; ++l) {
      columns[l] = _mm512_loadu_si512(values + l * kBytes);
    }
#pragma GCC unroll 8
    for (std::size_t r = 0; r < Rows; ++r) {
      std::int32_t four = 0;
      __builtin_memcpy(&four, first + r * input_stride + step * kDepthStep, sizeof(four));
      const __m512i row = _mm512_set1_epi32(four);
#pragma GCC unroll 8
      for (std::size_t l = 0; l < Lanes; ++l) {
        totals[r][l] = _mm512_dpbusd_epi32(totals[r][l], row, columns[l]);
      }
    }
    values += Lanes * kBytes;
  }
#pragma GCC unroll 8
  for (std::size_t r = 0; r < Rows; ++r) {
#pragma GCC unroll 8
    for (std::size_t l = 0; l < Lanes; ++l) {
      _mm512_storeu_si512(sums + r * stride + l * kLane, totals[r][l]);
    }
  }
}

constexpr std::size_t kTileRows = 6;

template <std::size_t Lanes>
void multiply_rows(const Inputs& inputs, std::size_t rows, const Panel& panel, std::int32_t* sums,
                   std::size_t stride) {
  std::size_t r = 0;
  for (; r + kTileRows <= rows; r += kTileRows) {
    multiply_tile<kTileRows, Lanes>(inputs.row(r), inputs.stride, panel, sums + r * stride, stride);
  }
  const std::uint8_t* first = inputs.row(r);
  sums += r * stride;
  switch (rows - r) {
    case 5:
      return multiply_tile<5, Lanes>(first, inputs.stride, panel, sums, stride);
    case 4:
      return multiply_tile<4, Lanes>(first, inputs.stride, panel, sums, stride);
    case 3:
      return multiply_tile<3, Lanes>(first, inputs.stride, panel, sums, stride);
    case 2:
      return multiply_tile<2, Lanes>(first, inputs.stride, panel, sums, stride);
    case 1:
      return multiply_tile<1, Lanes>(first, inputs.stride, panel, sums, stride);
    default:
      return;
  }
}

void multiply(const Inputs& inputs, std::size_t rows, const Panel& panel, std::int32_t* sums,
              std::size_t stride) {
  switch (panel.width / kLane) {
    case 4:
      return multiply_rows<4>(inputs, rows, panel, sums, stride);
    case 3:
      return multiply_rows<3>(inputs, rows, panel, sums, stride);
    case 2:
      return multiply_rows<2>(inputs, rows, panel, sums, stride);
    default:
      return multiply_rows<1>(inputs, rows, panel, sums, stride);
  }
}

std::uint64_t multiply_in_registers(std::uint64_t rounds) {
  return multiply_in<24>(rounds, [](I32 sums, U8 bytes) -> I32 {
    return {_mm512_dpbusd_epi32(sums.v, bytes.v, bytes.v)};
  });
}

}  // namespace
}  // namespace bitlog2::runtime

BITLOG2_END_TARGET

namespace bitlog2::runtime {

const Kernels& avx512_vnni_kernels();

const Kernels& avx512_vnni_kernels() {
  static constexpr Kernels kKernels = make_table("avx512_vnni");
  return kKernels;
}

}  // namespace bitlog2::runtime

#endif
