#include "base/products/kernels.h"

namespace bitlog2::products {
namespace {

bool always() {
  return true;
}

#if defined(__x86_64__)
bool has_avx512() {
  return __builtin_cpu_supports("avx512f") != 0;
}

bool has_avx2() {
  return __builtin_cpu_supports("avx2") != 0 && __builtin_cpu_supports("fma") != 0;
}
#endif

}  // namespace

std::span<const Table> tables() {
  static const Table all[] = {
#if defined(__x86_64__)
    {"avx512", has_avx512, kAvx512Floats, kAvx512Doubles},
    {"avx2", has_avx2, kAvx2Floats, kAvx2Doubles},
#elif defined(__aarch64__)
    {"neon", always, kNeonFloats, kNeonDoubles},
#endif
    {"scalar", always, kScalarFloats, kScalarDoubles},
  };
  return all;
}

}  // namespace bitlog2::products
