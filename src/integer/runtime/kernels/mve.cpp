// Helium, the vectors of integers (MVE) of Arm's Cortex-M55 and M85: sixteen products of bytes and
// their sum at a time. Of a panel, which is four deep, four steps of a channel are gathered. All
// kernels without products of bytes are those of the DSP instructions (dsp.cpp), which every
// processor with Helium has.
#if defined(__ARM_FEATURE_MVE)

#include <arm_mve.h>

#include <limits>

#include "dsp.h"
#include "generic/attend_values.h"
#include "planes.h"
#include "portable.h"

namespace bitlog2::runtime {

const Kernels& mve_kernels();

namespace {

constexpr std::size_t kBytes = 16;
constexpr std::size_t kSteps = kBytes / kDepthStep;

/// A channel of a panel, four steps at a time.
class Channel {
 public:
  Channel(const Panel& panel, std::size_t c)
      : first_(reinterpret_cast<const std::int32_t*>(panel.values + c * kDepthStep)),
        places_(vmulq_n_u32(vidupq_n_u32(0, 1), static_cast<std::uint32_t>(panel.width))) {}

  /// From a step on, which starts `offset` words from the panel's first.
  int8x16_t load(std::size_t offset) const {
    return vreinterpretq_s8_s32(vldrwq_gather_shifted_offset_s32(first_ + offset, places_));
  }
  /// The same for the bytes that exist; 0 for the others.
  int8x16_t load(std::size_t offset, mve_pred16_t exists) const {
    return vreinterpretq_s8_s32(
        vldrwq_gather_shifted_offset_z_s32(first_ + offset, places_, exists));
  }

 private:
  const std::int32_t* first_;
  uint32x4_t places_;
};

/// Bytes of a row, as signed ones: those above 127 become so by taking 128 off.
template <bool kFlips>
inline int8x16_t load_inputs(const std::uint8_t* at) {
  const uint8x16_t bytes = vldrbq_u8(at);
  return vreinterpretq_s8_u8(kFlips ? veorq_u8(bytes, vdupq_n_u8(128)) : bytes);
}

/// kRows rows by two channels, from `a` and `b` on, that many steps deep; `sums` are of the first.
template <std::size_t kRows, bool kFlips>
[[gnu::noinline]] void multiply_tile(const Inputs& inputs, std::size_t r, const Panel& panel,
                                     std::size_t c, const std::int32_t (&start)[2],
                                     std::int32_t* sums, std::size_t stride) {
  const Channel first(panel, c);
  const Channel second(panel, c + 1);
  std::int32_t totals[kRows][2];
  const std::uint8_t* rows[kRows];
#pragma GCC unroll 3
  for (std::size_t i = 0; i < kRows; ++i) {
    totals[i][0] = start[0];
    totals[i][1] = start[1];
    rows[i] = inputs.row(r + i);
  }
  const auto add = [&](int8x16_t a, int8x16_t b) __attribute__((always_inline)) {
#pragma GCC unroll 3
    for (std::size_t i = 0; i < kRows; ++i) {
      const int8x16_t row = load_inputs<kFlips>(rows[i]);
      rows[i] += kBytes;
      totals[i][0] = vmladavaq_s8(totals[i][0], row, a);
      totals[i][1] = vmladavaq_s8(totals[i][1], row, b);
    }
  };
  std::size_t at = 0;
  const std::size_t whole = panel.steps() / kSteps;
  for (std::size_t i = 0; i < whole; ++i, at += kSteps * panel.width) {
    add(first.load(at), second.load(at));
  }
  if (const std::size_t rest = panel.steps() % kSteps; rest != 0) {
    const mve_pred16_t exists = vctp32q(rest);
    add(first.load(at, exists), second.load(at, exists));
  }
#pragma GCC unroll 3
  for (std::size_t i = 0; i < kRows; ++i) {
    sums[(r + i) * stride + c] = totals[i][0];
    sums[(r + i) * stride + c + 1] = totals[i][1];
  }
}

/// 128 times the sum of a channel's values, which flipping has subtracted.
std::int32_t flipped(const Panel& panel, std::size_t c) {
  const Channel channel(panel, c);
  std::int32_t sum = 0;
  std::size_t left = panel.steps();
  for (std::size_t at = 0; left != 0; at += kSteps * panel.width) {
    sum = vaddvaq_s8(sum, channel.load(at, vctp32q(left)));
    left -= left < kSteps ? left : kSteps;
  }
  return sum * 128;
}

template <bool kFlips>
void multiply_by(const Inputs& inputs, std::size_t rows, const Panel& panel, std::int32_t* sums,
                 std::size_t stride) {
  for (std::size_t c = 0; c < panel.width; c += 2) {
    const std::int32_t start[2] = {kFlips ? flipped(panel, c) : 0,
                                   kFlips ? flipped(panel, c + 1) : 0};
    std::size_t r = 0;
    for (; r + 3 <= rows; r += 3) {
      multiply_tile<3, kFlips>(inputs, r, panel, c, start, sums, stride);
    }
    if (rows - r == 2) {
      multiply_tile<2, kFlips>(inputs, r, panel, c, start, sums, stride);
    } else if (rows - r == 1) {
      multiply_tile<1, kFlips>(inputs, r, panel, c, start, sums, stride);
    }
  }
}

void multiply(const Inputs& inputs, std::size_t rows, const Panel& panel, std::int32_t* sums,
              std::size_t stride) {
  inputs.largest > 127 ? multiply_by<true>(inputs, rows, panel, sums, stride)
                       : multiply_by<false>(inputs, rows, panel, sums, stride);
}

void attend_values_three(const AttentionRule& rule, const Weights& weights, const Panel& values,
                         std::int32_t zero, std::int32_t* context) {
  attend_values_by<MultiplyEachPlane<3>, DividePortably>(rule, weights, values, zero, context);
}

std::uint64_t multiply_in_registers(std::uint64_t rounds) {
  constexpr std::size_t kSums = 4;
  std::int32_t sums[kSums] = {};
  int8x16_t bytes = vdupq_n_s8(3);
  for (std::uint64_t i = 0; i < rounds; ++i) {
    for (std::int32_t& sum : sums) {
      sum = vmladavaq_s8(sum, bytes, bytes);
      asm volatile("" : "+r"(sum));  // so that every product is made
    }
  }
  return rounds * kSums * kBytes;
}

// --- requantization ---

constexpr std::size_t kValues = 4;  // of 32 bits in a register

/// Of four channels.
struct Lanes {
  Lanes(const Rescale& how, std::size_t c)
      : constants(vldrwq_s32(how.constants + c)),
        multipliers(vldrwq_s32(how.multipliers + c)),
        zeros(how.zeros == nullptr ? vdupq_n_s32(0) : vldrwq_s32(how.zeros + c)) {
    const uint32x4x2_t halves = vld2q_u32(reinterpret_cast<const std::uint32_t*>(how.offsets + c));
    lower_offsets = halves.val[0];
    upper_offsets = vreinterpretq_s32_u32(halves.val[1]);
  }

