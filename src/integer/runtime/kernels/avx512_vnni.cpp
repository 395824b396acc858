// AVX-512 with VNNI (Ice Lake, Zen 4 and later): sixteen channels to a register, four products
// deep. Compiled into any x86-64 build; select.cpp asks the CPU before it hands this table out.
#if defined(__x86_64__)

#if !defined(__clang__)
// GCC 12 takes its own header's "undefined" registers for mistakes (GCC bug 105593).
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif

#include <immintrin.h>

#include "../fixed_point.h"
#include "code_lookup.h"
#include "narrowing.h"
#include "planes.h"
#include "portable.h"

// Only what follows may use these instructions: inline functions of the headers above are shared
// with files for other CPUs.
#if defined(__clang__)
#pragma clang attribute push(                                                          \
    __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512cd,avx512vnni"))), \
    apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx512cd,avx512vnni")
#endif

namespace bitlog2::runtime {
namespace {

constexpr std::size_t kBytes = 64;   // of a register
constexpr std::size_t kValues = 16;  // int32 in a register
constexpr __mmask16 kOddLanes = 0xAAAA;

__mmask16 first_values(std::size_t count) {
  return static_cast<__mmask16>(count >= kValues ? 0xFFFFU : (1U << count) - 1U);
}

__mmask64 first_bytes(std::size_t count) {
  return count >= kBytes ? ~std::uint64_t{0} : (std::uint64_t{1} << count) - 1;
}

/// The low halves of `even` and of `odd`, lane by lane.
__m512i interleave(__m512i even, __m512i odd) {
  return _mm512_mask_blend_epi32(kOddLanes, even, _mm512_slli_epi64(odd, 32));
}

__m512i odd_lanes(__m512i values) {
  return _mm512_srli_epi64(values, 32);
}

// --- panels ---

/// A 16 x 16 matrix of 32-bit values.
void transpose(__m512i (&rows)[kValues]) {
  __m512i quads[4][4];  // [group of four rows][j]: lane l has column 4 l + j
  for (std::size_t g = 0; g < 4; ++g) {
    const __m512i a = _mm512_unpacklo_epi32(rows[4 * g], rows[4 * g + 1]);
    const __m512i b = _mm512_unpackhi_epi32(rows[4 * g], rows[4 * g + 1]);
    const __m512i c = _mm512_unpacklo_epi32(rows[4 * g + 2], rows[4 * g + 3]);
    const __m512i d = _mm512_unpackhi_epi32(rows[4 * g + 2], rows[4 * g + 3]);
    quads[g][0] = _mm512_unpacklo_epi64(a, c);
    quads[g][1] = _mm512_unpackhi_epi64(a, c);
    quads[g][2] = _mm512_unpacklo_epi64(b, d);
    quads[g][3] = _mm512_unpackhi_epi64(b, d);
  }
  for (std::size_t j = 0; j < 4; ++j) {
    const __m512i even_low = _mm512_shuffle_i32x4(quads[0][j], quads[1][j], 0x88);
    const __m512i even_high = _mm512_shuffle_i32x4(quads[2][j], quads[3][j], 0x88);
    const __m512i odd_low = _mm512_shuffle_i32x4(quads[0][j], quads[1][j], 0xDD);
    const __m512i odd_high = _mm512_shuffle_i32x4(quads[2][j], quads[3][j], 0xDD);
    rows[j] = _mm512_shuffle_i32x4(even_low, even_high, 0x88);
    rows[4 + j] = _mm512_shuffle_i32x4(odd_low, odd_high, 0x88);
    rows[8 + j] = _mm512_shuffle_i32x4(even_low, even_high, 0xDD);
    rows[12 + j] = _mm512_shuffle_i32x4(odd_low, odd_high, 0xDD);
  }
}

/// `count` codes from the k-th on, k even, as bytes less `offset`; 0 behind them.
__m512i load_codes(const std::uint8_t* row, bool nibbles, std::size_t k, std::size_t count,
                   __m512i offset) {
  const __mmask64 wanted = first_bytes(count);
  if (!nibbles) {
    return _mm512_maskz_sub_epi8(wanted, _mm512_maskz_loadu_epi8(wanted, row + k), offset);
  }
  const auto bytes = static_cast<__mmask32>(first_bytes((count + 1) / 2));
  const __m512i pairs = _mm512_cvtepu8_epi16(_mm256_maskz_loadu_epi8(bytes, row + k / 2));
  const __m512i spread = _mm512_or_si512(pairs, _mm512_slli_epi16(pairs, 4));
  const __m512i codes = _mm512_and_si512(spread, _mm512_set1_epi8(15));
  return _mm512_maskz_sub_epi8(wanted, codes, offset);
}

void pack_rows(const Codes& codes, std::size_t channels, const std::int32_t* offsets,
               const Panel& panel, std::int32_t* sums) {
  const __m512i ones = _mm512_set1_epi8(1);
  for (std::size_t c = 0; c < panel.width; c += kLane) {
    __m512i totals = _mm512_setzero_si512();
    for (std::size_t k = 0; k < panel.depth; k += kBytes) {
      const std::size_t count = panel.depth - k < kBytes ? panel.depth - k : kBytes;
      __m512i rows[kValues];
      for (std::size_t i = 0; i < kValues; ++i) {
        rows[i] = _mm512_setzero_si512();
        if (c + i < channels) {
          const __m512i offset = _mm512_set1_epi8(static_cast<char>(offsets[c + i]));
          rows[i] =
              load_codes(codes.first + (c + i) * codes.stride, codes.nibbles, k, count, offset);
        }
      }
      transpose(rows);
      for (std::size_t i = 0; i < (count + kDepthStep - 1) / kDepthStep; ++i) {
        _mm512_storeu_si512(panel.values + ((k / kDepthStep + i) * panel.width + c) * kDepthStep,
                            rows[i]);
        totals = _mm512_dpbusd_epi32(totals, ones, rows[i]);
      }
    }
    _mm512_storeu_si512(sums + c, totals);
  }
}

void pack_columns(const Codes& codes, std::size_t channels, std::int32_t offset,
                  const Panel& panel) {
  const __m512i offsets = _mm512_set1_epi8(static_cast<char>(offset));
  for (std::size_t step = 0; step < panel.steps(); ++step) {
    __m512i rows[kDepthStep];
    for (std::size_t i = 0; i < kDepthStep; ++i) {
      const std::size_t k = step * kDepthStep + i;
      rows[i] = k < panel.depth
                    ? load_codes(codes.first + k * codes.stride, false, 0, channels, offsets)
                    : _mm512_setzero_si512();
    }
    const __m512i a = _mm512_unpacklo_epi8(rows[0], rows[1]);
    const __m512i b = _mm512_unpackhi_epi8(rows[0], rows[1]);
    const __m512i c = _mm512_unpacklo_epi8(rows[2], rows[3]);
    const __m512i d = _mm512_unpackhi_epi8(rows[2], rows[3]);
    // [j]: lane l has channels 16 l + 4 j and the next three, four deep each
    const __m512i quads[4] = {_mm512_unpacklo_epi16(a, c), _mm512_unpackhi_epi16(a, c),
                              _mm512_unpacklo_epi16(b, d), _mm512_unpackhi_epi16(b, d)};
    const __m512i even_low = _mm512_shuffle_i32x4(quads[0], quads[1], 0x88);
    const __m512i even_high = _mm512_shuffle_i32x4(quads[2], quads[3], 0x88);
    const __m512i odd_low = _mm512_shuffle_i32x4(quads[0], quads[1], 0xDD);
    const __m512i odd_high = _mm512_shuffle_i32x4(quads[2], quads[3], 0xDD);
    const __m512i lanes[4] = {_mm512_shuffle_i32x4(even_low, even_high, 0x88),
                              _mm512_shuffle_i32x4(odd_low, odd_high, 0x88),
                              _mm512_shuffle_i32x4(even_low, even_high, 0xDD),
                              _mm512_shuffle_i32x4(odd_low, odd_high, 0xDD)};
    for (std::size_t c16 = 0; c16 < panel.width / kLane; ++c16) {
      _mm512_storeu_si512(panel.values + (step * panel.width + c16 * kLane) * kDepthStep,
                          lanes[c16]);
    }
  }
}

// --- products ---

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

void sum_rows(const Inputs& inputs, std::size_t rows, std::size_t count, std::int32_t* sums) {
  for (std::size_t r = 0; r < rows; ++r) {
    __m512i total = _mm512_setzero_si512();
    for (std::size_t k = 0; k < count; k += kBytes) {
      const __m512i bytes = _mm512_maskz_loadu_epi8(first_bytes(count - k), inputs.row(r) + k);
      total = _mm512_add_epi64(total, _mm512_sad_epu8(bytes, _mm512_setzero_si512()));
    }
    sums[r] = static_cast<std::int32_t>(_mm512_reduce_add_epi64(total));
  }
}

/// What rescale() needs of sixteen channels, even and odd ones apart, as 64-bit products want
/// them.
struct RescaleLanes {
  RescaleLanes(const Rescale& rescale, std::size_t c)
      : zeros(rescale.zeros != nullptr ? _mm512_loadu_si512(rescale.zeros + c)
                                       : _mm512_setzero_si512()),
        constants(_mm512_loadu_si512(rescale.constants + c)),
        even_multipliers(_mm512_loadu_si512(rescale.multipliers + c)),
        odd_multipliers(odd_lanes(even_multipliers)) {
    const __m512i low = _mm512_loadu_si512(rescale.offsets + c);
    const __m512i high = _mm512_loadu_si512(rescale.offsets + c + kValues / 2);
    const __m512i even = _mm512_set_epi64(14, 12, 10, 8, 6, 4, 2, 0);
    const __m512i odd = _mm512_set_epi64(15, 13, 11, 9, 7, 5, 3, 1);
    even_offsets = _mm512_permutex2var_epi64(low, even, high);
    odd_offsets = _mm512_permutex2var_epi64(low, odd, high);
  }

