// NEON with dot products (Armv8.2 and later): four channels to a register, four products deep.
// Compiled into any AArch64 build; select.cpp asks the CPU before it hands this table out.
#if defined(__aarch64__)

#include <arm_neon.h>

#include "../fixed_point.h"
#include "code_lookup.h"
#include "planes.h"
#include "portable.h"

// Only what follows may use these instructions: inline functions of the headers above are shared
// with files for other CPUs.
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("dotprod"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("arch=armv8.2-a+dotprod")
#endif

namespace bitlog2::runtime {
namespace {

constexpr std::size_t kBytes = 16;  // of a register
constexpr std::size_t kValues = 4;  // int32 in a register

// --- products ---

/// Four bytes of a row, four times; bytes above 127 made signed by taking 128 off.
int8x16_t load_four(const std::uint8_t* at, uint8x16_t flip) {
  std::uint32_t four = 0;
  __builtin_memcpy(&four, at, sizeof(four));
  return vreinterpretq_s8_u8(veorq_u8(vreinterpretq_u8_u32(vdupq_n_u32(four)), flip));
}

/// Rows by sixteen channels, all sums in registers, which start from `start`.
template <std::size_t Rows>
void multiply_tile(const std::uint8_t* first, std::size_t input_stride, uint8x16_t flip,
                   const Panel& panel, std::size_t c, const int32x4_t (&start)[4],
                   std::int32_t* sums, std::size_t stride) {
  // Every loop over `totals` is unrolled, or it would not stay in registers.
  int32x4_t totals[Rows][4];
#pragma GCC unroll 4
  for (std::size_t r = 0; r < Rows; ++r) {
#pragma GCC unroll 4
    for (std::size_t l = 0; l < 4; ++l) {
      totals[r][l] = start[l];
    }
  }
  const std::int8_t* values = panel.values + c * kDepthStep;
  for (std::size_t step = 0; step < panel.steps(); ++step) {
    int8x16_t columns[4];
#pragma GCC unroll 4
    for (std::size_t l = 0; l < 4; ++l) {
      columns[l] = vld1q_s8(values + l * kBytes);
    }
#pragma GCC unroll 4
    for (std::size_t r = 0; r < Rows; ++r) {
      const int8x16_t row = load_four(first + r * input_stride + step * kDepthStep, flip);
#pragma GCC unroll 4
      for (std::size_t l = 0; l < 4; ++l) {
        totals[r][l] = vdotq_s32(totals[r][l], columns[l], row);
      }
    }
    values += panel.width * kDepthStep;
  }
#pragma GCC unroll 4
  for (std::size_t r = 0; r < Rows; ++r) {
#pragma GCC unroll 4
    for (std::size_t l = 0; l < 4; ++l) {
      vst1q_s32(sums + r * stride + c + l * kValues, totals[r][l]);
    }
  }
}

/// 128 times what the values of sixteen channels add up to: what load_four() took off.
void sum_of_flips(const Panel& panel, std::size_t c, int32x4_t (&sums)[4]) {
  for (std::size_t l = 0; l < 4; ++l) {
    int32x4_t total = vdupq_n_s32(0);
    for (std::size_t step = 0; step < panel.steps(); ++step) {
      const std::int8_t* values = panel.values + (step * panel.width + c) * kDepthStep;
      total = vdotq_s32(total, vld1q_s8(values + l * kBytes), vdupq_n_s8(1));
    }
    sums[l] = vshlq_n_s32(total, 7);
  }
}

void multiply(const Inputs& inputs, std::size_t rows, const Panel& panel, std::int32_t* sums,
              std::size_t stride) {
  const bool flips = inputs.largest > 127;
  const uint8x16_t flip = vdupq_n_u8(flips ? 128 : 0);
  for (std::size_t c = 0; c < panel.width; c += kLane) {
    int32x4_t start[4] = {vdupq_n_s32(0), vdupq_n_s32(0), vdupq_n_s32(0), vdupq_n_s32(0)};
    if (flips) {
      sum_of_flips(panel, c, start);
    }
    std::size_t r = 0;
    for (; r + 4 <= rows; r += 4) {
      multiply_tile<4>(inputs.row(r), inputs.stride, flip, panel, c, start, sums + r * stride,
                       stride);
    }
    for (; r < rows; ++r) {
      multiply_tile<1>(inputs.row(r), inputs.stride, flip, panel, c, start, sums + r * stride,
                       stride);
    }
  }
}

void sum_rows(const Inputs& inputs, std::size_t rows, std::size_t count, std::int32_t* sums) {
  for (std::size_t r = 0; r < rows; ++r) {
    const std::uint8_t* row = inputs.row(r);
    std::uint64_t sum = 0;
    std::size_t k = 0;
    for (; k + kBytes <= count; k += kBytes) {
      sum += vaddlvq_u8(vld1q_u8(row + k));
    }
    for (; k < count; ++k) {
      sum += row[k];
    }
    sums[r] = static_cast<std::int32_t>(sum);
  }
}

int64x2_t clamp_64(int64x2_t value, int64x2_t low, int64x2_t high) {
  value = vbslq_s64(vcgtq_s64(low, value), low, value);
  return vbslq_s64(vcgtq_s64(value, high), high, value);
}

void rescale(const Rescale& rescale, const Sums& sums) {
  const int64x2_t shift = vdupq_n_s64(-static_cast<std::int64_t>(rescale.shift));
  const int64x2_t low = vdupq_n_s64(rescale.low);
  const int64x2_t high = vdupq_n_s64(rescale.high);
  for (std::size_t c = 0; c < sums.channels; c += kValues) {
    const int32x4_t zeros =
        rescale.zeros != nullptr ? vld1q_s32(rescale.zeros + c) : vdupq_n_s32(0);
    const int32x4_t constants = vld1q_s32(rescale.constants + c);
    const int32x4_t multipliers = vld1q_s32(rescale.multipliers + c);
    const int64x2_t first_offsets = vld1q_s64(rescale.offsets + c);
    const int64x2_t second_offsets = vld1q_s64(rescale.offsets + c + 2);
    for (std::size_t r = 0; r < sums.rows; ++r) {
      std::int32_t* at = sums.values + r * sums.stride + c;
      const std::int32_t row_sum = rescale.zeros != nullptr ? sums.row_sums[r] : 0;
      const int32x4_t sum = vaddq_s32(vmlsq_n_s32(vld1q_s32(at), zeros, row_sum), constants);
      const int64x2_t first =
          vaddq_s64(vmull_s32(vget_low_s32(sum), vget_low_s32(multipliers)), first_offsets);
      const int64x2_t second = vaddq_s64(vmull_high_s32(sum, multipliers), second_offsets);
      vst1q_s32(at, vcombine_s32(vmovn_s64(clamp_64(vshlq_s64(first, shift), low, high)),
                                 vmovn_s64(clamp_64(vshlq_s64(second, shift), low, high))));
    }
  }
}

void decode(const CodeLookup& lookup, const std::uint8_t* codes, std::size_t count,
            std::uint8_t* inputs) {
  std::size_t i = 0;
  for (; i + kBytes <= count; i += kBytes) {
    const uint8x16_t indices = vld1q_u8(codes + i);
    uint8x16_t values = vdupq_n_u8(0);
    for (std::size_t part = 0; part < lookup.parts; ++part) {
      // 0 where the index is of another part.
      const auto first = static_cast<std::uint8_t>(part * CodeLookup::kPart);
      const uint8x16_t within = vsubq_u8(indices, vdupq_n_u8(first));
      values = vorrq_u8(values, vqtbl1q_u8(vld1q_u8(lookup.entries[part]), within));
    }
    vst1q_u8(inputs + i, values);
  }
  portable::decode(codes + i, count - i, lookup.entries[0], CodeLookup::kMost, inputs + i);
}

void decode(const std::uint8_t* codes, std::size_t count, const std::uint8_t* table,
            std::size_t size, std::uint8_t* inputs) {
  decode(CodeLookup(table, size), codes, count, inputs);
}

void rescale_to_codes(const Rescale& how, const Sums& sums, const CodeTable& table,
                      std::uint8_t* codes, std::size_t stride) {
  rescale(how, sums);
  if (table.size > CodeLookup::kMost || sums.channels % 8 != 0) {
    return portable::store_codes(sums, table, codes, stride);
  }
  for (std::size_t r = 0; r < sums.rows; ++r) {
    const std::int32_t* row = sums.values + r * sums.stride;
    for (std::size_t c = 0; c < sums.channels; c += 8) {
      const uint16x4_t first = vmovn_u32(vreinterpretq_u32_s32(vld1q_s32(row + c)));
      const uint16x4_t second = vmovn_u32(vreinterpretq_u32_s32(vld1q_s32(row + c + 4)));
      vst1_u8(codes + r * stride + c, vmovn_u16(vcombine_u16(first, second)));
    }
  }
  if (table.entries != nullptr) {
    const CodeLookup lookup(table.entries, table.size);
    for (std::size_t r = 0; r < sums.rows; ++r) {
      decode(lookup, codes + r * stride, sums.channels, codes + r * stride);
    }
  }
}

std::uint64_t rescale_and_add(const Rescale& how, const Sums& sums, std::int32_t* totals,
                              std::size_t stride) {
  rescale(how, sums);
  if (sums.channels % kValues != 0) {
    return portable::add(sums, totals, stride);
  }
  const int32x4_t lowest = vdupq_n_s32(std::numeric_limits<std::int32_t>::min());
  const int32x4_t highest = vdupq_n_s32(std::numeric_limits<std::int32_t>::max());
  std::uint64_t saturations = 0;
  for (std::size_t r = 0; r < sums.rows; ++r) {
    for (std::size_t c = 0; c < sums.channels; c += kValues) {
      std::int32_t* at = totals + r * stride + c;
      const int32x4_t value = vld1q_s32(sums.values + r * sums.stride + c);
      const int32x4_t total = vld1q_s32(at);
      const int32x4_t sum = vqaddq_s32(total, value);
      const uint32x4_t overflow = vmvnq_u32(vceqq_s32(sum, vaddq_s32(total, value)));
      const uint32x4_t cut = vorrq_u32(vceqq_s32(value, lowest), vceqq_s32(value, highest));
      saturations += vaddvq_u32(vshrq_n_u32(vorrq_u32(overflow, cut), 31));
      vst1q_s32(at, sum);
    }
  }
  return saturations;
}

// --- LayerNorm ---

void normalise_row(const std::int32_t* row, std::size_t count, std::uint64_t epsilon,
                   std::uint64_t root_of_count, std::int32_t* normalised) {
  int64x2_t sums = vdupq_n_s64(0);
  int32x4_t smallest = vld1q_s32(row);
  int32x4_t largest = smallest;
  for (std::size_t c = 0; c < count; c += kValues) {
    const int32x4_t x = vld1q_s32(row + c);
    sums = vpadalq_s32(sums, x);
    smallest = vminq_s32(smallest, x);
    largest = vmaxq_s32(largest, x);
  }
  const portable::Normalisation begun = portable::begin_normalisation(
      vaddvq_s64(sums), vminvq_s32(smallest), vmaxvq_s32(largest), count, epsilon);
  if (begun.down > 7) {  // differences may need more than 31 bits with the rounding
    return portable::normalise_row(row, count, epsilon, root_of_count, normalised);
  }
  const int32x4_t mean = vdupq_n_s32(static_cast<std::int32_t>(begun.mean));
  const int32x4_t half = vdupq_n_s32(begun.down == 0 ? 0 : 1 << (begun.down - 1));
  const int32x4_t down = vdupq_n_s32(-static_cast<std::int32_t>(begun.down));
  int64x2_t squares = vdupq_n_s64(0);
  for (std::size_t c = 0; c < count; c += kValues) {
    const int32x4_t centred = vsubq_s32(vld1q_s32(row + c), mean);
    const int32x4_t d = vshlq_s32(vaddq_s32(centred, half), down);
    vst1q_s32(normalised + c, d);
    squares = vmlal_s32(squares, vget_low_s32(d), vget_low_s32(d));
    squares = vmlal_high_s32(squares, d, d);
  }
  const portable::NormalisationScale scale = portable::end_normalisation(
      begun.least + static_cast<std::uint64_t>(vaddvq_s64(squares)), root_of_count);
  const auto factor = static_cast<std::int32_t>(scale.factor);
  const int64x2_t rounding = vdupq_n_s64(std::int64_t{1} << (scale.shift - 1));
  const int64x2_t shift = vdupq_n_s64(-static_cast<std::int64_t>(scale.shift));
  for (std::size_t c = 0; c < count; c += kValues) {
    const int32x4_t d = vld1q_s32(normalised + c);
    const int64x2_t first = vaddq_s64(vmull_n_s32(vget_low_s32(d), factor), rounding);
    const int64x2_t second = vaddq_s64(vmull_n_s32(vget_high_s32(d), factor), rounding);
    vst1q_s32(normalised + c, vcombine_s32(vmovn_s64(vshlq_s64(first, shift)),
                                           vmovn_s64(vshlq_s64(second, shift))));
  }
}

void normalise(const std::int32_t* x, std::size_t rows, std::size_t count, std::uint64_t epsilon,
               std::int32_t* normalised, std::size_t stride) {
  if (count % kValues != 0) {
    return portable::normalise(x, rows, count, epsilon, normalised, stride);
  }
  const std::uint64_t root = portable::root_of_count(count);
  for (std::size_t r = 0; r < rows; ++r) {
    normalise_row(x + r * count, count, epsilon, root, normalised + r * stride);
  }
}

// --- attention ---

/// The portable weights, row by row in place of the scores, as planes.
void weigh(const AttentionRule& rule, std::int32_t log2_delta, std::int32_t* scores,
           std::size_t stride, const Weights& weights) {
  if (rule.kind == AttentionKind::sqrt2) {
    return portable::weigh(rule, log2_delta, scores, stride, weights);
  }
  const Planes planes(weights);
  std::int32_t all = 0;
  for (std::size_t r = 0; r < weights.rows; ++r) {
    std::int32_t* row = scores + r * stride;
    portable::weigh(rule, log2_delta, row, stride,
                    {reinterpret_cast<std::byte*>(row), 1, weights.tokens});
    std::int32_t total = 0;
    for (std::size_t j = 0; j < planes.stride; ++j) {
      const std::int32_t weight = j < weights.tokens ? row[j] : 0;
      total += weight;
      all |= weight;
      planes.low[r * planes.stride + j] = static_cast<std::uint8_t>(weight);
      planes.high[r * planes.stride + j] = static_cast<std::uint8_t>(weight >> 8);
    }
    planes.totals[r] = total;
  }
  *planes.has_high = all >> 8;
}

void apply(const AttentionRule& rule, const Weights& weights, const Panel& values,
           std::int32_t zero, std::int32_t* context) {
  apply_planes(multiply, rule, weights, values, zero, context);
}

std::uint64_t multiply_in_registers(std::uint64_t rounds) {
  constexpr std::size_t kSums = 16;
  int32x4_t sums[kSums];
#pragma GCC unroll 16
  for (std::size_t i = 0; i < kSums; ++i) {
    sums[i] = vdupq_n_s32(0);
  }
  const int8x16_t values = vdupq_n_s8(3);
  for (std::uint64_t round = 0; round < rounds; ++round) {
#pragma GCC unroll 16
    for (std::size_t i = 0; i < kSums; ++i) {
      sums[i] = vdotq_s32(sums[i], values, values);
      asm volatile("" : "+w"(sums[i]));  // so that every product is made
    }
  }
  return rounds * kSums * kBytes;
}

}  // namespace

const Kernels& neon_kernels();

const Kernels& neon_kernels() {
  static constexpr Kernels kKernels = {
      "neon",
      portable::pack_rows,
      portable::pack_columns,
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
