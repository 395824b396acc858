// AVX2: eight channels to a register. Compiled into any x86-64 build; select.cpp asks the CPU
// before it hands this table out.
#if defined(__x86_64__)

#include <immintrin.h>

#include "../fixed_point.h"
#include "code_lookup.h"
#include "narrowing.h"
#include "planes.h"
#include "portable.h"

// Only what follows may use these instructions: inline functions of the headers above are shared
// with files for other CPUs.
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2")
#endif

namespace bitlog2::runtime {
namespace {

constexpr std::size_t kBytes = 32;  // of a register
constexpr std::size_t kValues = 8;  // int32 in a register

__m256i load(const void* at) {
  return _mm256_loadu_si256(static_cast<const __m256i*>(at));
}

void store(void* at, __m256i value) {
  _mm256_storeu_si256(static_cast<__m256i*>(at), value);
}

/// All lanes of a register.
struct AllLanes {
  static __m256i load_from(const std::int32_t* at) { return load(at); }
  static void store_to(std::int32_t* at, __m256i values) { store(at, values); }
  static __m256i keep(__m256i values) { return values; }
  static __m256i choose(__m256i, __m256i values) { return values; }
};

/// The first of them, fewer than eight; memory behind these is not touched.
struct FirstLanes {
  explicit FirstLanes(std::size_t count)
      : mask(_mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(count)),
                                _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7))) {}

  /// 0 in the others.
  __m256i load_from(const std::int32_t* at) const { return _mm256_maskload_epi32(at, mask); }
  void store_to(std::int32_t* at, __m256i values) const {
    _mm256_maskstore_epi32(at, mask, values);
  }
  /// 0 in the others.
  __m256i keep(__m256i values) const { return _mm256_and_si256(values, mask); }
  /// `others` in the others.
  __m256i choose(__m256i others, __m256i values) const {
    return _mm256_blendv_epi8(others, values, mask);
  }

  __m256i mask;
};

/// Calls use(at, which lanes) for eight values after the other.
template <class Use>
[[gnu::always_inline]] inline void for_each_eight(std::size_t count, Use use) {
  std::size_t i = 0;
  for (; i + kValues <= count; i += kValues) {
    use(i, AllLanes());
  }
  if (i < count) {
    use(i, FirstLanes(count - i));
  }
}

__m256i odd_lanes(__m256i values) {
  return _mm256_srli_epi64(values, 32);
}

/// The low halves of `even` and of `odd`, lane by lane.
__m256i interleave(__m256i even, __m256i odd) {
  return _mm256_blend_epi32(even, _mm256_slli_epi64(odd, 32), 0xAA);
}

/// An arithmetic shift of 64-bit values, which AVX2 lacks.
struct ShiftRight {
  explicit ShiftRight(unsigned shift)
      : count(_mm_cvtsi32_si128(static_cast<int>(shift))),
        sign(_mm256_set1_epi64x(std::numeric_limits<std::int64_t>::min())),
        sign_behind(_mm256_srl_epi64(sign, count)) {}

  __m256i operator()(__m256i value) const {
    return _mm256_sub_epi64(_mm256_srl_epi64(_mm256_xor_si256(value, sign), count), sign_behind);
  }

  __m128i count;
  __m256i sign;
  __m256i sign_behind;
};

std::int64_t sum_of_64(__m256i values) {
  const __m128i pair =
      _mm_add_epi64(_mm256_castsi256_si128(values), _mm256_extracti128_si256(values, 1));
  return _mm_cvtsi128_si64(_mm_add_epi64(pair, _mm_unpackhi_epi64(pair, pair)));
}

template <class Combine>
std::int32_t reduce(__m256i values, Combine combine) {
  std::int32_t lanes[kValues];
  store(lanes, values);
  std::int32_t result = lanes[0];
  for (std::size_t i = 1; i < kValues; ++i) {
    result = combine(result, lanes[i]);
  }
  return result;
}

std::int32_t largest_lane(__m256i values) {
  return reduce(values, [](std::int32_t a, std::int32_t b) { return a < b ? b : a; });
}

std::int32_t smallest_lane(__m256i values) {
  return reduce(values, [](std::int32_t a, std::int32_t b) { return a < b ? a : b; });
}

// --- panels ---

