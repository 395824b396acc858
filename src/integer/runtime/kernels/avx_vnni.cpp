// AVX-VNNI: the dot product of bytes without AVX-512, as Intel's client CPUs have it from Alder
// Lake on, and Zen 5. All that is no product is AVX2's. Compiled into any x86-64 build; select.cpp
// asks the CPU before it hands this table out.
#if defined(__x86_64__)

#include <immintrin.h>

#include "planes.h"

namespace bitlog2::runtime {

const Kernels& avx2_kernels();
const Kernels& avx_vnni_kernels();

}  // namespace bitlog2::runtime

// Only what follows may use these instructions: inline functions of the headers above are shared
// with files for other CPUs.
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,avxvnni"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,avxvnni")
#endif

namespace bitlog2::runtime {
namespace {

constexpr std::size_t kBytes = 32;  // of a register
constexpr std::size_t kValues = 8;  // int32 in a register

__m256i load(const void* at) {
  return _mm256_loadu_si256(static_cast<const __m256i*>(at));
}

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
      const __m256i column = load(values + l * kBytes);
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
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(sums + r * stride + c + l * kValues),
                          totals[r][l]);
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

void apply(const AttentionRule& rule, const Weights& weights, const Panel& values,
           std::int32_t zero, std::int32_t* context) {
  apply_planes(multiply, rule, weights, values, zero, context);
}

std::uint64_t multiply_in_registers(std::uint64_t rounds) {
  constexpr std::size_t kSums = 14;
  __m256i sums[kSums];
#pragma GCC unroll 14
  // NOLINTNEXTLINE(modernize-loop-convert): only loops over indices unroll
  for (std::size_t i = 0; i < kSums; ++i) {
    sums[i] = _mm256_setzero_si256();
  }
  const __m256i values = _mm256_set1_epi8(3);
  for (std::uint64_t round = 0; round < rounds; ++round) {
#pragma GCC unroll 14
    // NOLINTNEXTLINE(modernize-loop-convert): only loops over indices unroll
    for (std::size_t i = 0; i < kSums; ++i) {
      sums[i] = _mm256_dpbusd_avx_epi32(sums[i], values, values);
      asm volatile("" : "+x"(sums[i]));  // so that every product is made
    }
  }
  return rounds * kSums * kBytes;
}

Kernels with_products_of_its_own(Kernels kernels) {
  kernels.name = "avx_vnni";
  kernels.multiply = multiply;
  kernels.apply = apply;
  kernels.multiply_in_registers = multiply_in_registers;
  return kernels;
}

}  // namespace

const Kernels& avx_vnni_kernels() {
  static const Kernels kernels = with_products_of_its_own(avx2_kernels());
  return kernels;
}

}  // namespace bitlog2::runtime

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

#endif