  int32x4_t constants;
  int32x4_t multipliers;
  int32x4_t zeros;
  uint32x4_t lower_offsets;
  int32x4_t upper_offsets;
};

/// (sum * multiplier + offset) >> shift, cut off at int32's ends. kUpper: the shift is 32 or more.
template <bool kUpper>
inline int32x4_t narrowed(int32x4_t sum, const Lanes& lanes, std::int32_t shift) {
  const uint32x4_t product = vreinterpretq_u32_s32(vmulq_s32(sum, lanes.multipliers));
  const uint32x4_t lower = vaddq_u32(product, lanes.lower_offsets);
  int32x4_t upper = vaddq_s32(vmulhq_s32(sum, lanes.multipliers), lanes.upper_offsets);
  upper = vaddq_m_n_s32(upper, upper, 1, vcmphiq_u32(product, lower));  // the carry
  if constexpr (kUpper) {
    return vshlq_r_s32(upper, 32 - shift);
  }
  const int32x4_t value =
      vorrq_s32(vreinterpretq_s32_u32(vshlq_r_u32(lower, -shift)), vshlq_r_s32(upper, 32 - shift));
  // The value is an int32 if all bits above it equal its sign.
  const mve_pred16_t fits = vcmpeqq_s32(vshlq_r_s32(upper, -shift), vshrq_n_s32(value, 31));
  const int32x4_t end =
      veorq_s32(vshrq_n_s32(upper, 31), vdupq_n_s32(std::numeric_limits<std::int32_t>::max()));
  return vpselq_s32(value, end, fits);
}

template <bool kUpper>
void rescale_by(const Rescale& how, const Sums& sums) {
  const int32x4_t low = vdupq_n_s32(how.low);
  const int32x4_t high = vdupq_n_s32(how.high);
  const auto shift = static_cast<std::int32_t>(how.shift);
  for (std::size_t c = 0; c < sums.channels; c += kValues) {
    const Lanes lanes(how, c);
    std::int32_t* at = sums.values + c;
    for (std::size_t r = 0; r < sums.rows; ++r, at += sums.stride) {
      int32x4_t sum = vaddq_s32(vldrwq_s32(at), lanes.constants);
      if (how.zeros != nullptr) {
        sum = vsubq_s32(sum, vmulq_n_s32(lanes.zeros, sums.row_sums[r]));
      }
      const int32x4_t value = narrowed<kUpper>(sum, lanes, shift);
      vstrwq_s32(at, vminq_s32(vmaxq_s32(value, low), high));
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

}  // namespace

const Kernels& mve_kernels() {
  static constexpr Kernels kKernels = {
      "mve",
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
      attend_values_three,
      multiply_in_registers,
  };
  return kKernels;
}

}  // namespace bitlog2::runtime

#endif