  __m512i zeros;
  __m512i constants;
  __m512i even_multipliers;
  __m512i odd_multipliers;
  __m512i even_offsets;
  __m512i odd_offsets;
};

/// Sixteen sums, corrected, times their multipliers, plus their offsets: even and odd lanes.
template <bool HasZeros>
void rescale_products(const RescaleLanes& lanes, __m512i sum, std::int32_t row_sum, __m512i& even,
                      __m512i& odd) {
  __m512i correction = lanes.constants;
  if constexpr (HasZeros) {
    const __m512i zeros = _mm512_mullo_epi32(lanes.zeros, _mm512_set1_epi32(row_sum));
    correction = _mm512_sub_epi32(correction, zeros);
  }
  sum = _mm512_add_epi32(sum, correction);
  even = _mm512_add_epi64(_mm512_mul_epi32(sum, lanes.even_multipliers), lanes.even_offsets);
  odd =
      _mm512_add_epi64(_mm512_mul_epi32(odd_lanes(sum), lanes.odd_multipliers), lanes.odd_offsets);
}

/// From sixteen sums to what they stand for.
template <bool HasZeros, Narrowing How>
class Rescaling {
 public:
  explicit Rescaling(const Rescale& rescale)
      : low_(_mm512_set1_epi32(rescale.low)),
        high_(_mm512_set1_epi32(rescale.high)),
        wide_low_(_mm512_set1_epi64(rescale.low)),
        wide_high_(_mm512_set1_epi64(rescale.high)),
        shift_(_mm_cvtsi32_si128(static_cast<int>(rescale.shift & 31))),
        rest_(_mm_cvtsi32_si128(32 - static_cast<int>(rescale.shift & 31))),
        wide_shift_(_mm_cvtsi32_si128(static_cast<int>(rescale.shift))) {}

