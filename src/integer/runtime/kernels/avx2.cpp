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

/// Four values of a row, each in 16 bits: (0, 2) and (1, 3), once for every channel of a register.
struct WideRow {
  __m256i even;
  __m256i odd;
};

inline __m256i broadcast_four(const std::uint8_t* bytes) {
  std::int32_t four = 0;
  __builtin_memcpy(&four, bytes, sizeof(four));
  return _mm256_set1_epi32(four);
}

/// Rows of bytes.
struct WideInputs {
  const std::uint8_t* first;
  std::size_t stride;

  WideInputs from(std::size_t row) const { return {first + row * stride, stride}; }

  WideRow operator()(std::size_t row, std::size_t step) const {
    const __m256i four = broadcast_four(first + row * stride + step * kDepthStep);
    return {_mm256_and_si256(four, _mm256_set1_epi16(255)), _mm256_srli_epi16(four, 8)};
  }
};

/// Rows of attention weights in two planes, less 2^15, so that they are signed 16-bit numbers.
struct WideWeights {
  const std::uint8_t* low;
  const std::uint8_t* high;
  std::size_t stride;

  WideWeights from(std::size_t row) const {
    return {low + row * stride, high + row * stride, stride};
  }

  WideRow operator()(std::size_t row, std::size_t step) const {
    const std::size_t at = row * stride + step * kDepthStep;
    const __m256i lower = broadcast_four(low + at);
    const __m256i upper = _mm256_xor_si256(broadcast_four(high + at), _mm256_set1_epi8(-128));
    const __m256i even_bytes = _mm256_set1_epi16(255);
    return {_mm256_or_si256(_mm256_and_si256(lower, even_bytes), _mm256_slli_epi16(upper, 8)),
            _mm256_or_si256(_mm256_srli_epi16(lower, 8), _mm256_andnot_si256(even_bytes, upper))};
  }
};

/// sums [Rows, Lanes * kValues] += products; pairs of them are added up in 32 bits.
template <std::size_t Rows, std::size_t Lanes, class WideRows>
void multiply_wide_tile(const WideRows& rows, const Panel& panel, std::size_t c, std::int32_t* sums,
                        std::size_t stride) {
  __m256i totals[Rows][Lanes];
#pragma GCC unroll 8
  for (std::size_t r = 0; r < Rows; ++r) {
#pragma GCC unroll 8
    for (std::size_t l = 0; l < Lanes; ++l) {
      totals[r][l] = load_register(sums + r * stride + c + l * kValues);
    }
  }
  const std::int8_t* at = panel.values + c * kDepthStep;
  for (std::size_t step = 0; step < panel.steps(); ++step) {
    WideRow wide[Rows];
#pragma GCC unroll 8
    for (std::size_t r = 0; r < Rows; ++r) {
      wide[r] = rows(r, step);
    }
#pragma GCC unroll 8
    for (std::size_t l = 0; l < Lanes; ++l) {
      const __m256i values = load_register(at + l * kBytes);
      const __m256i even = _mm256_srai_epi16(_mm256_slli_epi16(values, 8), 8);
      const __m256i odd = _mm256_srai_epi16(values, 8);
#pragma GCC unroll 8
      for (std::size_t r = 0; r < Rows; ++r) {
        totals[r][l] = _mm256_add_epi32(totals[r][l], _mm256_madd_epi16(wide[r].even, even));
        totals[r][l] = _mm256_add_epi32(totals[r][l], _mm256_madd_epi16(wide[r].odd, odd));
      }
    }
    at += panel.width * kDepthStep;
  }
#pragma GCC unroll 8
  for (std::size_t r = 0; r < Rows; ++r) {
#pragma GCC unroll 8
    for (std::size_t l = 0; l < Lanes; ++l) {
      store_register(sums + r * stride + c + l * kValues, totals[r][l]);
    }
  }
}

/// sums [rows, Lanes * kValues] += products of 16 bits, for pairs of products that may not fit in
/// 16 bits.
template <std::size_t TileRows, std::size_t Lanes, class WideRows>
void multiply_wide_rows(const WideRows& inputs, std::size_t rows, const Panel& panel, std::size_t c,
                        std::int32_t* sums, std::size_t stride) {
  std::size_t r = 0;
  for (; r + TileRows <= rows; r += TileRows) {
    multiply_wide_tile<TileRows, Lanes>(inputs.from(r), panel, c, sums + r * stride, stride);
  }
  for (; r < rows; ++r) {
    multiply_wide_tile<1, Lanes>(inputs.from(r), panel, c, sums + r * stride, stride);
  }
}

/// offsets [panel.width] = 2^15 times the sum of every channel's values.
void sum_values(const Panel& panel, std::int32_t* offsets) {
  for (std::size_t c = 0; c < panel.width; c += kValues) {
    const std::int8_t* at = panel.values + c * kDepthStep;
    __m256i total = _mm256_setzero_si256();
    for (std::size_t step = 0; step < panel.steps(); ++step) {
      const __m256i pairs = _mm256_maddubs_epi16(_mm256_set1_epi8(1), load_register(at));
      total = _mm256_add_epi32(total, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
      at += panel.width * kDepthStep;
    }
    store_register(offsets + c, _mm256_slli_epi32(total, 15));
  }
}

/// MultiplyEachPlane, with both planes in one product where there are two.
struct MultiplyBothPlanes {
  void operator()(const Planes& planes, std::size_t rows, const Panel& values,
                  std::int32_t* context) const {
    if (*planes.has_high == 0) {
      return MultiplyEachPlane<kRowChunk>()(planes, rows, values, context);
    }
    sum_values(values, context);
    for (std::size_t r = 1; r < rows; ++r) {
      __builtin_memcpy(context + r * values.width, context, values.width * sizeof(*context));
    }
    const WideWeights weights = {planes.low, planes.high, planes.stride};
    std::size_t c = 0;
    for (; c + 4 * kValues <= values.width; c += 4 * kValues) {
      multiply_wide_rows<2, 4>(weights, rows, values, c, context, values.width);
    }
    for (; c < values.width; c += 2 * kValues) {
      multiply_wide_rows<4, 2>(weights, rows, values, c, context, values.width);
    }
  }
};

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
      __builtin_memset(sums + r * stride, 0, panel.width * sizeof(*sums));
    }
    const WideInputs bytes = {inputs.first, inputs.stride};
    for (std::size_t c = 0; c < panel.width; c += 2 * kValues) {
      multiply_wide_rows<4, 2>(bytes, rows, panel, c, sums, stride);
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
  static constexpr Kernels kKernels = [] {
    Kernels own = make_table("avx2");
    own.attend_values = attend_values_by<MultiplyBothPlanes, DivideInLanes>;
    return own;
  }();
  return kKernels;
}

}  // namespace bitlog2::runtime

#endif
