#include "base/cpu.h"
#include "base/products/kernels.h"

namespace bitlog2::products {
namespace {

bool always() {
  return true;
}

#if defined(__x86_64__)
bool has_avx2() {
  return cpu::has_avx2() && cpu::has_fused_multiply_add();
}
#endif

}  // namespace

std::span<const Table> tables() {
  static const Table all[] = {
#if defined(__x86_64__)
    {"avx512", cpu::has_avx512, kAvx512Floats, kAvx512Doubles},
    {"avx2", has_avx2, kAvx2Floats, kAvx2Doubles},
#elif defined(__aarch64__)
    {"neon", always, kNeonFloats, kNeonDoubles},
#endif
    {"scalar", always, kScalarFloats, kScalarDoubles},
  };
  return all;
}

}  // namespace bitlog2::products