  static constexpr bool kHasZeros = HasZeros;
  static constexpr bool kMayBeAnEnd = How != Narrowing::fits;  // of int32

  /// Clamped only where it would not be an int32 otherwise.
  __m512i as_int32(const RescaleLanes& lanes, __m512i sum, std::int32_t row_sum) const {
    __m512i even;
    __m512i odd;
    rescale_products<HasZeros>(lanes, sum, row_sum, even, odd);
    if constexpr (How == Narrowing::upper) {
      const __m512i upper = _mm512_mask_blend_epi32(kOddLanes, odd_lanes(even), odd);
      return _mm512_sra_epi32(upper, shift_);
    } else if constexpr (How == Narrowing::fits) {
      return _mm512_mask_blend_epi32(kOddLanes, _mm512_srl_epi64(even, shift_),
                                     _mm512_sll_epi64(odd, rest_));
    } else {
      return interleave(clamp_wide(even), clamp_wide(odd));
    }
  }

  __m512i operator()(const RescaleLanes& lanes, __m512i sum, std::int32_t row_sum) const {
    const __m512i value = as_int32(lanes, sum, row_sum);
    return _mm512_min_epi32(_mm512_max_epi32(value, low_), high_);
  }

 private:
  __m512i clamp_wide(__m512i product) const {
    const __m512i value = _mm512_sra_epi64(product, wide_shift_);
    return _mm512_min_epi64(_mm512_max_epi64(value, wide_low_), wide_high_);
  }

  __m512i low_;
  __m512i high_;
  __m512i wide_low_;
  __m512i wide_high_;
  __m128i shift_;
  __m128i rest_;
  __m128i wide_shift_;
};

/// Calls `use` with the way to rescale that suits.
template <class Use>
void choose_rescaling(const Rescale& rescale, Use use) {
  choose_narrowing(rescale,
                   [&]<bool HasZeros, Narrowing How>() { use(Rescaling<HasZeros, How>(rescale)); });
}

template <class Way>
std::int32_t row_sum(const Sums& sums, std::size_t r) {
  return Way::kHasZeros ? sums.row_sums[r] : 0;
}

void rescale(const Rescale& how, const Sums& sums) {
  const bool clamps = how.low != std::numeric_limits<std::int32_t>::min() ||
                      how.high != std::numeric_limits<std::int32_t>::max();
  choose_rescaling(how, [&]<class Way>(const Way& rescaling) {
    for (std::size_t c = 0; c < sums.channels; c += kValues) {
      const RescaleLanes lanes(how, c);
      for (std::size_t r = 0; r < sums.rows; ++r) {
        std::int32_t* at = sums.values + r * sums.stride + c;
        const __m512i sum = _mm512_loadu_si512(at);
        const std::int32_t row = row_sum<Way>(sums, r);
        _mm512_storeu_si512(
            at, clamps ? rescaling(lanes, sum, row) : rescaling.as_int32(lanes, sum, row));
      }
    }
  });
}

/// 64 values, clamped to [0, largest], as words, of which bytes are made. They lie as packing
/// leaves them, quad by quad, until in_order().
struct Words {
  Words(const __m512i (&values)[4], __m512i largest)
      : first(_mm512_min_epu16(_mm512_packus_epi32(values[0], values[1]), largest)),
        second(_mm512_min_epu16(_mm512_packus_epi32(values[2], values[3]), largest)) {}

  static __m512i in_order(__m512i bytes) {
    const __m512i quads = _mm512_set_epi32(15, 11, 7, 3, 14, 10, 6, 2, 13, 9, 5, 1, 12, 8, 4, 0);
    return _mm512_permutexvar_epi32(quads, bytes);
  }

  __m512i first;
  __m512i second;
};

/// Values are codes.
struct PlainCodes {
  __m512i operator()(const Words& words) const {
    return _mm512_packus_epi16(words.first, words.second);
  }
};

/// Lanes of kLane channels at once, the rest of 64 filled up with zeros.
template <std::size_t Lanes, class Way, class ToBytes>
[[gnu::always_inline]] inline void rescale_lanes_to_codes(const Rescale& how, const Way& rescaling,
                                                          const ToBytes& to_bytes, const Sums& sums,
                                                          std::size_t c, std::uint8_t* codes,
                                                          std::size_t stride) {
  const RescaleLanes lanes[4] = {{how, c},
                                 {how, c + (Lanes > 1 ? kLane : 0)},
                                 {how, c + (Lanes > 2 ? 2 * kLane : 0)},
                                 {how, c + (Lanes > 3 ? 3 * kLane : 0)}};
  const __m512i largest = _mm512_set1_epi16(static_cast<std::int16_t>(how.high));
  const __mmask64 mask = first_bytes(sums.channels - c);
  for (std::size_t r = 0; r < sums.rows; ++r) {
    const std::int32_t* at = sums.values + r * sums.stride + c;
    const std::int32_t row = row_sum<Way>(sums, r);
    __m512i values[4];
#pragma GCC unroll 4
    for (std::size_t l = 0; l < 4; ++l) {
      values[l] = l < Lanes ? rescaling.as_int32(lanes[l], _mm512_loadu_si512(at + l * kLane), row)
                            : _mm512_setzero_si512();
    }
    const __m512i bytes = Words::in_order(to_bytes(Words(values, largest)));
    _mm512_mask_storeu_epi8(codes + r * stride + c, mask, bytes);
  }
}

template <class Way, class ToBytes>
[[gnu::always_inline]] inline void rescale_all_to_codes(const Rescale& how, const Way& rescaling,
                                                        const ToBytes& to_bytes, const Sums& sums,
                                                        std::uint8_t* codes, std::size_t stride) {
  std::size_t c = 0;
  for (; c + 4 * kLane <= sums.width(); c += 4 * kLane) {
    rescale_lanes_to_codes<4>(how, rescaling, to_bytes, sums, c, codes, stride);
  }
  switch ((sums.width() - c) / kLane) {
    case 3:
      return rescale_lanes_to_codes<3>(how, rescaling, to_bytes, sums, c, codes, stride);
    case 2:
      return rescale_lanes_to_codes<2>(how, rescaling, to_bytes, sums, c, codes, stride);
    case 1:
      return rescale_lanes_to_codes<1>(how, rescaling, to_bytes, sums, c, codes, stride);
    default:
      return;
  }
}

// What needs VBMI, which not every CPU with VNNI has.
#if defined(__clang__)
#pragma clang attribute pop  // one target is all that clang takes
#pragma clang attribute push(                                                                     \
    __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512cd,avx512vnni,avx512vbmi"))), \
    apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx512vbmi")
#endif

/// 256 bytes in registers.
class ByteTable {
 public:
  explicit ByteTable(const std::uint8_t* bytes) {
    for (std::size_t i = 0; i < 4; ++i) {
      quarters_[i] = _mm512_loadu_si512(bytes + i * kBytes);
    }
  }

