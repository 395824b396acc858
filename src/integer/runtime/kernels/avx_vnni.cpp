// AVX-VNNI: the dot product of bytes without AVX-512, as Intel's client CPUs have it from Alder
// Lake on, and Zen 5. All other kernels are AVX2's. Compiled into any x86-64 build; select.cpp
// asks the CPU before it hands this table out.
#if defined(__x86_64__)

#include <immintrin.h>

#include "target_region.h"

BITLOG2_BEGIN_TARGET("avx2,avxvnni")

#include "simd/avx2.h"
// Written once, over these vectors.
#include "generic/attend_values.h"
#include "generic/ceiling.h"
#include "generic/divide.h"
#include "generic/dot_products.h"

namespace bitlog2::runtime {
namespace {

struct Dot {
  I32 operator()(I32 sums, I32 row, U8 values) const {
    return {_mm256_dpbusd_avx_epi32(sums.v, row.v, values.v)};
  }
};

void multiply(const Inputs& inputs, std::size_t rows, const Panel& panel, std::int32_t* sums,
              std::size_t stride) {
  std::size_t c = 0;
  for (; c + 4 * kValues <= panel.width; c += 4 * kValues) {
    multiply_rows<3, 4, false>(inputs, 0, rows, panel, c, Dot(), sums, stride);
  }
  for (; c < panel.width; c += 2 * kValues) {
    multiply_rows<3, 2, false>(inputs, 0, rows, panel, c, Dot(), sums, stride);
  }
}

std::uint64_t multiply_in_registers(std::uint64_t rounds) {
  return multiply_in<14>(rounds, [](I32 sums, U8 bytes) -> I32 {
    return {_mm256_dpbusd_avx_epi32(sums.v, bytes.v, bytes.v)};
  });
}

}  // namespace
}  // namespace bitlog2::runtime

BITLOG2_END_TARGET

namespace bitlog2::runtime {

const Kernels& avx2_kernels();
const Kernels& avx_vnni_kernels();

const Kernels& avx_vnni_kernels() {
  static const Kernels kernels = [] {
    Kernels own = avx2_kernels();
    own.name = "avx_vnni";
    own.multiply = multiply;
    own.attend_values = attend_values<DivideInLanes>;
    own.multiply_in_registers = multiply_in_registers;
    return own;
  }();
  return kernels;
}

}  // namespace bitlog2::runtime

#endif
