#include "select.h"

#include <array>
#include <cstddef>

#if defined(__x86_64__)
#include <cpuid.h>
#elif defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#endif

namespace bitlog2::runtime {

#if defined(__x86_64__)
const Kernels& avx512_vnni_kernels();
const Kernels& avx_vnni_kernels();
const Kernels& avx2_kernels();
#elif defined(__aarch64__)
const Kernels& neon_kernels();
#endif

namespace {

#if defined(__x86_64__)
/// Beside AVX2, which says that the system saves its registers.
bool has_avx_vnni() {
  constexpr unsigned kLeaf = 7;
  constexpr unsigned kSubleaf = 1;
  constexpr unsigned kAvxVnni = 1U << 4;
  unsigned a = 0;
  unsigned b = 0;
  unsigned c = 0;
  unsigned d = 0;
  return __get_cpuid_count(kLeaf, kSubleaf, &a, &b, &c, &d) != 0 && (a & kAvxVnni) != 0;
}
#endif

struct Available {
  Available() {
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512vnni")) {
      add(avx512_vnni_kernels());
    }
    if (__builtin_cpu_supports("avx2") && has_avx_vnni()) {
      add(avx_vnni_kernels());
    }
    if (__builtin_cpu_supports("avx2")) {
      add(avx2_kernels());
    }
#elif defined(__aarch64__) && defined(__linux__)
    if ((getauxval(AT_HWCAP) & HWCAP_ASIMDDP) != 0) {
      add(neon_kernels());
    }
#endif
    add(portable_kernels());
  }

  void add(const Kernels& kernels) {
    tables[count++] = &kernels;
  }

  std::array<const Kernels*, 4> tables = {};
  std::size_t count = 0;
};

// Asked before main: a static variable of a function would need the C++ library.
const Available available;

}  // namespace

std::span<const Kernels* const> available_kernels() {
  return {available.tables.data(), available.count};
}

}  // namespace bitlog2::runtime