  __m512i operator()(__m512i index) const {
    const __m512i low = _mm512_permutex2var_epi8(quarters_[0], index, quarters_[1]);
    const __m512i high = _mm512_permutex2var_epi8(quarters_[2], index, quarters_[3]);
    return _mm512_mask_blend_epi8(_mm512_movepi8_mask(index), low, high);
  }

 private:
  __m512i quarters_[4];
};

class TableCodes {
 public:
  explicit TableCodes(const CodeLookup& lookup) : table_(lookup.entries[0]) {}

  __m512i operator()(const Words& words) const {
    return table_(_mm512_packus_epi16(words.first, words.second));
  }

 private:
  ByteTable table_;
};

class RunCodes {
 public:
  explicit RunCodes(const CodeRuns& runs)
      : first_(runs.first),
        second_(runs.second),
        change_(runs.change),
        shift_(_mm_cvtsi32_si128(static_cast<int>(runs.shift))),
        rest_(_mm512_set1_epi16(static_cast<std::int16_t>((1U << runs.shift) - 1))) {}

  __m512i operator()(const Words& words) const {
    const __m512i run = _mm512_packus_epi16(_mm512_srl_epi16(words.first, shift_),
                                            _mm512_srl_epi16(words.second, shift_));
    const __m512i rest = _mm512_packus_epi16(_mm512_and_si512(words.first, rest_),
                                             _mm512_and_si512(words.second, rest_));
    const __mmask64 changed = _mm512_cmpge_epu8_mask(rest, change_(run));
    return _mm512_mask_blend_epi8(changed, first_(run), second_(run));
  }

 private:
  ByteTable first_;
  ByteTable second_;
  ByteTable change_;
  __m128i shift_;
  __m512i rest_;
};

/// Every sum becomes what ToBytes, made of `table`, says.
template <class ToBytes, class Table>
void rescale_to_codes_by(const Table& table, const Rescale& how, const Sums& sums,
                         std::uint8_t* codes, std::size_t stride) {
  const ToBytes to_bytes(table);
  choose_rescaling(how, [&](const auto& rescaling) {
    rescale_all_to_codes(how, rescaling, to_bytes, sums, codes, stride);
  });
}

/// Where the first channel of each pixel is.
struct ThirdPlaces {
  constexpr ThirdPlaces() {
    for (std::size_t i = 0; i < kBytes; ++i) {
      places[i] = static_cast<std::uint8_t>(3 * i);
    }
  }

