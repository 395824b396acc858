// AVX-512 with VNNI (Cascade Lake, Zen 4 and later): sixteen channels to a register, four products
// deep. Compiled into any x86-64 build; select.cpp asks the CPU before it hands this table out.
#if defined(__x86_64__)

#if !defined(__clang__)
// GCC 12 warns of its own header's "undefined" registers (GCC bug 105593).
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif

#include <immintrin.h>

#include "target_region.h"

BITLOG2_BEGIN_TARGET("avx512f,avx512bw,avx512dq,avx512vl,avx512cd,avx512vnni")

#include "simd/avx512.h"
// Written once, over these vectors.
#include "generic/dot_products.h"
#include "generic/table.h"

namespace bitlog2::runtime {
namespace {

struct Dot {
  I32 operator()(I32 sums, I32 row, U8 values) const {
    return {_mm512_dpbusd_epi32(sums.v, row.v, values.v)};
  }
};

void multiply(const Inputs& inputs, std::size_t rows, const Panel& panel, std::int32_t* sums,
              std::size_t stride) {
  switch (panel.width / kLane) {
    case 4:
      return multiply_rows<6, 4, true>(inputs, 0, rows, panel, 0, Dot(), sums, stride);
    case 3:
      return multiply_rows<6, 3, true>(inputs, 0, rows, panel, 0, Dot(), sums, stride);
    case 2:
      return multiply_rows<6, 2, true>(inputs, 0, rows, panel, 0, Dot(), sums, stride);
    default:
      return multiply_rows<6, 1, true>(inputs, 0, rows, panel, 0, Dot(), sums, stride);
  }
}

std::uint64_t multiply_in_registers(std::uint64_t rounds) {
  return multiply_in<24>(rounds, [](I32 sums, U8 bytes) -> I32 {
    return {_mm512_dpbusd_epi32(sums.v, bytes.v, bytes.v)};
  });
}

}  // namespace
}  // namespace bitlog2::runtime

BITLOG2_END_TARGET

namespace bitlog2::runtime {

const Kernels& avx512_vnni_kernels();

const Kernels& avx512_vnni_kernels() {
  static constexpr Kernels kKernels = make_table("avx512_vnni");
  return kKernels;
}

}  // namespace bitlog2::runtime

#endif
