// <immintrin.h> in plain C++, for scripts/test_kernels: SIMDe's, and the intrinsics that its
// version 0.7.4 does not have. With it the kernels of every x86 instruction set run on any x86
// machine.
#pragma once

#define SIMDE_ENABLE_NATIVE_ALIASES
#include <simde/x86/avx2.h>
#include <simde/x86/avx512.h>

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>

using __mmask16 = std::uint16_t;
using __mmask32 = std::uint32_t;
using __mmask64 = std::uint64_t;

namespace emulated {

/// A register as an array of its values.
template <class T, class Register>
struct Lanes {
  static constexpr std::size_t kCount = sizeof(Register) / sizeof(T);

  Lanes() = default;
  explicit Lanes(Register from) { std::memcpy(at, &from, sizeof(at)); }

  Register as_register() const {
    Register to;
    std::memcpy(&to, at, sizeof(at));
    return to;
  }

  T at[kCount] = {};
};

template <class T>
using Lanes512 = Lanes<T, __m512i>;

/// Converts each value of type From to type To.
template <class To, class ToRegister, class From, class FromRegister>
ToRegister convert(FromRegister a) {
  const Lanes<From, FromRegister> from(a);
  Lanes<To, ToRegister> to;
  for (std::size_t i = 0; i < to.kCount && i < from.kCount; ++i) {
    to.at[i] = static_cast<To>(from.at[i]);
  }
  return to.as_register();
}

template <class T, class Register, class Mask>
Register load_some(Mask mask, const void* at) {
  Lanes<T, Register> to;
  for (std::size_t i = 0; i < to.kCount; ++i) {
    if ((mask >> i & 1) != 0) {
      std::memcpy(to.at + i, static_cast<const T*>(at) + i, sizeof(T));
    }
  }
  return to.as_register();
}

template <class T, class Mask>
void store_some(void* at, Mask mask, __m512i a) {
  const Lanes512<T> from(a);
  for (std::size_t i = 0; i < from.kCount; ++i) {
    if ((mask >> i & 1) != 0) {
      std::memcpy(static_cast<T*>(at) + i, from.at + i, sizeof(T));
    }
  }
}

template <class T>
__m512i shift_right(__m512i a, std::uint64_t count) {
  constexpr std::uint64_t kMost = 8 * sizeof(T) - 1;
  Lanes512<T> to(a);
  for (T& value : to.at) {
    value >>= count < kMost ? count : kMost;
  }
  return to.as_register();
}

template <class T, class Combine>
T fold(__m512i a, Combine combine) {
  const Lanes512<T> from(a);
  T result = from.at[0];
  for (std::size_t i = 1; i < from.kCount; ++i) {
    result = combine(result, from.at[i]);
  }
  return result;
}

template <class T>
T sum(__m512i a) {
  using Wrapping = std::make_unsigned_t<T>;
  return fold<T>(a, [](T x, T y) {
    return static_cast<T>(static_cast<Wrapping>(x) + static_cast<Wrapping>(y));
  });
}

}  // namespace emulated

inline __m512i _mm512_cvtepi32_epi64(__m256i a) {
  return emulated::convert<std::int64_t, __m512i, std::int32_t>(a);
}
inline __m512i _mm512_cvtepu8_epi16(__m256i a) {
  return emulated::convert<std::uint16_t, __m512i, std::uint8_t>(a);
}
inline __m512i _mm512_lzcnt_epi32(__m512i a) {
  emulated::Lanes512<std::uint32_t> to(a);
  for (std::uint32_t& value : to.at) {
    value = static_cast<std::uint32_t>(std::countl_zero(value));
  }
  return to.as_register();
}
inline __m256i _mm256_maskz_loadu_epi8(__mmask32 mask, const void* at) {
  return emulated::load_some<std::uint8_t, __m256i>(mask, at);
}
inline __m512i _mm512_maskz_loadu_epi8(__mmask64 mask, const void* at) {
  return emulated::load_some<std::uint8_t, __m512i>(mask, at);
}
inline __m512i _mm512_maskz_loadu_epi32(__mmask16 mask, const void* at) {
  return emulated::load_some<std::uint32_t, __m512i>(mask, at);
}
inline void _mm512_mask_storeu_epi8(void* at, __mmask64 mask, __m512i a) {
  emulated::store_some<std::uint8_t>(at, mask, a);
}
inline void _mm512_mask_storeu_epi32(void* at, __mmask16 mask, __m512i a) {
  emulated::store_some<std::uint32_t>(at, mask, a);
}
inline __m512i _mm512_sra_epi32(__m512i a, __m128i count) {
  return emulated::shift_right<std::int32_t>(a,
                                             static_cast<std::uint64_t>(_mm_cvtsi128_si64(count)));
}
inline __m512i _mm512_sra_epi64(__m512i a, __m128i count) {
  return emulated::shift_right<std::int64_t>(a,
                                             static_cast<std::uint64_t>(_mm_cvtsi128_si64(count)));
}
inline __m512i _mm512_srai_epi32(__m512i a, unsigned count) {
  return emulated::shift_right<std::int32_t>(a, count);
}
inline std::int32_t _mm512_reduce_add_epi32(__m512i a) {
  return emulated::sum<std::int32_t>(a);
}
inline std::int64_t _mm512_reduce_add_epi64(__m512i a) {
  return emulated::sum<std::int64_t>(a);
}
inline std::int32_t _mm512_reduce_min_epi32(__m512i a) {
  return emulated::fold<std::int32_t>(a, [](auto x, auto y) { return x < y ? x : y; });
}
inline std::int32_t _mm512_reduce_max_epi32(__m512i a) {
  return emulated::fold<std::int32_t>(a, [](auto x, auto y) { return x < y ? y : x; });
}
inline __m256i _mm256_dpbusd_avx_epi32(__m256i sums, __m256i a, __m256i b) {
  return _mm256_dpbusd_epi32(sums, a, b);
}