  std::uint8_t places[kBytes] = {};
};

/// Rows of at most 21 pixels, which one register holds.
void split_row(const std::uint8_t* rgb, std::size_t count, const std::uint8_t (*tables)[256],
               std::uint8_t* planes, std::size_t stride) {
  const __m512i pixels = _mm512_maskz_loadu_epi8(first_bytes(3 * count), rgb);
  const __mmask64 mask = first_bytes(count);
  static constexpr ThirdPlaces kThirds;
  __m512i places = _mm512_loadu_si512(kThirds.places);
  for (std::size_t channel = 0; channel < 3; ++channel) {
    const __m512i values = _mm512_permutexvar_epi8(places, pixels);
    _mm512_mask_storeu_epi8(planes + channel * stride, mask, ByteTable(tables[channel])(values));
    places = _mm512_add_epi8(places, _mm512_set1_epi8(1));
  }
}

#if defined(__clang__)
#pragma clang attribute pop
#pragma clang attribute push(                                                          \
    __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512cd,avx512vnni"))), \
    apply_to = function)
#else
#pragma GCC pop_options
#endif

bool has_vbmi() {
  return __builtin_cpu_supports("avx512vbmi") != 0;
}

void split_channels(const std::uint8_t* rgb, std::size_t count, const std::uint8_t (*tables)[256],
                    std::uint8_t* planes, std::size_t stride) {
  if (3 * count <= kBytes && has_vbmi()) {
    return split_row(rgb, count, tables, planes, stride);
  }
  portable::split_channels(rgb, count, tables, planes, stride);
}

void decode(const CodeLookup& lookup, const std::uint8_t* codes, std::size_t count,
            std::uint8_t* inputs) {
  for (std::size_t i = 0; i < count; i += kBytes) {
    const __mmask64 mask = first_bytes(count - i);
    const __m512i indices = _mm512_maskz_loadu_epi8(mask, codes + i);
    __m512i values = _mm512_setzero_si512();
    for (std::size_t part = 0; part < lookup.parts; ++part) {
      // Within the part, and with the highest bit where the index is of another: a shuffle makes
      // 0 of that.
      const __m512i first = _mm512_set1_epi8(static_cast<char>(part * CodeLookup::kPart));
      const __m512i within =
          _mm512_adds_epu8(_mm512_sub_epi8(indices, first), _mm512_set1_epi8(0x70));
      const __m512i entries = _mm512_broadcast_i32x4(
          _mm_loadu_si128(reinterpret_cast<const __m128i*>(lookup.entries[part])));
      values = _mm512_or_si512(values, _mm512_shuffle_epi8(entries, within));
    }
    _mm512_mask_storeu_epi8(inputs + i, mask, values);
  }
}

void decode(const std::uint8_t* codes, std::size_t count, const std::uint8_t* table,
            std::size_t size, std::uint8_t* inputs) {
  decode(CodeLookup(table, size), codes, count, inputs);
}

void rescale_to_bytes(const Rescale& how, const Sums& sums, std::uint8_t* codes,
                      std::size_t stride) {
  choose_rescaling(how, [&](const auto& rescaling) {
    rescale_all_to_codes(how, rescaling, PlainCodes(), sums, codes, stride);
  });
}

void rescale_to_codes(const Rescale& how, const Sums& sums, const CodeTable& table,
                      std::uint8_t* codes, std::size_t stride) {
  if (table.entries == nullptr) {
    rescale_to_bytes(how, sums, codes, stride);
  } else if (table.size <= CodeLookup::kMost) {
    const CodeLookup lookup(table.entries, table.size);
    if (has_vbmi()) {
      return rescale_to_codes_by<TableCodes>(lookup, how, sums, codes, stride);
    }
    rescale_to_bytes(how, sums, codes, stride);
    for (std::size_t r = 0; r < sums.rows; ++r) {
      decode(lookup, codes + r * stride, sums.channels, codes + r * stride);
    }
  } else if (table.runs != nullptr && has_vbmi()) {
    rescale_to_codes_by<RunCodes>(*table.runs, how, sums, codes, stride);
  } else {
    rescale(how, sums);
    portable::store_codes(sums, table, codes, stride);
  }
}

std::uint64_t rescale_and_add(const Rescale& how, const Sums& sums, std::int32_t* totals,
                              std::size_t stride) {
  const __m512i one = _mm512_set1_epi32(1);
  std::uint64_t saturations = 0;
  choose_rescaling(how, [&]<class Way>(const Way& rescaling) {
    for (std::size_t c = 0; c < sums.channels; c += kValues) {
      const RescaleLanes lanes(how, c);
      const std::size_t left = sums.channels - c;
      const __mmask16 mask = first_values(left);
      for (std::size_t r = 0; r < sums.rows; ++r) {
        std::int32_t* from = sums.values + r * sums.stride + c;
        std::int32_t* to = totals + r * stride + c;
        const __m512i value =
            rescaling.as_int32(lanes, _mm512_loadu_si512(from), row_sum<Way>(sums, r));
        const __m512i total = _mm512_maskz_loadu_epi32(mask, to);
        const __m512i sum = _mm512_add_epi32(total, value);
        // Negative where both have one sign and the sum the other, or the value is an end.
        constexpr int kDiffersFromBoth = 0x18;  // the first operand's bit from the others'
        __m512i cut = _mm512_ternarylogic_epi32(sum, value, total, kDiffersFromBoth);
        if constexpr (Way::kMayBeAnEnd) {
          const __m512i magnitude = _mm512_xor_si512(value, _mm512_srai_epi32(value, 31));
          cut = _mm512_or_si512(cut, _mm512_add_epi32(magnitude, one));
        }
        if ((_mm512_movepi32_mask(cut) & mask) != 0) [[unlikely]] {
          _mm512_storeu_si512(from, value);
          const std::size_t count = left < kValues ? left : kValues;
          saturations += portable::add({from, 0, nullptr, 1, count}, to, 0);
        } else {
          _mm512_mask_storeu_epi32(to, mask, sum);
        }
      }
    }
  });
  return saturations;
}

// --- LayerNorm ---

/// Calls use(at, which lanes) for sixteen values after the other.
template <class Use>
[[gnu::always_inline]] inline void for_each_sixteen(std::size_t count, Use use) {
  std::size_t c = 0;
  for (; c + kValues <= count; c += kValues) {
    use(c, __mmask16{0xFFFF});
  }
  if (c < count) {
    use(c, first_values(count - c));
  }
}

portable::Normalisation begin_row(const std::int32_t* row, std::size_t count,
                                  std::uint64_t epsilon) {
  __m512i sum_low = _mm512_setzero_si512();
  __m512i sum_high = _mm512_setzero_si512();
  __m512i smallest = _mm512_set1_epi32(row[0]);
  __m512i largest = smallest;
  for_each_sixteen(count, [&](std::size_t c, __mmask16 mask) {
    const __m512i x = _mm512_maskz_loadu_epi32(mask, row + c);
    sum_low = _mm512_add_epi64(sum_low, _mm512_cvtepi32_epi64(_mm512_castsi512_si256(x)));
    sum_high = _mm512_add_epi64(sum_high, _mm512_cvtepi32_epi64(_mm512_extracti64x4_epi64(x, 1)));
    smallest = _mm512_mask_min_epi32(smallest, mask, smallest, x);
    largest = _mm512_mask_max_epi32(largest, mask, largest, x);
  });
  return portable::begin_normalisation(_mm512_reduce_add_epi64(_mm512_add_epi64(sum_low, sum_high)),
                                       _mm512_reduce_min_epi32(smallest),
                                       _mm512_reduce_max_epi32(largest), count, epsilon);
}

/// normalised <- shortened differences from the mean; returns their squares' sum.
std::uint64_t take_differences(const portable::Normalisation& begun, const std::int32_t* row,
                               std::size_t count, std::int32_t* normalised) {
  const __m512i mean = _mm512_set1_epi32(static_cast<std::int32_t>(begun.mean));
  const __m512i half = _mm512_set1_epi32(begun.down == 0 ? 0 : 1 << (begun.down - 1));
  const __m128i down = _mm_cvtsi32_si128(static_cast<int>(begun.down));
  __m512i squares = _mm512_setzero_si512();
  for_each_sixteen(count, [&](std::size_t c, __mmask16 mask) {
    const __m512i x = _mm512_maskz_loadu_epi32(mask, row + c);
    const __m512i centred = _mm512_maskz_sub_epi32(mask, x, mean);
    const __m512i d = _mm512_sra_epi32(_mm512_add_epi32(centred, half), down);
    _mm512_mask_storeu_epi32(normalised + c, mask, d);
    squares = _mm512_add_epi64(squares, _mm512_mul_epi32(d, d));
    const __m512i odd = odd_lanes(d);
    squares = _mm512_add_epi64(squares, _mm512_mul_epi32(odd, odd));
  });
  return begun.least + static_cast<std::uint64_t>(_mm512_reduce_add_epi64(squares));
}

void scale_differences(const portable::NormalisationScale& scale, std::size_t count,
                       std::int32_t* normalised) {
  const __m512i factor = _mm512_set1_epi64(scale.factor);
  const __m512i rounding = _mm512_set1_epi64(std::int64_t{1} << (scale.shift - 1));
  const __m128i shift = _mm_cvtsi32_si128(static_cast<int>(scale.shift));
  for_each_sixteen(count, [&](std::size_t c, __mmask16 mask) {
    const __m512i d = _mm512_maskz_loadu_epi32(mask, normalised + c);
    const __m512i even = _mm512_add_epi64(_mm512_mul_epi32(d, factor), rounding);
    const __m512i odd = _mm512_add_epi64(_mm512_mul_epi32(odd_lanes(d), factor), rounding);
    _mm512_mask_storeu_epi32(
        normalised + c, mask,
        interleave(_mm512_sra_epi64(even, shift), _mm512_sra_epi64(odd, shift)));
  });
}

void normalise(const std::int32_t* x, std::size_t rows, std::size_t count, std::uint64_t epsilon,
               std::int32_t* normalised, std::size_t stride) {
  // Between its passes a row waits for divisions; meanwhile others go on.
  constexpr std::size_t kTogether = 4;
  constexpr unsigned kMostDown = 7;  // beyond, differences may need 32 bits with the rounding
  const std::uint64_t root = portable::root_of_count(count);
  for (std::size_t first = 0; first < rows; first += kTogether) {
    const std::size_t together = rows - first < kTogether ? rows - first : kTogether;
    portable::Normalisation begun[kTogether];
    portable::NormalisationScale scales[kTogether];
    for (std::size_t i = 0; i < together; ++i) {
      begun[i] = begin_row(x + (first + i) * count, count, epsilon);
    }
    for (std::size_t i = 0; i < together; ++i) {
      if (begun[i].down <= kMostDown) {
        const std::uint64_t squares = take_differences(begun[i], x + (first + i) * count, count,
                                                       normalised + (first + i) * stride);
        scales[i] = portable::end_normalisation(squares, root);
      }
    }
    for (std::size_t i = 0; i < together; ++i) {
      if (begun[i].down <= kMostDown) {
        scale_differences(scales[i], count, normalised + (first + i) * stride);
      } else {
        portable::normalise_row(x + (first + i) * count, count, epsilon, root,
                                normalised + (first + i) * stride);
      }
    }
  }
}

// --- attention ---

/// The power table in registers.
struct PowerTable {
  PowerTable() {
    for (std::size_t half = 0; half < 2; ++half) {
      std::uint32_t columns[3][kValues];
      for (std::size_t i = 0; i < kValues; ++i) {
        const PowerEntry& entry = kPowerTable[kValues * half + i];
        columns[0][i] = entry.value;
        columns[1][i] = entry.step;
        columns[2][i] = (entry.value >> 18) * kSag;
      }
      values[half] = _mm512_loadu_si512(columns[0]);
      steps[half] = _mm512_loadu_si512(columns[1]);
      sags[half] = _mm512_loadu_si512(columns[2]);
    }
  }

