// NEON with matrix products of bytes (Armv8.6, or i8mm before it): two rows by two channels, eight
// deep. All other kernels are those of neon.cpp. Compiled into any AArch64 build; select.cpp asks
// the CPU before it hands this table out.
#if defined(__aarch64__)

#include <arm_neon.h>

#include "target_region.h"

#if defined(__clang__)
BITLOG2_BEGIN_TARGET("i8mm")
#else
BITLOG2_BEGIN_TARGET("arch=armv8.2-a+dotprod+i8mm")
#endif

#include "generic/attend_values.h"

namespace bitlog2::runtime {
namespace {

constexpr std::size_t kChannels = 8;  // of a tile
constexpr std::size_t kDeep = 8;
constexpr std::size_t kPairs = kChannels / 2;

/// A tile's values, eight deep, as pairs of channels. The second four of `steps` left may be
/// missing.
struct Values {
  Values(const std::int8_t* at, std::size_t step, std::size_t steps) {
    for (std::size_t i = 0; i < 2; ++i) {  // four channels each
      const int8x16_t first = vld1q_s8(at + 16 * i);
      const int8x16_t second = steps > 1 ? vld1q_s8(at + step + 16 * i) : vdupq_n_s8(0);
      pairs[2 * i] = vreinterpretq_s8_s32(
          vzip1q_s32(vreinterpretq_s32_s8(first), vreinterpretq_s32_s8(second)));
      pairs[2 * i + 1] = vreinterpretq_s8_s32(
          vzip2q_s32(vreinterpretq_s32_s8(first), vreinterpretq_s32_s8(second)));
    }
  }

  int8x16_t pairs[kPairs];
};

/// kRowPairs pairs of rows by eight channels from c on. If the number of rows is odd, the last row
/// is taken twice.
template <std::size_t kRowPairs>
inline void multiply_tile(const Inputs& inputs, std::size_t r, std::size_t rows, const Panel& panel,
                          std::size_t c, std::int32_t* sums, std::size_t stride) {
  int32x4_t totals[kRowPairs][kPairs];
  const std::uint8_t* upper[kRowPairs];
  const std::uint8_t* lower[kRowPairs];
#pragma GCC unroll 4
  for (std::size_t i = 0; i < kRowPairs; ++i) {
#pragma GCC unroll 4
    for (std::size_t j = 0; j < kPairs; ++j) {
      totals[i][j] = vdupq_n_s32(0);
    }
    upper[i] = inputs.row(r + 2 * i);
    lower[i] = r + 2 * i + 1 < rows ? inputs.row(r + 2 * i + 1) : upper[i];
  }
  const std::size_t step = panel.width * kDepthStep;
  const std::int8_t* at = panel.values + c * kDepthStep;
  const auto add = [&](std::size_t k, const Values& values) __attribute__((always_inline)) {
#pragma GCC unroll 4
    for (std::size_t i = 0; i < kRowPairs; ++i) {
      const uint8x16_t row_pair = vcombine_u8(vld1_u8(upper[i] + k), vld1_u8(lower[i] + k));
#pragma GCC unroll 4
      for (std::size_t j = 0; j < kPairs; ++j) {
        totals[i][j] = vusmmlaq_s32(totals[i][j], row_pair, values.pairs[j]);
      }
    }
  };
  std::size_t left = panel.steps();
  std::size_t k = 0;
  for (; left >= 2; left -= 2, k += kDeep, at += 2 * step) {
    add(k, Values(at, step, 2));
  }
  if (left != 0) {  // what is read of rows beyond their end is multiplied by 0
    add(k, Values(at, step, 1));
  }
#pragma GCC unroll 4
  for (std::size_t i = 0; i < kRowPairs; ++i) {
    std::int32_t* target = sums + (r + 2 * i) * stride + c;
#pragma GCC unroll 4
    for (std::size_t j = 0; j < kPairs; ++j) {
      vst1_s32(target + 2 * j, vget_low_s32(totals[i][j]));
      if (r + 2 * i + 1 < rows) {
        vst1_s32(target + stride + 2 * j, vget_high_s32(totals[i][j]));
      }
    }
  }
}

void multiply(const Inputs& inputs, std::size_t rows, const Panel& panel, std::int32_t* sums,
              std::size_t stride) {
  for (std::size_t c = 0; c < panel.width; c += kChannels) {
    std::size_t r = 0;
    for (; r + 8 <= rows; r += 8) {
      multiply_tile<4>(inputs, r, rows, panel, c, sums, stride);
    }
    switch ((rows - r + 1) / 2) {
      case 4:
        multiply_tile<4>(inputs, r, rows, panel, c, sums, stride);
        break;
      case 3:
        multiply_tile<3>(inputs, r, rows, panel, c, sums, stride);
        break;
      case 2:
        multiply_tile<2>(inputs, r, rows, panel, c, sums, stride);
        break;
      case 1:
        multiply_tile<1>(inputs, r, rows, panel, c, sums, stride);
        break;
      default:
        break;
    }
  }
}

std::uint64_t multiply_in_registers(std::uint64_t rounds) {
  constexpr std::size_t kSums = 16;
  constexpr std::size_t kProducts = 32;  // of an instruction
  int32x4_t sums[kSums];
#pragma GCC unroll 16
  for (int32x4_t& sum : sums) {
    sum = vdupq_n_s32(0);
  }
  uint8x16_t bytes = vdupq_n_u8(3);
  for (std::uint64_t round = 0; round < rounds; ++round) {
#pragma GCC unroll 16
    // NOLINTNEXTLINE(modernize-loop-convert): only loops over indices unroll
    for (std::size_t i = 0; i < kSums; ++i) {
      sums[i] = vusmmlaq_s32(sums[i], bytes, vreinterpretq_s8_u8(bytes));
      asm volatile("" : "+w"(sums[i]), "+w"(bytes));  // so that every product is made
    }
  }
  return rounds * kSums * kProducts;
}

}  // namespace
}  // namespace bitlog2::runtime

BITLOG2_END_TARGET

namespace bitlog2::runtime {

const Kernels& neon_kernels();
const Kernels& neon_i8mm_kernels();

const Kernels& neon_i8mm_kernels() {
  static const Kernels kernels = [] {
    Kernels own = neon_kernels();
    own.name = "neon_i8mm";
    own.multiply = multiply;
    own.attend_values = attend_values<DividePortably>;
    own.multiply_in_registers = multiply_in_registers;
    return own;
  }();
  return kernels;
}

}  // namespace bitlog2::runtime

#endif