/// An 8 x 8 matrix of 32-bit values.
void transpose(__m256i (&rows)[kValues]) {
  __m256i quads[2][4];  // [group of four rows][j]: lane l has column 4 l + j
  for (std::size_t g = 0; g < 2; ++g) {
    const __m256i a = _mm256_unpacklo_epi32(rows[4 * g], rows[4 * g + 1]);
    const __m256i b = _mm256_unpackhi_epi32(rows[4 * g], rows[4 * g + 1]);
    const __m256i c = _mm256_unpacklo_epi32(rows[4 * g + 2], rows[4 * g + 3]);
    const __m256i d = _mm256_unpackhi_epi32(rows[4 * g + 2], rows[4 * g + 3]);
    quads[g][0] = _mm256_unpacklo_epi64(a, c);
    quads[g][1] = _mm256_unpackhi_epi64(a, c);
    quads[g][2] = _mm256_unpacklo_epi64(b, d);
    quads[g][3] = _mm256_unpackhi_epi64(b, d);
  }
  for (std::size_t j = 0; j < 4; ++j) {
    rows[j] = _mm256_permute2x128_si256(quads[0][j], quads[1][j], 0x20);
    rows[4 + j] = _mm256_permute2x128_si256(quads[0][j], quads[1][j], 0x31);
  }
}

/// 32 codes from the k-th on, k even.
__m256i load_codes(const std::uint8_t* row, bool nibbles, std::size_t k) {
  if (!nibbles) {
    return load(row + k);
  }
  const __m256i pairs =
      _mm256_cvtepu8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(row + k / 2)));
  const __m256i spread = _mm256_or_si256(pairs, _mm256_slli_epi16(pairs, 4));
  return _mm256_and_si256(spread, _mm256_set1_epi8(15));
}

/// Eight channels by 32 values of depth.
void pack_block(const Codes& codes, std::size_t c, std::size_t k, const std::int32_t* offsets,
                const Panel& panel, __m256i& totals) {
  const __m256i ones = _mm256_set1_epi8(1);
  __m256i rows[kValues];
  for (std::size_t i = 0; i < kValues; ++i) {
    const std::uint8_t* row = codes.first + (c + i) * codes.stride;
    const __m256i offset = _mm256_set1_epi8(static_cast<char>(offsets[c + i]));
    rows[i] = _mm256_sub_epi8(load_codes(row, codes.nibbles, k), offset);
  }
  transpose(rows);
  for (std::size_t i = 0; i < kValues; ++i) {
    store(panel.values + ((k / kDepthStep + i) * panel.width + c) * kDepthStep, rows[i]);
    const __m256i pairs = _mm256_maddubs_epi16(ones, rows[i]);
    totals = _mm256_add_epi32(totals, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
  }
}

void pack_rows(const Codes& codes, std::size_t channels, const std::int32_t* offsets,
               const Panel& panel, std::int32_t* sums) {
  const std::size_t whole_depth = panel.depth / kBytes * kBytes;
  const std::size_t whole_channels = channels / kValues * kValues;
  if (whole_depth != panel.depth || whole_channels != panel.width) {
    // The edges, and with them everything: shapes of real networks have none.
    return portable::pack_rows(codes, channels, offsets, panel, sums);
  }
  for (std::size_t c = 0; c < panel.width; c += kValues) {
    __m256i totals = _mm256_setzero_si256();
    for (std::size_t k = 0; k < panel.depth; k += kBytes) {
      pack_block(codes, c, k, offsets, panel, totals);
    }
    store(sums + c, totals);
  }
}

/// Sixteen channels of the rows from the k-th on, four deep.
void pack_four_rows(const Codes& codes, std::size_t k, std::size_t c, __m128i offset,
                    const Panel& panel) {
  __m128i rows[kDepthStep];
  for (std::size_t i = 0; i < kDepthStep; ++i) {
    rows[i] = _mm_setzero_si128();
    if (k + i < panel.depth) {
      const std::uint8_t* row = codes.first + (k + i) * codes.stride + c;
      rows[i] = _mm_sub_epi8(_mm_loadu_si128(reinterpret_cast<const __m128i*>(row)), offset);
    }
  }
  const __m128i first = _mm_unpacklo_epi8(rows[0], rows[1]);
  const __m128i second = _mm_unpackhi_epi8(rows[0], rows[1]);
  const __m128i third = _mm_unpacklo_epi8(rows[2], rows[3]);
  const __m128i fourth = _mm_unpackhi_epi8(rows[2], rows[3]);
  std::int8_t* target = panel.values + k * panel.width + c * kDepthStep;
  store(target,
        _mm256_set_m128i(_mm_unpackhi_epi16(first, third), _mm_unpacklo_epi16(first, third)));
  store(target + kBytes,
        _mm256_set_m128i(_mm_unpackhi_epi16(second, fourth), _mm_unpacklo_epi16(second, fourth)));
}

void pack_columns(const Codes& codes, std::size_t channels, std::int32_t offset,
                  const Panel& panel) {
  if (channels != panel.width) {
    // The edge, and with it everything: shapes of real networks have none.
    return portable::pack_columns(codes, channels, offset, panel);
  }
  const __m128i offsets = _mm_set1_epi8(static_cast<char>(offset));
  for (std::size_t k = 0; k < panel.depth; k += kDepthStep) {
    for (std::size_t c = 0; c < panel.width; c += kLane) {
      pack_four_rows(codes, k, c, offsets, panel);
    }
  }
}

// --- products ---

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
          const __m256i pairs = _mm256_maddubs_epi16(row, load(values + l * kBytes));
          // totals[r][l] = _mm256_add_epi16(totals[r][l], pairs), of which GCC makes a sum in
          // another register and a copy, where it does not run out of registers.
          asm volatile("vpaddw %1, %0, %0" : "+x"(totals[r][l]) : "x"(pairs));
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
      store(sums + r * stride + c + l * kValues, wide[r][l]);
    }
  }
}