  /// power_of_two() of sixteen exponents.
  __m512i power(__m512i exponents) const {
    const __m512i index = _mm512_srli_epi32(exponents, 11);  // its low five bits count
    const __m512i value = _mm512_permutex2var_epi32(values[0], index, values[1]);
    const __m512i step = _mm512_permutex2var_epi32(steps[0], index, steps[1]);
    const __m512i depth = _mm512_permutex2var_epi32(sags[0], index, sags[1]);
    const __m512i rest = _mm512_and_si512(exponents, _mm512_set1_epi32(2047));
    const __m512i line = _mm512_srli_epi32(_mm512_mullo_epi32(step, rest), 7);
    const __m512i other = _mm512_sub_epi32(_mm512_set1_epi32(2048), rest);
    const __m512i bow = _mm512_srli_epi32(_mm512_mullo_epi32(rest, other), 8);
    const __m512i sag = _mm512_srli_epi32(_mm512_mullo_epi32(bow, depth), 16);
    const __m512i mantissa = _mm512_sub_epi32(value, _mm512_add_epi32(line, sag));
    return _mm512_srlv_epi32(mantissa, _mm512_srli_epi32(exponents, 16));
  }

  __m512i values[2];
  __m512i steps[2];
  __m512i sags[2];  // what t (1 - t) is multiplied by
};

std::int32_t largest_of(const std::int32_t* scores, std::size_t tokens) {
  __m512i largest = _mm512_set1_epi32(scores[0]);
  std::size_t j = 0;
  for (; j + kValues <= tokens; j += kValues) {
    largest = _mm512_max_epi32(largest, _mm512_loadu_si512(scores + j));
  }
  const __mmask16 rest = first_values(tokens - j);
  largest =
      _mm512_mask_max_epi32(largest, rest, largest, _mm512_maskz_loadu_epi32(rest, scores + j));
  return _mm512_reduce_max_epi32(largest);
}

/// scores <- their powers of two relative to the largest, 0 up to a whole register; returns the
/// powers' sum.
std::uint64_t take_powers(const PowerTable& table, std::int32_t top_score, std::int32_t* scores,
                          std::size_t tokens) {
  const __m512i top = _mm512_set1_epi32(top_score);
  const __m512i low_half = _mm512_set1_epi64(0xFFFFFFFF);
  __m512i sums = _mm512_setzero_si512();
  const auto take = [&](std::size_t j) {
    const __m512i power = table.power(_mm512_sub_epi32(top, _mm512_loadu_si512(scores + j)));
    _mm512_storeu_si512(scores + j, power);
    return power;
  };
  const auto add = [&](__m512i powers) {
    sums = _mm512_add_epi64(sums, _mm512_and_si512(powers, low_half));
    sums = _mm512_add_epi64(sums, odd_lanes(powers));
  };
  std::size_t j = 0;
  for (; j + 3 * kValues <= tokens; j += 3 * kValues) {
    // A power is at most 2^30: 32 bits hold three.
    const __m512i first = take(j);
    const __m512i second = take(j + kValues);
    add(_mm512_add_epi32(_mm512_add_epi32(first, second), take(j + 2 * kValues)));
  }
  for (; j + kValues <= tokens; j += kValues) {
    add(take(j));
  }
  if (j < tokens) {
    const __m512i power = _mm512_maskz_mov_epi32(first_values(tokens - j), take(j));
    _mm512_storeu_si512(scores + j, power);
    add(power);
  }
  return static_cast<std::uint64_t>(_mm512_reduce_add_epi64(sums));
}

/// rounded_weight() of sixteen values, which may also be the multiplier itself: it is cut like
/// the largest value below it.
__m512i round_weights(const portable::Rounding& rounding, __m512i m) {
  // Ones where bits are dropped.
  const __m512i kept = _mm512_set1_epi32(static_cast<int>(rounding.fraction_bits) + 1);
  const __m512i dropped =
      _mm512_srlv_epi32(_mm512_set1_epi32(-1), _mm512_add_epi32(_mm512_lzcnt_epi32(m), kept));
  if (rounding.nearest) {
    const __m512i step = _mm512_add_epi32(dropped, _mm512_set1_epi32(1));
    m = _mm512_add_epi32(m, _mm512_srli_epi32(step, 1));
  }
  return _mm512_min_epi32(_mm512_andnot_si512(dropped, m),
                          _mm512_set1_epi32(static_cast<int>(rounding.largest)));
}

/// m of sixteen powers: power * factor >> 46.
__m512i scale_powers(__m512i power, __m512i factor) {
  const __m512i even = _mm512_srli_epi64(_mm512_mul_epu32(power, factor), 46);
  // 32 bits less, which leaves the result in the odd lanes.
  const __m512i odd = _mm512_srli_epi64(_mm512_mul_epu32(odd_lanes(power), factor), 46 - 32);
  return _mm512_mask_blend_epi32(kOddLanes, even, odd);
}

/// A row of powers as weights; returns what they add up to.
template <bool HasHigh>
std::int32_t weigh_row(const portable::Rounding& rounding, std::uint64_t reciprocal,
                       const std::int32_t* powers, std::size_t tokens, std::uint8_t* low,
                       std::uint8_t* high) {
  const __m512i factor = _mm512_set1_epi64(static_cast<long long>(reciprocal));
  __m512i total = _mm512_setzero_si512();
  for (std::size_t j = 0; j < tokens; j += kValues) {
    const __m512i power = _mm512_loadu_si512(powers + j);
    const __m512i weight = round_weights(rounding, scale_powers(power, factor));
    total = _mm512_add_epi32(total, weight);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(low + j), _mm512_cvtepi32_epi8(weight));
    if constexpr (HasHigh) {
      _mm_storeu_si128(reinterpret_cast<__m128i*>(high + j),
                       _mm512_cvtepi32_epi8(_mm512_srli_epi32(weight, 8)));
    }
  }
  return _mm512_reduce_add_epi32(total);
}

