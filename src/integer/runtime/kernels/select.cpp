#include "select.h"

#include <array>
#include <cstddef>

namespace bitlog2::runtime {

#if defined(__x86_64__)
const Kernels& avx512_vnni_kernels();
const Kernels& avx2_kernels();
#elif defined(__aarch64__) && defined(__ARM_FEATURE_DOTPROD)
const Kernels& neon_kernels();
#endif

namespace {

struct Available {
  Available() {
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512vnni")) {
      add(avx512_vnni_kernels());
    }
    if (__builtin_cpu_supports("avx2")) {
      add(avx2_kernels());
    }
#elif defined(__aarch64__) && defined(__ARM_FEATURE_DOTPROD)
    add(neon_kernels());
#endif
    add(portable_kernels());
  }

  void add(const Kernels& kernels) {
    tables[count++] = &kernels;
  }

  std::array<const Kernels*, 3> tables = {};
  std::size_t count = 0;
};

}  // namespace

std::span<const Kernels* const> available_kernels() {
  static const Available kAvailable;
  return {kAvailable.tables.data(), kAvailable.count};
}

}  // namespace bitlog2::runtime
