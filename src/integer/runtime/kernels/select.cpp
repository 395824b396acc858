#include "select.h"

#include <array>
#include <cstddef>
#include <iterator>

#include "built_for.h"
#include "target_region.h"

#if defined(__x86_64__)
#include <cpuid.h>
#elif defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#endif

namespace bitlog2::runtime {

#if defined(__x86_64__)
const Kernels& avx512_vbmi_kernels();
const Kernels& avx512_vnni_kernels();
const Kernels& avx_vnni_kernels();
const Kernels& avx2_kernels();
#elif defined(__aarch64__)
const Kernels& neon_i8mm_kernels();
const Kernels& neon_kernels();
#endif

namespace {

#if defined(__x86_64__)
bool has_avx2() {
  return __builtin_cpu_supports("avx2") != 0;
}

/// AVX2 says that the system saves its registers.
bool has_avx_vnni() {
  constexpr unsigned kLeaf = 7;
  constexpr unsigned kSubleaf = 1;
  constexpr unsigned kAvxVnni = 1U << 4;
  unsigned a = 0;
  unsigned b = 0;
  unsigned c = 0;
  unsigned d = 0;
  return has_avx2() && __get_cpuid_count(kLeaf, kSubleaf, &a, &b, &c, &d) != 0 &&
         (a & kAvxVnni) != 0;
}

bool has_avx512_vnni() {
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
         __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512vnni");
}

bool has_avx512_vbmi() {
  return has_avx512_vnni() && __builtin_cpu_supports("avx512vbmi");
}
#elif defined(__aarch64__)
bool has_dot_products() {
#if defined(__linux__)
  return (getauxval(AT_HWCAP) & HWCAP_ASIMDDP) != 0;
#else
  return false;
#endif
}

bool has_matrix_products() {
#if defined(__linux__)
  constexpr unsigned long kI8mm = 1UL << 13;  // HWCAP2_I8MM, which older headers have not
  return has_dot_products() && (getauxval(AT_HWCAP2) & kI8mm) != 0;
#else
  return false;
#endif
}
#endif

struct Table {
  const Kernels& (*kernels)();
  bool (*runs_here)();
};

/// Every table of this build, the fastest first.
constexpr Table kTables[] = {
#if defined(__x86_64__)
    {avx512_vbmi_kernels, has_avx512_vbmi},  {avx512_vnni_kernels, has_avx512_vnni},
    {avx_vnni_kernels, has_avx_vnni},        {avx2_kernels, has_avx2},
#elif defined(__aarch64__)
    {neon_i8mm_kernels, has_matrix_products},
    {neon_kernels, has_dot_products},
#elif defined(__arm__) && defined(__ARM_FEATURE_DSP)
    {kBuiltFor, [] { return true; }},
#endif
    {portable_kernels, [] { return true; }},
};

/// The tables in two parts.
struct Parts {
  Parts() {
#if defined(__x86_64__)
    __builtin_cpu_init();
#endif
    std::size_t rest = std::size(kTables);
    for (const Table& table : kTables) {
      const bool runs_here = kEmulated || table.runs_here();
      tables[runs_here ? available++ : --rest] = &table.kernels();
    }
  }

  std::array<const Kernels*, std::size(kTables)> tables = {};
  std::size_t available = 0;
};

// Asked before main: a static variable of a function would need the C++ library.
const Parts kParts;

}  // namespace

std::span<const Kernels* const> available_kernels() {
  return std::span<const Kernels* const>(kParts.tables).first(kParts.available);
}

std::span<const Kernels* const> unavailable_kernels() {
  return std::span<const Kernels* const>(kParts.tables).subspan(kParts.available);
}

}  // namespace bitlog2::runtime