#if defined(__clang__)
#pragma clang attribute pop  // one target is all that clang takes
#pragma clang attribute push(                                                                     \
    __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512cd,avx512vnni,avx512vbmi"))), \
    apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx512vbmi")
#endif

/// Weights that are bytes, of values of m that are bytes: looked up, 64 at a time.
class ByteWeights {
 public:
  explicit ByteWeights(const portable::Rounding& rounding) : weights_(Table(rounding).entries) {}

  /// A row of powers as weights; returns what they add up to.
  std::int32_t weigh_row(std::uint64_t reciprocal, const std::int32_t* powers, std::size_t tokens,
                         std::uint8_t* weights) const {
    const __m512i factor = _mm512_set1_epi64(static_cast<long long>(reciprocal));
    __m512i total = _mm512_setzero_si512();
    const auto weigh = [&](std::size_t j, auto load) {
      __m512i m[4];
#pragma GCC unroll 4
      for (std::size_t l = 0; l < 4; ++l) {
        m[l] = scale_powers(load(j + l * kValues), factor);
      }
      // Packing makes 255 of 256, the multiplier itself.
      const __m512i bytes =
          _mm512_packus_epi16(_mm512_packus_epi32(m[0], m[1]), _mm512_packus_epi32(m[2], m[3]));
      const __m512i weight = weights_(Words::in_order(bytes));
      _mm512_storeu_si512(weights + j, weight);
      total = _mm512_dpbusd_epi32(total, weight, _mm512_set1_epi8(1));
    };
    std::size_t j = 0;
    for (; j + kBytes <= tokens; j += kBytes) {
      weigh(j, [&](std::size_t at) { return _mm512_loadu_si512(powers + at); });
    }
    if (j < tokens) {
      weigh(j, [&](std::size_t at) {
        const __mmask16 mask = at < tokens ? first_values(tokens - at) : __mmask16{0};
        return _mm512_maskz_loadu_epi32(mask, powers + at);
      });
    }
    return _mm512_reduce_add_epi32(total);
  }

