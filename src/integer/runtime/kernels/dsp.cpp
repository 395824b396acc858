// The DSP instructions of Arm's Cortex-M4, M7, M33 and others: two products of 16 bits and their
// sum at a time (smlad). Bytes become halves of registers on the way. A build is for one processor,
// so it is not asked at run time whether it has them.
#if defined(__arm__) && defined(__ARM_FEATURE_DSP)

#include "dsp.h"

#include <limits>

#include "generic/attend_values.h"
#include "planes.h"
#include "portable.h"

namespace bitlog2::runtime {

const Kernels& dsp_kernels();

namespace {

/// A word of four bytes at any address.
inline std::uint32_t load_word(const void* at) {
  std::uint32_t word = 0;
  __builtin_memcpy(&word, at, sizeof(word));
  return word;
}

// Of four bytes, the first and the third one as halves, or the second and the fourth one. GCC does
// not join the intrinsics' shift and extension.

inline std::int32_t even_signed(std::uint32_t bytes) {
  std::int32_t halves;  // NOLINT(cppcoreguidelines-init-variables): the instruction does
  asm("sxtb16 %0, %1" : "=r"(halves) : "r"(bytes));
  return halves;
}

inline std::int32_t odd_signed(std::uint32_t bytes) {
  std::int32_t halves;  // NOLINT(cppcoreguidelines-init-variables)
  asm("sxtb16 %0, %1, ror #8" : "=r"(halves) : "r"(bytes));
  return halves;
}

inline std::int32_t even_unsigned(std::uint32_t bytes) {
  std::int32_t halves;  // NOLINT(cppcoreguidelines-init-variables)
  asm("uxtb16 %0, %1" : "=r"(halves) : "r"(bytes));
  return halves;
}

inline std::int32_t odd_unsigned(std::uint32_t bytes) {
  std::int32_t halves;  // NOLINT(cppcoreguidelines-init-variables)
  asm("uxtb16 %0, %1, ror #8" : "=r"(halves) : "r"(bytes));
  return halves;
}

/// sum + the products of both halves. GCC's __smlad also handles the overflow flag, which is not
/// needed.
inline std::int32_t add_products(std::int32_t sum, std::int32_t a, std::int32_t b) {
  asm("smlad %0, %1, %2, %0" : "+r"(sum) : "r"(a), "r"(b));
  return sum;
}

/// Where a tile begins, and how far its rows and its steps are apart.
struct Tile {
  const std::uint8_t* row;
  std::size_t row_stride;
  const std::int8_t* values;
  std::size_t step;
  std::size_t steps;  // 1 or more
  std::int32_t* sums;
  std::size_t stride;
};

/// Two rows by two channels, as many as registers hold. A function of its own, so that the caller's
/// values take none of the registers.
[[gnu::noinline]] void multiply_two(const Tile& tile) {
  std::int32_t a = 0;
  std::int32_t b = 0;
  std::int32_t c = 0;
  std::int32_t d = 0;
  const std::uint8_t* upper = tile.row;
  const std::uint8_t* lower = upper + tile.row_stride;
  const std::uint8_t* end = upper + tile.steps * kDepthStep;
  const std::int8_t* values = tile.values;
  const std::size_t step = tile.step;
  do {
    const std::uint32_t first = load_word(values);
    const std::int32_t first_even = even_signed(first);
    const std::int32_t first_odd = odd_signed(first);
    const std::uint32_t second = load_word(values + kDepthStep);
    const std::int32_t second_even = even_signed(second);
    const std::int32_t second_odd = odd_signed(second);
    values += step;
    std::uint32_t inputs = load_word(upper);
    upper += kDepthStep;
    std::int32_t halves = even_unsigned(inputs);
    a = add_products(a, halves, first_even);
    b = add_products(b, halves, second_even);
    halves = odd_unsigned(inputs);
    a = add_products(a, halves, first_odd);
    b = add_products(b, halves, second_odd);
    inputs = load_word(lower);
    lower += kDepthStep;
    halves = even_unsigned(inputs);
    c = add_products(c, halves, first_even);
    d = add_products(d, halves, second_even);
    halves = odd_unsigned(inputs);
    c = add_products(c, halves, first_odd);
    d = add_products(d, halves, second_odd);
  } while (upper != end);
  tile.sums[0] = a;
  tile.sums[1] = b;
  tile.sums[tile.stride] = c;
  tile.sums[tile.stride + 1] = d;
}

/// The same for one row.
[[gnu::noinline]] void multiply_one(const Tile& tile) {
  std::int32_t a = 0;
  std::int32_t b = 0;
  const std::uint8_t* row = tile.row;
  const std::uint8_t* end = row + tile.steps * kDepthStep;
  const std::int8_t* values = tile.values;
  for (; row != end; row += kDepthStep, values += tile.step) {
    const std::uint32_t inputs = load_word(row);
    const std::int32_t even = even_unsigned(inputs);
    const std::int32_t odd = odd_unsigned(inputs);
    const std::uint32_t first = load_word(values);
    const std::uint32_t second = load_word(values + kDepthStep);
    a = add_products(a, even, even_signed(first));
    b = add_products(b, even, even_signed(second));
    a = add_products(a, odd, odd_signed(first));
    b = add_products(b, odd, odd_signed(second));
  }
  tile.sums[0] = a;
  tile.sums[1] = b;
}

void multiply(const Inputs& inputs, std::size_t rows, const Panel& panel, std::int32_t* sums,
              std::size_t stride) {
  for (std::size_t c = 0; c < panel.width; c += 2) {
    Tile tile = {inputs.first,
                 inputs.stride,
                 panel.values + c * kDepthStep,
                 panel.width * kDepthStep,
                 panel.steps(),
                 sums + c,
                 stride};
    std::size_t left = rows;
    for (; left >= 2; left -= 2) {
      multiply_two(tile);
      tile.row += 2 * inputs.stride;
      tile.sums += 2 * stride;
    }
    if (left != 0) {
      multiply_one(tile);
    }
  }
}

// --- panels ---

/// Four bytes minus four others, each by itself.
inline std::uint32_t subtract_bytes(std::uint32_t a, std::uint32_t b) {
  std::uint32_t result;  // NOLINT(cppcoreguidelines-init-variables)
  asm("usub8 %0, %1, %2" : "=r"(result) : "r"(a), "r"(b) : "cc");
  return result;
}

/// sum + four signed bytes.
inline std::int32_t add_bytes(std::int32_t sum, std::uint32_t bytes) {
  constexpr std::int32_t kOnes = 0x00010001;
  return add_products(add_products(sum, even_signed(bytes), kOnes), odd_signed(bytes), kOnes);
}

/// Four codes of half a byte each, from the low end on, as bytes.
constexpr std::uint32_t spread_nibbles(std::uint32_t codes) {
  codes = (codes | codes << 8) & 0x00FF00FF;
  return (codes | codes << 4) & 0x0F0F0F0F;
}

/// `count` codes of a row from the k-th on, at most four, k a multiple of four; 0 behind them.
std::uint32_t load_codes(const Codes& codes, const std::uint8_t* row, std::size_t k,
                         std::size_t count) {
  std::uint32_t bytes = 0;
  if (codes.nibbles) {
    __builtin_memcpy(&bytes, row + k / 2, (count + 1) / 2);
    bytes = spread_nibbles(bytes);
  } else {
    __builtin_memcpy(&bytes, row + k, count);
  }
  return bytes;
}

/// Ones in the first `count` bytes of a word.
constexpr std::uint32_t first_bytes(std::size_t count) {
  return count >= kDepthStep ? 0xFFFFFFFF : (std::uint32_t{1} << (8 * count)) - 1;
}

}  // namespace

namespace dsp {

void pack_rows(const Codes& codes, std::size_t channels, const std::int32_t* offsets,
               const Panel& panel, std::int32_t* sums) {
  const std::size_t step = panel.width * kDepthStep;
  const std::size_t whole = panel.depth / kDepthStep;
  const std::size_t rest = panel.depth % kDepthStep;
  for (std::size_t c = 0; c < panel.width; ++c) {
    std::int8_t* at = panel.values + c * kDepthStep;
    std::int32_t sum = 0;
    if (c >= channels) {
      for (std::size_t i = 0; i < panel.steps(); ++i, at += step) {
        __builtin_memset(at, 0, kDepthStep);
      }
      sums[c] = 0;
      continue;
    }
    const std::uint32_t offset = static_cast<std::uint8_t>(offsets[c]) * 0x01010101U;
    const std::uint8_t* row = codes.first + c * codes.stride;
    const auto put = [&](std::uint32_t bytes) {
      __builtin_memcpy(at, &bytes, sizeof(bytes));
      sum = add_bytes(sum, bytes);
      at += step;
    };
    if (codes.nibbles) {
      for (std::size_t i = 0; i < whole; ++i) {
        std::uint16_t pair = 0;
        __builtin_memcpy(&pair, row + i * kDepthStep / 2, sizeof(pair));
        put(subtract_bytes(spread_nibbles(pair), offset));
      }
    } else {
      for (std::size_t i = 0; i < whole; ++i) {
        put(subtract_bytes(load_word(row + i * kDepthStep), offset));
      }
    }
    if (rest != 0) {
      put(subtract_bytes(load_codes(codes, row, whole * kDepthStep, rest), offset) &
          first_bytes(rest));
    }
    sums[c] = sum;
  }
}

}  // namespace dsp

namespace {

// --- requantization ---

/// (a * b + c) >> shift as an int32, clamped to its ends. kUpper: the shift is 32 or more, after
/// which the value always is an int32.
template <bool kUpper>
inline std::int32_t narrowed(std::int32_t a, std::int32_t b, std::int64_t c, unsigned shift) {
  const std::int64_t sum = c + std::int64_t{a} * b;
  const auto upper = static_cast<std::int32_t>(sum >> 32);
  if constexpr (kUpper) {
    return upper >> (shift - 32);
  }
  const std::uint32_t lower = static_cast<std::uint32_t>(sum) >> shift;
  const auto value =
      static_cast<std::int32_t>(lower | static_cast<std::uint32_t>(upper) << (32 - shift));
  // The value is an int32 if all bits above it equal its sign.
  return upper >> shift == value >> 31 ? value
                                       : upper >> 31 ^ std::numeric_limits<std::int32_t>::max();
}

template <bool kUpper>
void rescale_by(const Rescale& how, const Sums& sums) {
  for (std::size_t r = 0; r < sums.rows; ++r) {
    std::int32_t* row = sums.values + r * sums.stride;
    const auto row_sum = how.zeros == nullptr ? 0U : static_cast<std::uint32_t>(sums.row_sums[r]);
    // Without zeros, any array is read and multiplied by 0.
    const std::int32_t* zeros = how.zeros == nullptr ? how.constants : how.zeros;
    for (std::size_t c = 0; c < sums.channels; ++c) {
      const std::uint32_t sum = static_cast<std::uint32_t>(row[c]) +
                                static_cast<std::uint32_t>(how.constants[c]) -
                                static_cast<std::uint32_t>(zeros[c]) * row_sum;
      std::int32_t value = narrowed<kUpper>(static_cast<std::int32_t>(sum), how.multipliers[c],
                                            how.offsets[c], how.shift);
      value = value < how.low ? how.low : value;
      row[c] = value > how.high ? how.high : value;
    }
  }
}

void rescale(const Rescale& how, const Sums& sums) {
  how.shift >= 32 ? rescale_by<true>(how, sums) : rescale_by<false>(how, sums);
}

void rescale_to_codes(const Rescale& how, const Sums& sums, const CodeTable& table,
                      std::uint8_t* codes, std::size_t stride) {
  rescale(how, sums);
  portable::store_codes(sums, table, codes, stride);
}

std::uint64_t rescale_and_add(const Rescale& how, const Sums& sums, std::int32_t* totals,
                              std::size_t stride) {
  rescale(how, sums);
  return portable::add(sums, totals, stride);
}

// --- attention ---

}  // namespace

namespace dsp {

/// BitLog2's weights as planes of bytes, which multiply() takes.
void softmax_codes(const AttentionRule& rule, std::int32_t log2_delta, std::int32_t* scores,
                   std::size_t stride, const Weights& weights) {
  if (rule.kind == AttentionKind::sqrt2) {
    return portable::softmax_codes(rule, log2_delta, scores, stride, weights);
  }
  const Planes planes(weights);
  *planes.has_high = rule.multiplier > 256 ? 1 : 0;
  for (std::size_t r = 0; r < weights.rows; ++r) {
    std::int32_t* row = scores + r * stride;
    portable::bitlog2_weights(rule, row, weights.tokens, row);
    std::uint8_t* low = planes.low + r * planes.stride;
    std::uint8_t* high = planes.high + r * planes.stride;
    std::int32_t total = 0;
    for (std::size_t j = 0; j < weights.tokens; ++j) {
      total += row[j];
      low[j] = static_cast<std::uint8_t>(row[j]);
      high[j] = static_cast<std::uint8_t>(row[j] >> 8);
    }
    planes.totals[r] = total;
  }
}

}  // namespace dsp

namespace {

void attend_values_two(const AttentionRule& rule, const Weights& weights, const Panel& values,
                       std::int32_t zero, std::int32_t* context) {
  attend_values_by<MultiplyEachPlane<2>, DividePortably>(rule, weights, values, zero, context);
}

std::uint64_t multiply_in_registers(std::uint64_t rounds) {
  constexpr std::size_t kSums = 4;
  std::int32_t sums[kSums] = {};
  for (std::uint64_t i = 0; i < rounds; ++i) {
    for (std::int32_t& sum : sums) {
      sum = add_products(sum, 0x00030003, static_cast<std::int32_t>(i));
      asm volatile("" : "+r"(sum));  // so that every product is made
    }
  }
  return rounds * kSums * 2;
}

}  // namespace

const Kernels& dsp_kernels() {
  static constexpr Kernels kKernels = {
      "dsp",
      nullptr,
      dsp::pack_rows,
      portable::pack_columns,
      multiply,
      portable::sum_rows,
      rescale,
      rescale_to_codes,
      rescale_and_add,
      portable::split_channels,
      portable::decode,
      portable::normalise,
      dsp::softmax_codes,
      attend_values_two,
      multiply_in_registers,
  };
  return kKernels;
}

}  // namespace bitlog2::runtime

#endif
