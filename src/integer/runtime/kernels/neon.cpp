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
#include "generic/dot_products.h"
#include "generic/table.h"

namespace bitlog2::runtime {
namespace {

/// Dot products with a row's bytes as signed ones: where inputs may be above 127, `flip` subtracts
/// 128 from each byte.
struct Dot {
  I32 operator()(I32 sums, I32 row, U8 values) const {
    const uint8x16_t bytes = veorq_u8(vreinterpretq_u8_s32(row.v), flip);
    return {vdotq_s32(sums.v, vreinterpretq_s8_u8(values.v), vreinterpretq_s8_u8(bytes))};
  }

  uint8x16_t flip;
};

/// Adds 128 times the sum of the values of kValues channels, which flipping has subtracted.
void add_flips(const Panel& panel, std::size_t c, std::size_t rows, std::int32_t* sums,
               std::size_t stride) {
  I32 total = I32::all(0);
  for (std::size_t step = 0; step < panel.steps(); ++step) {
    total = U8::load(panel.values + (step * panel.width + c) * kDepthStep).add_fours_to(total);
  }
  for (std::size_t r = 0; r < rows; ++r) {
    std::int32_t* at = sums + r * stride + c;
    (I32::load(at) + total * I32::all(128)).store(at);
  }
}

void multiply(const Inputs& inputs, std::size_t rows, const Panel& panel, std::int32_t* sums,
              std::size_t stride) {
  const bool flips = inputs.largest > 127;
  const Dot dot = {vdupq_n_u8(flips ? 128 : 0)};
  for (std::size_t c = 0; c < panel.width; c += kLane) {
    multiply_rows<4, 4, true>(inputs, 0, rows, panel, c, dot, sums, stride);
  }
  for (std::size_t c = 0; flips && c < panel.width; c += kValues) {
    add_flips(panel, c, rows, sums, stride);
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