 private:
  struct Table {
    explicit Table(const portable::Rounding& rounding) {
      const __m512i lane = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
      for (std::size_t m = 0; m < sizeof(entries); m += kValues) {
        const __m512i each = _mm512_add_epi32(_mm512_set1_epi32(static_cast<int>(m)), lane);
        _mm_storeu_si128(reinterpret_cast<__m128i*>(entries + m),
                         _mm512_cvtepi32_epi8(round_weights(rounding, each)));
      }
    }

    std::uint8_t entries[256];
  };

  ByteTable weights_;
};

/// Every row of powers as weights that are bytes.
void weigh_in_bytes(const portable::Rounding& rounding, const std::uint64_t* reciprocals,
                    const std::int32_t* powers, std::size_t stride, const Weights& weights,
                    const Planes& planes) {
  const ByteWeights table(rounding);
  for (std::size_t r = 0; r < weights.rows; ++r) {
    planes.totals[r] = table.weigh_row(reciprocals[r], powers + r * stride, weights.tokens,
                                       planes.low + r * planes.stride);
  }
}

#if defined(__clang__)
#pragma clang attribute pop
#pragma clang attribute push(                                                          \
    __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512cd,avx512vnni"))), \
    apply_to = function)
#else
#pragma GCC pop_options
#endif

void weigh(const AttentionRule& rule, std::int32_t log2_delta, std::int32_t* scores,
           std::size_t stride, const Weights& weights) {
  if (rule.kind == AttentionKind::sqrt2) {
    return portable::weigh(rule, log2_delta, scores, stride, weights);
  }
  const PowerTable table;
  const portable::Rounding rounding = portable::rounding_of(rule);
  const Planes planes(weights);
  const auto weigh_one = rounding.largest > 255 ? weigh_row<true> : weigh_row<false>;
  *planes.has_high = rounding.largest > 255 ? 1 : 0;
  // All rows through one step after the other: what a row waits for at a step's end, a largest
  // value, a sum and a division, other rows do meanwhile.
  std::int32_t tops[kRowChunk];
  std::uint64_t reciprocals[kRowChunk];
  for (std::size_t r = 0; r < weights.rows; ++r) {
    tops[r] = largest_of(scores + r * stride, weights.tokens);
  }
  for (std::size_t r = 0; r < weights.rows; ++r) {
    const std::uint64_t sum = take_powers(table, tops[r], scores + r * stride, weights.tokens);
    reciprocals[r] = portable::reciprocal_of(rule, sum);
  }
  if (rule.multiplier <= 256 && has_vbmi()) {
    return weigh_in_bytes(rounding, reciprocals, scores, stride, weights, planes);
  }
  for (std::size_t r = 0; r < weights.rows; ++r) {
    const std::size_t at = r * planes.stride;
    planes.totals[r] = weigh_one(rounding, reciprocals[r], scores + r * stride, weights.tokens,
                                 planes.low + at, planes.high + at);
  }
}

void apply(const AttentionRule& rule, const Weights& weights, const Panel& values,
           std::int32_t zero, std::int32_t* context) {
  apply_planes(multiply, rule, weights, values, zero, context);
}

std::uint64_t multiply_in_registers(std::uint64_t rounds) {
  constexpr std::size_t kSums = 24;
  __m512i sums[kSums];
#pragma GCC unroll 24
  // NOLINTNEXTLINE(modernize-loop-convert): only loops over indices unroll
  for (std::size_t i = 0; i < kSums; ++i) {
    sums[i] = _mm512_setzero_si512();
  }
  const __m512i values = _mm512_set1_epi8(3);
  for (std::uint64_t round = 0; round < rounds; ++round) {
#pragma GCC unroll 24
    // NOLINTNEXTLINE(modernize-loop-convert): only loops over indices unroll
    for (std::size_t i = 0; i < kSums; ++i) {
      sums[i] = _mm512_dpbusd_epi32(sums[i], values, values);
      asm volatile("" : "+v"(sums[i]));  // so that every product is made
    }
  }
  return rounds * kSums * kBytes;
}

}  // namespace

const Kernels& avx512_vnni_kernels();

const Kernels& avx512_vnni_kernels() {
  static constexpr Kernels kKernels = {
      "avx512_vnni",
      pack_rows,
      pack_columns,
      multiply,
      sum_rows,
      rescale,
      rescale_to_codes,
      rescale_and_add,
      split_channels,
      decode,
      normalise,
      weigh,
      apply,
      multiply_in_registers,
  };
  return kKernels;
}

}  // namespace bitlog2::runtime

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

#endif
