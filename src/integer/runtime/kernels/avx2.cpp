// AVX2: eight channels to a register. Compiled into any x86-64 build; select.cpp asks the CPU
// before it hands this table out.
#if defined(__x86_64__)

#include <immintrin.h>

#include "target_region.h"

BITLOG2_BEGIN_TARGET("avx2")

#include "simd/avx2.h"
// Written once, over these vectors.
#include "generic/table.h"

namespace bitlog2::runtime {
namespace {

/// totals = _mm256_add_epi16(totals, pairs), for which GCC would use a second register and a copy
/// where it has registers left.
inline void add_in_place(__m256i& totals, __m256i pairs) {
  if constexpr (kEmulated) {
    totals = _mm256_add_epi16(totals, pairs);
  } else {
    asm volatile("vpaddw %1, %0, %0" : "+x"(totals) : "x"(pairs));
  }
}

/// Adds up pairs of products in 16 bits as long as those hold them.
template <std::size_t Rows, std::size_t Lanes>
void multiply_tile(const std::uint8_t* first, std::size_t input_stride, const Panel& panel,
                   std::size_t steps_in_16_bits, std::size_t c, std::int32_t* sums,
                   std::size_t stride) {
  // Every loop over sums is unrolled, or they would not stay in registers.
  __m256i wide[Rows][Lanes];
#pragma GCC unroll 8
  for (std::size_t r = 0; r < Rows; ++r) {
#pragma GCC unroll 8
    for (std::size_t l = 0; l < Lanes; ++l) {
      wide[r][l] = _mm256_setzero_si256();
    }
  }
  const std::size_t steps = panel.steps();
  const std::size_t step_bytes = panel.width * kDepthStep;
  for (std::size_t begin = 0; begin < steps; begin += steps_in_16_bits) {
    const std::size_t end = begin + steps_in_16_bits < steps ? begin + steps_in_16_bits : steps;
    __m256i totals[Rows][Lanes];
#pragma GCC unroll 8
    for (std::size_t r = 0; r < Rows; ++r) {
#pragma GCC unroll 8
      for (std::size_t l = 0; l < Lanes; ++l) {
        totals[r][l] = _mm256_setzero_si256();
      }
    }
    for (std::size_t step = begin; step < end; ++step) {
      const std::int8_t* values = panel.values + step * step_bytes + c * kDepthStep;
#pragma GCC unroll 8
      for (std::size_t r = 0; r < Rows; ++r) {
        std::int32_t four = 0;
        __builtin_memcpy(&four, first + r * input_stride + step * kDepthStep, sizeof(four));
        const __m256i row = _mm256_set1_epi32(four);
#pragma GCC unroll 8
        for (std::size_t l = 0; l < Lanes; ++l) {
          const __m256i pairs = _mm256_maddubs_epi16(row, load_register(values + l * kBytes));
          add_in_place(totals[r][l], pairs);
        }
      }
    }
    for (std::size_t r = 0; r < Rows; ++r) {
      for (std::size_t l = 0; l < Lanes; ++l) {
        wide[r][l] =
            _mm256_add_epi32(wide[r][l], _mm256_madd_epi16(totals[r][l], _mm256_set1_epi16(1)));
      }
    }
  }
#pragma GCC unroll 8
  for (std::size_t r = 0; r < Rows; ++r) {
#pragma GCC unroll 8
    for (std::size_t l = 0; l < Lanes; ++l) {
      store_register(sums + r * stride + c + l * kValues, wide[r][l]);
    }
  }
}

/// For pairs of products that may not fit in 16 bits: each input is split into a part below 128 and
/// a part that is 0 or 128.
void multiply_bytes(const Inputs& inputs, std::size_t r, const Panel& panel, std::size_t c,
                    std::int32_t* sums, std::size_t stride) {
  const __m256i low_bits = _mm256_set1_epi8(127);
  __m256i total = _mm256_setzero_si256();
  for (std::size_t step = 0; step < panel.steps(); ++step) {
    std::int32_t four = 0;
    __builtin_memcpy(&four, inputs.row(r) + step * kDepthStep, sizeof(four));
    const __m256i row = _mm256_set1_epi32(four);
    const __m256i values = load_register(panel.values + (step * panel.width + c) * kDepthStep);
    const __m256i low = _mm256_maddubs_epi16(_mm256_and_si256(row, low_bits), values);
    const __m256i high = _mm256_maddubs_epi16(
        _mm256_and_si256(_mm256_srli_epi16(row, 7), _mm256_set1_epi8(1)), values);
    total = _mm256_add_epi32(total, _mm256_madd_epi16(low, _mm256_set1_epi16(1)));
    total = _mm256_add_epi32(total, _mm256_madd_epi16(high, _mm256_set1_epi16(128)));
  }
  store_register(sums + r * stride + c, total);
}

template <std::size_t Lanes>
void multiply_rows(const Inputs& inputs, std::size_t rows, const Panel& panel,
                   std::size_t steps_in_16_bits, std::size_t c, std::int32_t* sums,
                   std::size_t stride) {
  constexpr std::size_t kTileRows = 3;
  std::size_t r = 0;
  for (; r + kTileRows <= rows; r += kTileRows) {
    multiply_tile<kTileRows, Lanes>(inputs.row(r), inputs.stride, panel, steps_in_16_bits, c,
                                    sums + r * stride, stride);
  }
  for (; r < rows; ++r) {
    multiply_tile<1, Lanes>(inputs.row(r), inputs.stride, panel, steps_in_16_bits, c,
                            sums + r * stride, stride);
  }
}

void multiply(const Inputs& inputs, std::size_t rows, const Panel& panel, std::int32_t* sums,
              std::size_t stride) {
  constexpr std::int32_t kLargest16 = 32767;
  const std::int32_t pair = 2 * inputs.largest * panel.largest;
  if (pair > kLargest16) {
    for (std::size_t r = 0; r < rows; ++r) {
      for (std::size_t c = 0; c < panel.width; c += kValues) {
        multiply_bytes(inputs, r, panel, c, sums, stride);
      }
    }
    return;
  }
  const auto steps = static_cast<std::size_t>(kLargest16 / (pair > 0 ? pair : 1));
  std::size_t c = 0;
  for (; c + 4 * kValues <= panel.width; c += 4 * kValues) {
    multiply_rows<4>(inputs, rows, panel, steps, c, sums, stride);
  }
  for (; c < panel.width; c += 2 * kValues) {
    multiply_rows<2>(inputs, rows, panel, steps, c, sums, stride);
  }
}

std::uint64_t multiply_in_registers(std::uint64_t rounds) {
  return multiply_in<12>(rounds, [](I32 sums, U8 bytes) -> I32 {
    return {_mm256_add_epi16(sums.v, _mm256_maddubs_epi16(bytes.v, bytes.v))};
  });
}

}  // namespace
}  // namespace bitlog2::runtime

BITLOG2_END_TARGET

namespace bitlog2::runtime {

const Kernels& avx2_kernels();

const Kernels& avx2_kernels() {
  static constexpr Kernels kKernels = make_table("avx2");
  return kKernels;
}

}  // namespace bitlog2::runtime

#endif
