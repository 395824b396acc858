// NEON with dot products (Armv8.2 and later): four channels to a register, four products deep.
// Compiled into any AArch64 build; select.cpp asks the CPU before it hands this table out.
#if defined(__aarch64__)

#include <arm_neon.h>

#include "target_region.h"

#if defined(__clang__)
BITLOG2_BEGIN_TARGET("dotprod")
#else
BITLOG2_BEGIN_TARGET("arch=armv8.2-a+dotprod")
#endif

#include "simd/neon.h"
// Written once, over these vectors.
#include "generic/table.h"

namespace bitlog2::runtime {
namespace {

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

std::uint64_t multiply_in_registers(std::uint64_t rounds) {
  return multiply_in<16>(rounds, [](I32 sums, U8 bytes) -> I32 {
    return {vdotq_s32(sums.v, vreinterpretq_s8_u8(bytes.v), vreinterpretq_s8_u8(bytes.v))};
  });
}

}  // namespace
}  // namespace bitlog2::runtime

BITLOG2_END_TARGET

namespace bitlog2::runtime {

const Kernels& neon_kernels();

const Kernels& neon_kernels() {
  static constexpr Kernels kKernels = make_table("neon");
  return kKernels;
}

}  // namespace bitlog2::runtime

#endif