/// Where a pair of products may not fit 16 bits: inputs in two parts, below 128 and 128.
void multiply_bytes(const Inputs& inputs, std::size_t r, const Panel& panel, std::size_t c,
                    std::int32_t* sums, std::size_t stride) {
  const __m256i low_bits = _mm256_set1_epi8(127);
  __m256i total = _mm256_setzero_si256();
  for (std::size_t step = 0; step < panel.steps(); ++step) {
    std::int32_t four = 0;
    __builtin_memcpy(&four, inputs.row(r) + step * kDepthStep, sizeof(four));
    const __m256i row = _mm256_set1_epi32(four);
    const __m256i values = load(panel.values + (step * panel.width + c) * kDepthStep);
    const __m256i low = _mm256_maddubs_epi16(_mm256_and_si256(row, low_bits), values);
    const __m256i high = _mm256_maddubs_epi16(
        _mm256_and_si256(_mm256_srli_epi16(row, 7), _mm256_set1_epi8(1)), values);
    total = _mm256_add_epi32(total, _mm256_madd_epi16(low, _mm256_set1_epi16(1)));
    total = _mm256_add_epi32(total, _mm256_madd_epi16(high, _mm256_set1_epi16(128)));
  }
  store(sums + r * stride + c, total);
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

void sum_rows(const Inputs& inputs, std::size_t rows, std::size_t count, std::int32_t* sums) {
  for (std::size_t r = 0; r < rows; ++r) {
    const std::uint8_t* row = inputs.row(r);
    __m256i total = _mm256_setzero_si256();
    std::size_t k = 0;
    for (; k + kBytes <= count; k += kBytes) {
      total = _mm256_add_epi64(total, _mm256_sad_epu8(load(row + k), _mm256_setzero_si256()));
    }
    std::int64_t sum = sum_of_64(total);
    for (; k < count; ++k) {
      sum += row[k];
    }
    sums[r] = static_cast<std::int32_t>(sum);
  }
}

__m256i clamp_64(__m256i value, __m256i low, __m256i high) {
  value = _mm256_blendv_epi8(value, low, _mm256_cmpgt_epi64(low, value));
  return _mm256_blendv_epi8(value, high, _mm256_cmpgt_epi64(value, high));
}

/// Calls store(r, c, values) with eight values of every row after the other.
template <bool HasZeros, Narrowing How, class Store>
void rescale_in_one_way(const Rescale& rescale, const Sums& sums, Store store_values) {
  const ShiftRight shift(rescale.shift);
  const __m256i low = _mm256_set1_epi64x(rescale.low);
  const __m256i high = _mm256_set1_epi64x(rescale.high);
  const __m128i short_shift = _mm_cvtsi32_si128(static_cast<int>(rescale.shift & 31));
  const __m128i rest = _mm_cvtsi32_si128(32 - static_cast<int>(rescale.shift & 31));
  const __m256i low_32 = _mm256_set1_epi32(rescale.low);
  const __m256i high_32 = _mm256_set1_epi32(rescale.high);
  for (std::size_t c = 0; c < sums.channels; c += kValues) {
    const __m256i zeros = HasZeros ? load(rescale.zeros + c) : _mm256_setzero_si256();
    const __m256i constants = load(rescale.constants + c);
    const __m256i even_multipliers = load(rescale.multipliers + c);
    const __m256i odd_multipliers = odd_lanes(even_multipliers);
    // 0 1 2 3, 4 5 6 7 to 0 2 4 6, 1 3 5 7
    const __m256i first = load(rescale.offsets + c);
    const __m256i second = load(rescale.offsets + c + kValues / 2);
    const __m256i even_offsets =
        _mm256_permute4x64_epi64(_mm256_unpacklo_epi64(first, second), 0xD8);
    const __m256i odd_offsets =
        _mm256_permute4x64_epi64(_mm256_unpackhi_epi64(first, second), 0xD8);
    for (std::size_t r = 0; r < sums.rows; ++r) {
      std::int32_t* at = sums.values + r * sums.stride + c;
      __m256i sum = _mm256_add_epi32(load(at), constants);
      if constexpr (HasZeros) {
        sum = _mm256_sub_epi32(sum, _mm256_mullo_epi32(zeros, _mm256_set1_epi32(sums.row_sums[r])));
      }
      const __m256i even = _mm256_add_epi64(_mm256_mul_epi32(sum, even_multipliers), even_offsets);
      const __m256i odd =
          _mm256_add_epi64(_mm256_mul_epi32(odd_lanes(sum), odd_multipliers), odd_offsets);
      if constexpr (How == Narrowing::wide) {
        store_values(r, c,
                     interleave(clamp_64(shift(even), low, high), clamp_64(shift(odd), low, high)));
      } else {
        const __m256i value =
            How == Narrowing::upper
                ? _mm256_sra_epi32(_mm256_blend_epi32(odd_lanes(even), odd, 0xAA), short_shift)
                : _mm256_blend_epi32(_mm256_srl_epi64(even, short_shift),
                                     _mm256_sll_epi64(odd, rest), 0xAA);
        store_values(r, c, _mm256_min_epi32(_mm256_max_epi32(value, low_32), high_32));
      }
    }
  }
}

template <class Store>
void rescale_and(const Rescale& rescale, const Sums& sums, Store store_values) {
  choose_narrowing(rescale, [&]<bool HasZeros, Narrowing How>() {
    rescale_in_one_way<HasZeros, How>(rescale, sums, store_values);
  });
}

void rescale(const Rescale& how, const Sums& sums) {
  rescale_and(how, sums, [&](std::size_t r, std::size_t c, __m256i values) {
    store(sums.values + r * sums.stride + c, values);
  });
}

/// Eight values in [0, 255] as bytes.
std::int64_t bytes_of(__m256i values) {
  const __m128i words =
      _mm_packus_epi32(_mm256_castsi256_si128(values), _mm256_extracti128_si256(values, 1));
  return _mm_cvtsi128_si64(_mm_packus_epi16(words, words));
}

/// Each byte becomes the table's entry for it.
__m256i look_up(const CodeLookup& lookup, __m256i bytes) {
  __m256i values = _mm256_setzero_si256();
  for (std::size_t part = 0; part < lookup.parts; ++part) {
    // Within the part, and with the highest bit where the byte is of another: a shuffle makes 0 of
    // that.
    const __m256i first = _mm256_set1_epi8(static_cast<char>(part * CodeLookup::kPart));
    const __m256i within = _mm256_adds_epu8(_mm256_sub_epi8(bytes, first), _mm256_set1_epi8(0x70));
    const __m256i entries = _mm256_broadcastsi128_si256(
        _mm_loadu_si128(reinterpret_cast<const __m128i*>(lookup.entries[part])));
    values = _mm256_or_si256(values, _mm256_shuffle_epi8(entries, within));
  }
  return values;
}

void decode(const CodeLookup& lookup, const std::uint8_t* codes, std::size_t count,
            std::uint8_t* inputs) {
  std::size_t i = 0;
  for (; i + kBytes <= count; i += kBytes) {
    store(inputs + i, look_up(lookup, load(codes + i)));
  }
  portable::decode(codes + i, count - i, lookup.entries[0], CodeLookup::kMost, inputs + i);
}

void decode(const std::uint8_t* codes, std::size_t count, const std::uint8_t* table,
            std::size_t size, std::uint8_t* inputs) {
  decode(CodeLookup(table, size), codes, count, inputs);
}

void rescale_to_codes(const Rescale& how, const Sums& sums, const CodeTable& table,
                      std::uint8_t* codes, std::size_t stride) {
  if (table.size > CodeLookup::kMost) {
    rescale(how, sums);
    return portable::store_codes(sums, table, codes, stride);
  }
  rescale_and(how, sums, [&](std::size_t r, std::size_t c, __m256i values) {
    const std::int64_t bytes = bytes_of(values);
    std::uint8_t* at = codes + r * stride + c;
    if (sums.channels - c >= sizeof(bytes)) [[likely]] {
      __builtin_memcpy(at, &bytes, sizeof(bytes));
    } else {
      __builtin_memcpy(at, &bytes, sums.channels - c);
    }
  });
  if (table.entries != nullptr) {
    const CodeLookup lookup(table.entries, table.size);
    for (std::size_t r = 0; r < sums.rows; ++r) {
      decode(lookup, codes + r * stride, sums.channels, codes + r * stride);
    }
  }
}

std::uint64_t rescale_and_add(const Rescale& how, const Sums& sums, std::int32_t* totals,
                              std::size_t stride) {
  const __m256i one = _mm256_set1_epi32(1);
  std::uint64_t saturations = 0;
  const auto add = [&](std::int32_t* at, std::size_t count, __m256i value, const auto& lanes) {
    const __m256i total = lanes.load_from(at);
    const __m256i sum = _mm256_add_epi32(total, value);
    // Negative where both have one sign and the sum the other, or the value is an end.
    const __m256i overflow =
        _mm256_and_si256(_mm256_xor_si256(sum, value), _mm256_xor_si256(sum, total));
    const __m256i magnitude = _mm256_xor_si256(value, _mm256_srai_epi32(value, 31));
    const __m256i cut = lanes.keep(_mm256_or_si256(overflow, _mm256_add_epi32(magnitude, one)));
    if (_mm256_movemask_ps(_mm256_castsi256_ps(cut)) != 0) [[unlikely]] {
      std::int32_t values[kValues];
      store(values, value);
      saturations += portable::add({values, 0, nullptr, 1, count}, at, 0);
    } else {
      lanes.store_to(at, sum);
    }
  };
  rescale_and(how, sums, [&](std::size_t r, std::size_t c, __m256i value) {
    std::int32_t* at = totals + r * stride + c;
    const std::size_t left = sums.channels - c;
    if (left >= kValues) [[likely]] {
      add(at, kValues, value, AllLanes());
    } else {
      add(at, left, value, FirstLanes(left));
    }
  });
  return saturations;
}

// --- LayerNorm ---

void normalise_row(const std::int32_t* row, std::size_t count, std::uint64_t epsilon,
                   std::uint64_t root_of_count, std::int32_t* normalised) {
  __m256i sums = _mm256_setzero_si256();
  __m256i smallest = _mm256_set1_epi32(row[0]);
  __m256i largest = smallest;
  for_each_eight(count, [&](std::size_t c, const auto& lanes) {
    const __m256i x = lanes.load_from(row + c);
    sums = _mm256_add_epi64(sums, _mm256_cvtepi32_epi64(_mm256_castsi256_si128(x)));
    sums = _mm256_add_epi64(sums, _mm256_cvtepi32_epi64(_mm256_extracti128_si256(x, 1)));
    smallest = _mm256_min_epi32(smallest, lanes.choose(smallest, x));
    largest = _mm256_max_epi32(largest, lanes.choose(largest, x));
  });
  const portable::Normalisation begun = portable::begin_normalisation(
      sum_of_64(sums), smallest_lane(smallest), largest_lane(largest), count, epsilon);
  if (begun.down > 7) {  // differences may need more than 31 bits with the rounding
    return portable::normalise_row(row, count, epsilon, root_of_count, normalised);
  }
  const __m256i mean = _mm256_set1_epi32(static_cast<std::int32_t>(begun.mean));
  const __m256i half = _mm256_set1_epi32(begun.down == 0 ? 0 : 1 << (begun.down - 1));
  const __m128i down = _mm_cvtsi32_si128(static_cast<int>(begun.down));
  __m256i squares = _mm256_setzero_si256();
  for_each_eight(count, [&](std::size_t c, const auto& lanes) {
    const __m256i centred = _mm256_sub_epi32(lanes.load_from(row + c), mean);
    const __m256i d = lanes.keep(_mm256_sra_epi32(_mm256_add_epi32(centred, half), down));
    lanes.store_to(normalised + c, d);
    squares = _mm256_add_epi64(squares, _mm256_mul_epi32(d, d));
    squares = _mm256_add_epi64(squares, _mm256_mul_epi32(odd_lanes(d), odd_lanes(d)));
  });
  const portable::NormalisationScale scale = portable::end_normalisation(
      begun.least + static_cast<std::uint64_t>(sum_of_64(squares)), root_of_count);
  const __m256i factor = _mm256_set1_epi64x(scale.factor);
  const __m256i rounding = _mm256_set1_epi64x(std::int64_t{1} << (scale.shift - 1));
  const auto scale_differences = [&](auto narrow) {
    for_each_eight(count, [&](std::size_t c, const auto& lanes) {
      const __m256i d = lanes.load_from(normalised + c);
      const __m256i even = _mm256_add_epi64(_mm256_mul_epi32(d, factor), rounding);
      const __m256i odd = _mm256_add_epi64(_mm256_mul_epi32(odd_lanes(d), factor), rounding);
      lanes.store_to(normalised + c, narrow(even, odd));
    });
  };
  if (scale.shift <= 32) {  // the 32 bits that count are in the 64
    const __m128i shift = _mm_cvtsi32_si128(static_cast<int>(scale.shift));
    const __m128i rest = _mm_cvtsi32_si128(32 - static_cast<int>(scale.shift));
    scale_differences([&](__m256i even, __m256i odd) {
      return _mm256_blend_epi32(_mm256_srl_epi64(even, shift), _mm256_sll_epi64(odd, rest), 0xAA);
    });
  } else {
    const ShiftRight shift(scale.shift);
    scale_differences(
        [&](__m256i even, __m256i odd) { return interleave(shift(even), shift(odd)); });
  }
}

void normalise(const std::int32_t* x, std::size_t rows, std::size_t count, std::uint64_t epsilon,
               std::int32_t* normalised, std::size_t stride) {
  const std::uint64_t root = portable::root_of_count(count);
  for (std::size_t r = 0; r < rows; ++r) {
    normalise_row(x + r * count, count, epsilon, root, normalised + r * stride);
  }
}

// --- attention ---

/// A table of 32 values in registers.
struct Table32 {
  template <class Entry>
  explicit Table32(Entry entry) {
    for (std::size_t part = 0; part < 4; ++part) {
      std::uint32_t column[kValues];
      for (std::size_t i = 0; i < kValues; ++i) {
        column[i] = entry(kPowerTable[kValues * part + i]);
      }
      parts[part] = load(column);
    }
  }

  /// `bit3` and `bit4` have that bit of the index as all of a lane.
  __m256i operator()(__m256i index, __m256i bit3, __m256i bit4) const {
    const __m256i low = _mm256_blendv_epi8(_mm256_permutevar8x32_epi32(parts[0], index),
                                           _mm256_permutevar8x32_epi32(parts[1], index), bit3);
    const __m256i high = _mm256_blendv_epi8(_mm256_permutevar8x32_epi32(parts[2], index),
                                            _mm256_permutevar8x32_epi32(parts[3], index), bit3);
    return _mm256_blendv_epi8(low, high, bit4);
  }

  __m256i parts[4];
};

struct PowerTables {
  Table32 values{[](const PowerEntry& entry) { return entry.value; }};
  Table32 steps{[](const PowerEntry& entry) { return entry.step; }};

  /// power_of_two() of eight exponents.
  __m256i power(__m256i exponents) const {
    const __m256i index = _mm256_srli_epi32(exponents, 11);  // its low five bits count
    const __m256i bit3 = _mm256_srai_epi32(_mm256_slli_epi32(index, 28), 31);
    const __m256i bit4 = _mm256_srai_epi32(_mm256_slli_epi32(index, 27), 31);
    const __m256i value = values(index, bit3, bit4);
    const __m256i step = steps(index, bit3, bit4);
    const __m256i rest = _mm256_and_si256(exponents, _mm256_set1_epi32(2047));
    const __m256i line = _mm256_srli_epi32(_mm256_mullo_epi32(step, rest), 7);
    const __m256i other = _mm256_sub_epi32(_mm256_set1_epi32(2048), rest);
    const __m256i bow = _mm256_srli_epi32(_mm256_mullo_epi32(rest, other), 8);
    const __m256i depth = _mm256_mullo_epi32(bow, _mm256_srli_epi32(value, 18));
    const __m256i sag =
        _mm256_srli_epi32(_mm256_mullo_epi32(depth, _mm256_set1_epi32(static_cast<int>(kSag))), 16);
    const __m256i mantissa = _mm256_sub_epi32(value, _mm256_add_epi32(line, sag));
    return _mm256_srlv_epi32(mantissa, _mm256_srli_epi32(exponents, 16));
  }
};

std::int32_t largest_of(const std::int32_t* scores, std::size_t tokens) {
  __m256i largest = _mm256_set1_epi32(scores[0]);
  for_each_eight(tokens, [&](std::size_t j, const auto& lanes) {
    largest = _mm256_max_epi32(largest, lanes.choose(largest, lanes.load_from(scores + j)));
  });
  return largest_lane(largest);
}

/// scores <- their powers of two relative to the largest, 0 up to a whole register; returns the
/// powers' sum.
std::uint64_t take_powers(const PowerTables& tables, std::int32_t top_score, std::int32_t* scores,
                          std::size_t tokens) {
  const __m256i top = _mm256_set1_epi32(top_score);
  const __m256i low_half = _mm256_set1_epi64x(0xFFFFFFFF);
  __m256i sums = _mm256_setzero_si256();
  const auto take = [&](std::size_t j, const auto& lanes) {
    const __m256i difference = _mm256_sub_epi32(top, load(scores + j));
    const __m256i power = lanes.keep(tables.power(difference));
    store(scores + j, power);
    return power;
  };
  const auto add = [&](__m256i powers) {
    sums = _mm256_add_epi64(sums, _mm256_and_si256(powers, low_half));
    sums = _mm256_add_epi64(sums, odd_lanes(powers));
  };
  constexpr AllLanes kAll;
  std::size_t j = 0;
  for (; j + 3 * kValues <= tokens; j += 3 * kValues) {
    // A power is at most 2^30: 32 bits hold three.
    const __m256i first = take(j, kAll);
    const __m256i second = take(j + kValues, kAll);
    add(_mm256_add_epi32(_mm256_add_epi32(first, second), take(j + 2 * kValues, kAll)));
  }
  for (; j + kValues <= tokens; j += kValues) {
    add(take(j, kAll));
  }
  if (j < tokens) {
    add(take(j, FirstLanes(tokens - j)));
  }
  return static_cast<std::uint64_t>(sum_of_64(sums));
}

/// rounded_weight() of eight values, which may also be the multiplier itself: it is cut like the
/// largest value below it.
__m256i round_weights(const portable::Rounding& rounding, __m256i m) {
  // Ones from the highest bit down, then only where bits are dropped.
  __m256i dropped = _mm256_or_si256(m, _mm256_srli_epi32(m, 1));
  dropped = _mm256_or_si256(dropped, _mm256_srli_epi32(dropped, 2));
  dropped = _mm256_or_si256(dropped, _mm256_srli_epi32(dropped, 4));
  dropped = _mm256_or_si256(dropped, _mm256_srli_epi32(dropped, 8));
  dropped =
      _mm256_srl_epi32(dropped, _mm_cvtsi32_si128(static_cast<int>(rounding.fraction_bits) + 1));
  if (rounding.nearest) {
    const __m256i step = _mm256_add_epi32(dropped, _mm256_set1_epi32(1));
    m = _mm256_add_epi32(m, _mm256_srli_epi32(step, 1));
  }
  return _mm256_min_epi32(_mm256_andnot_si256(dropped, m),
                          _mm256_set1_epi32(static_cast<int>(rounding.largest)));
}

/// m of eight powers: power * factor >> 46.
__m256i scale_powers(__m256i power, __m256i factor) {
  const __m256i even = _mm256_srli_epi64(_mm256_mul_epu32(power, factor), 46);
  // 32 bits less, which leaves the result in the odd lanes.
  const __m256i odd = _mm256_srli_epi64(_mm256_mul_epu32(odd_lanes(power), factor), 46 - 32);
  return _mm256_blend_epi32(even, odd, 0xAA);
}

/// A row of powers as weights in two planes; returns what they add up to.
std::int32_t weigh_in_planes(const portable::Rounding& rounding, std::uint64_t reciprocal,
                             const std::int32_t* powers, std::size_t tokens, std::uint8_t* low,
                             std::uint8_t* high) {
  const __m256i factor = _mm256_set1_epi64x(static_cast<long long>(reciprocal));
  __m256i total = _mm256_setzero_si256();
  for (std::size_t j = 0; j < tokens; j += kValues) {
    const __m256i weight = round_weights(rounding, scale_powers(load(powers + j), factor));
    total = _mm256_add_epi32(total, weight);
    const std::int64_t low_bytes = bytes_of(_mm256_and_si256(weight, _mm256_set1_epi32(255)));
    const std::int64_t high_bytes = bytes_of(_mm256_srli_epi32(weight, 8));
    __builtin_memcpy(low + j, &low_bytes, sizeof(low_bytes));
    __builtin_memcpy(high + j, &high_bytes, sizeof(high_bytes));
  }
  return reduce(total, [](std::int32_t a, std::int32_t b) { return a + b; });
}

/// Each byte shifted to the right.
__m256i shift_bytes(__m256i bytes, unsigned shift) {
  const __m256i shifted = _mm256_srl_epi16(bytes, _mm_cvtsi32_si128(static_cast<int>(shift)));
  return _mm256_and_si256(shifted, _mm256_set1_epi8(static_cast<char>(255U >> shift)));
}

/// round_weights() of 32 bytes.
__m256i round_byte_weights(const portable::Rounding& rounding, __m256i m) {
  __m256i dropped = _mm256_or_si256(m, shift_bytes(m, 1));
  dropped = _mm256_or_si256(dropped, shift_bytes(dropped, 2));
  dropped = _mm256_or_si256(dropped, shift_bytes(dropped, 4));
  dropped = shift_bytes(dropped, rounding.fraction_bits + 1);
  if (rounding.nearest) {
    // What passes 255 is cut to the largest weight anyway.
    m = _mm256_adds_epu8(m, shift_bytes(_mm256_add_epi8(dropped, _mm256_set1_epi8(1)), 1));
  }
  return _mm256_min_epu8(_mm256_andnot_si256(dropped, m),
                         _mm256_set1_epi8(static_cast<char>(rounding.largest)));
}

/// A row of powers as weights that are bytes, of values of m that are bytes; returns what they add
/// up to.
std::int32_t weigh_in_bytes(const portable::Rounding& rounding, std::uint64_t reciprocal,
                            const std::int32_t* powers, std::size_t tokens, std::uint8_t* weights) {
  const __m256i factor = _mm256_set1_epi64x(static_cast<long long>(reciprocal));
  const __m256i in_order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
  __m256i total = _mm256_setzero_si256();
  for (std::size_t j = 0; j < tokens; j += kBytes) {
    __m256i m[kBytes / kValues];
    for (std::size_t l = 0; l < kBytes / kValues; ++l) {
      const std::size_t at = j + l * kValues;
      m[l] = at < tokens ? scale_powers(load(powers + at), factor) : _mm256_setzero_si256();
    }
    // Packing makes 255 of 256, the multiplier itself.
    const __m256i bytes =
        _mm256_packus_epi16(_mm256_packus_epi32(m[0], m[1]), _mm256_packus_epi32(m[2], m[3]));
    const __m256i weight =
        round_byte_weights(rounding, _mm256_permutevar8x32_epi32(bytes, in_order));
    store(weights + j, weight);
    total = _mm256_add_epi64(total, _mm256_sad_epu8(weight, _mm256_setzero_si256()));
  }
  return static_cast<std::int32_t>(sum_of_64(total));
}

void weigh(const AttentionRule& rule, std::int32_t log2_delta, std::int32_t* scores,
           std::size_t stride, const Weights& weights) {
  if (rule.kind == AttentionKind::sqrt2) {
    return portable::weigh(rule, log2_delta, scores, stride, weights);
  }
  const PowerTables tables;
  const portable::Rounding rounding = portable::rounding_of(rule);
  const Planes planes(weights);
  const bool in_bytes = rule.multiplier <= 256;
  *planes.has_high = in_bytes ? 0 : 1;
  // All rows through one step after the other: what a row waits for at a step's end, a largest
  // value, a sum and a division, other rows do meanwhile.
  std::int32_t tops[kRowChunk];
  std::uint64_t reciprocals[kRowChunk];
  for (std::size_t r = 0; r < weights.rows; ++r) {
    tops[r] = largest_of(scores + r * stride, weights.tokens);
  }
  for (std::size_t r = 0; r < weights.rows; ++r) {
    const std::uint64_t sum = take_powers(tables, tops[r], scores + r * stride, weights.tokens);
    reciprocals[r] = portable::reciprocal_of(rule, sum);
  }
  for (std::size_t r = 0; r < weights.rows; ++r) {
    const std::int32_t* powers = scores + r * stride;
    std::uint8_t* low = planes.low + r * planes.stride;
    std::uint8_t* high = planes.high + r * planes.stride;
    planes.totals[r] =
        in_bytes ? weigh_in_bytes(rounding, reciprocals[r], powers, weights.tokens, low)
                 : weigh_in_planes(rounding, reciprocals[r], powers, weights.tokens, low, high);
  }
}

void apply(const AttentionRule& rule, const Weights& weights, const Panel& values,
           std::int32_t zero, std::int32_t* context) {
  apply_planes(multiply, rule, weights, values, zero, context);
}

std::uint64_t multiply_in_registers(std::uint64_t rounds) {
  constexpr std::size_t kSums = 12;
  __m256i sums[kSums];
#pragma GCC unroll 12
  // NOLINTNEXTLINE(modernize-loop-convert): only loops over indices unroll
  for (std::size_t i = 0; i < kSums; ++i) {
    sums[i] = _mm256_setzero_si256();
  }
  __m256i values = _mm256_set1_epi8(3);
  for (std::uint64_t round = 0; round < rounds; ++round) {
#pragma GCC unroll 12
    // NOLINTNEXTLINE(modernize-loop-convert): only loops over indices unroll
    for (std::size_t i = 0; i < kSums; ++i) {
      sums[i] = _mm256_add_epi16(sums[i], _mm256_maddubs_epi16(values, values));
      asm volatile("" : "+x"(sums[i]), "+x"(values));  // so that every product is made
    }
  }
  return rounds * kSums * kBytes;
}

}  // namespace

const Kernels& avx2_kernels();

const Kernels& avx2_kernels() {
  static constexpr Kernels kKernels = {
      "avx2",
      pack_rows,
      pack_columns,
      multiply,
      sum_rows,
      rescale,
      rescale_to_codes,
      rescale_and_add,
      portable::split_channels,
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
