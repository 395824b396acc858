// What the processor can do.
#pragma once

namespace bitlog2::cpu {

#if defined(__x86_64__)
inline bool has_avx2() {
  return __builtin_cpu_supports("avx2") != 0;
}

inline bool has_fused_multiply_add() {
  return __builtin_cpu_supports("fma") != 0;
}

inline bool has_avx512() {
  return __builtin_cpu_supports("avx512f") != 0;
}
#endif

}  // namespace bitlog2::cpu
