// AVX-512 (F, BW, DQ, VL, CD, VNNI) behind the interface that scalar.h explains: sixteen values to
// a register. Included in a target region (target_region.h), behind every other header.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

namespace bitlog2::runtime {
namespace {

inline constexpr std::size_t kValues = 16;
inline constexpr std::size_t kBytes = 4 * kValues;
inline constexpr bool kTablesAreFast = true;
inline constexpr bool kCodeIsSmall = false;
inline constexpr std::size_t kMostLookUps = 16;

inline constexpr __mmask16 kOddLanes = 0xAAAA;

inline __mmask16 first_values(std::size_t count) {
  return static_cast<__mmask16>(count >= kValues ? 0xFFFFU : (1U << count) - 1U);
}

inline __mmask64 first_bytes(std::size_t count) {
  return count >= kBytes ? ~std::uint64_t{0} : (std::uint64_t{1} << count) - 1;
}

inline __m512i odd_lanes(__m512i values) {
  return _mm512_srli_epi64(values, 32);
}

// --- 32 bits ---

struct Shift {
  explicit Shift(unsigned shift) : count(_mm_cvtsi32_si128(static_cast<int>(shift))) {}

  __m128i count;
};

struct I32 {
  __m512i v;

  static I32 load(const std::int32_t* at) { return {_mm512_loadu_si512(at)}; }
  void store(std::int32_t* at) const { _mm512_storeu_si512(at, v); }
  static I32 all(std::int32_t value) { return {_mm512_set1_epi32(value)}; }

  I32 operator+(I32 b) const { return {_mm512_add_epi32(v, b.v)}; }
  I32 operator-(I32 b) const { return {_mm512_sub_epi32(v, b.v)}; }
  I32 operator*(I32 b) const { return {_mm512_mullo_epi32(v, b.v)}; }
  I32 operator&(I32 b) const { return {_mm512_and_si512(v, b.v)}; }
  I32 operator|(I32 b) const { return {_mm512_or_si512(v, b.v)}; }
  I32 operator^(I32 b) const { return {_mm512_xor_si512(v, b.v)}; }
  I32 and_not(I32 b) const { return {_mm512_andnot_si512(b.v, v)}; }
  I32 min(I32 b) const { return {_mm512_min_epi32(v, b.v)}; }
  I32 max(I32 b) const { return {_mm512_max_epi32(v, b.v)}; }
  template <int kShift>
  I32 shift_right() const {
    return {_mm512_srli_epi32(v, kShift)};
  }
  I32 shift_right(Shift shift) const { return {_mm512_srl_epi32(v, shift.count)}; }
  I32 shift_right_each(I32 shifts) const { return {_mm512_srlv_epi32(v, shifts.v)}; }
  I32 shift_right_signed(Shift shift) const { return {_mm512_sra_epi32(v, shift.count)}; }
  I32 signs() const { return {_mm512_srai_epi32(v, 31)}; }
  I32 ones_to_highest() const {
    return {_mm512_srlv_epi32(_mm512_set1_epi32(-1), _mm512_lzcnt_epi32(v))};
  }
  I32 differs_from_both(I32 b, I32 c) const {
    constexpr int kFirstDiffers = 0x18;
    return {_mm512_ternarylogic_epi32(v, b.v, c.v, kFirstDiffers)};
  }
  bool any_negative() const { return _mm512_movepi32_mask(v) != 0; }
  std::int32_t sum() const { return _mm512_reduce_add_epi32(v); }
  std::int32_t smallest() const { return _mm512_reduce_min_epi32(v); }
  std::int32_t largest() const { return _mm512_reduce_max_epi32(v); }
};

class FirstLanes {
 public:
  explicit FirstLanes(std::size_t count) : mask_(first_values(count)) {}

  I32 load_from(const std::int32_t* at) const { return {_mm512_maskz_loadu_epi32(mask_, at)}; }
  void store_to(std::int32_t* at, I32 a) const { _mm512_mask_storeu_epi32(at, mask_, a.v); }
  I32 keep(I32 a) const { return {_mm512_maskz_mov_epi32(mask_, a.v)}; }
  I32 choose(I32 others, I32 a) const { return {_mm512_mask_blend_epi32(mask_, others.v, a.v)}; }

 private:
  __mmask16 mask_;
};

struct Index32 {
  explicit Index32(I32 index) : v(index.v) {}

  __m512i v;
};

class Table32 {
 public:
  explicit Table32(const std::uint32_t (&entries)[32])
      : low_(_mm512_loadu_si512(entries)), high_(_mm512_loadu_si512(entries + kValues)) {}

  I32 operator()(Index32 index) const { return {_mm512_permutex2var_epi32(low_, index.v, high_)}; }

 private:
  __m512i low_;
  __m512i high_;
};

// --- 64 bits ---

struct Factor {
  explicit Factor(I32 each) : even(each.v), odd(odd_lanes(each.v)) {}
  explicit Factor(std::int32_t all) : even(_mm512_set1_epi32(all)), odd(even) {}

  __m512i even;
  __m512i odd;
};

struct I64 {
  __m512i even;
  __m512i odd;

  static I64 load(const std::int64_t* at) {
    const __m512i low = _mm512_loadu_si512(at);
    const __m512i high = _mm512_loadu_si512(at + kValues / 2);
    const __m512i even = _mm512_set_epi64(14, 12, 10, 8, 6, 4, 2, 0);
    const __m512i odd = _mm512_set_epi64(15, 13, 11, 9, 7, 5, 3, 1);
    return {_mm512_permutex2var_epi64(low, even, high), _mm512_permutex2var_epi64(low, odd, high)};
  }
  static I64 all(std::int64_t value) {
    const __m512i all = _mm512_set1_epi64(value);
    return {all, all};
  }
  static I64 product(I32 a, const Factor& b) {
    return {_mm512_mul_epi32(a.v, b.even), _mm512_mul_epi32(odd_lanes(a.v), b.odd)};
  }
  static I64 unsigned_product(I32 a, const Factor& b) {
    return {_mm512_mul_epu32(a.v, b.even), _mm512_mul_epu32(odd_lanes(a.v), b.odd)};
  }

  I64 operator+(I64 b) const {
    return {_mm512_add_epi64(even, b.even), _mm512_add_epi64(odd, b.odd)};
  }
  I32 upper_halves() const { return {_mm512_mask_blend_epi32(kOddLanes, odd_lanes(even), odd)}; }
};

class NarrowingShift {
 public:
  explicit NarrowingShift(unsigned shift)
      : count_(_mm_cvtsi32_si128(static_cast<int>(shift))),
        rest_(_mm_cvtsi32_si128(32 - static_cast<int>(shift))) {}

  I32 operator()(I64 a) const {
    return {_mm512_mask_blend_epi32(kOddLanes, _mm512_srl_epi64(a.even, count_),
                                    _mm512_sll_epi64(a.odd, rest_))};
  }

 private:
  __m128i count_;
  __m128i rest_;
};

class ClampingShift {
 public:
  ClampingShift(unsigned shift, std::int32_t low, std::int32_t high)
      : count_(_mm_cvtsi32_si128(static_cast<int>(shift))),
        low_(_mm512_set1_epi64(low)),
        high_(_mm512_set1_epi64(high)) {}

  I32 operator()(I64 a) const {
    return {
        _mm512_mask_blend_epi32(kOddLanes, clamped(a.even), _mm512_slli_epi64(clamped(a.odd), 32))};
  }

 private:
  __m512i clamped(__m512i value) const {
    value = _mm512_sra_epi64(value, count_);
    return _mm512_min_epi64(_mm512_max_epi64(value, low_), high_);
  }

  __m128i count_;
  __m512i low_;
  __m512i high_;
};

class Sum64 {
 public:
  Sum64() : sums_(_mm512_setzero_si512()) {}

  void add(I32 a) {
    add_register(_mm512_add_epi64(_mm512_cvtepi32_epi64(_mm512_castsi512_si256(a.v)),
                                  _mm512_cvtepi32_epi64(_mm512_extracti64x4_epi64(a.v, 1))));
  }
  void add_unsigned(I32 a) {
    add_register(_mm512_and_si512(a.v, _mm512_set1_epi64(0xFFFFFFFF)));
    add_register(odd_lanes(a.v));
  }
  void add_squares(I32 a) {
    const __m512i odd = odd_lanes(a.v);
    add_register(_mm512_mul_epi32(a.v, a.v));
    add_register(_mm512_mul_epi32(odd, odd));
  }
  void add_register(__m512i a) { sums_ = _mm512_add_epi64(sums_, a); }

  std::int64_t total() const { return _mm512_reduce_add_epi64(sums_); }

 private:
  __m512i sums_;
};

// --- bytes ---

struct U8 {
  __m512i v;

  static U8 load(const void* at) { return {_mm512_loadu_si512(at)}; }
  void store(void* at) const { _mm512_storeu_si512(at, v); }
  static U8 all(unsigned value) { return {_mm512_set1_epi8(static_cast<char>(value))}; }
  static U8 spread_nibbles(__m256i bytes) {
    const __m512i pairs = _mm512_cvtepu8_epi16(bytes);
    const __m512i spread = _mm512_or_si512(pairs, _mm512_slli_epi16(pairs, 4));
    return {_mm512_and_si512(spread, _mm512_set1_epi8(15))};
  }
  static U8 load_nibbles(const std::uint8_t* at) {
    return spread_nibbles(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(at)));
  }

  U8 operator+(U8 b) const { return {_mm512_add_epi8(v, b.v)}; }
  U8 operator-(U8 b) const { return {_mm512_sub_epi8(v, b.v)}; }
  U8 operator|(U8 b) const { return {_mm512_or_si512(v, b.v)}; }
  U8 and_not(U8 b) const { return {_mm512_andnot_si512(b.v, v)}; }
  U8 min(U8 b) const { return {_mm512_min_epu8(v, b.v)}; }
  U8 add_saturating(U8 b) const { return {_mm512_adds_epu8(v, b.v)}; }
  U8 shift_right(unsigned shift) const {
    const __m512i shifted = _mm512_srl_epi16(v, _mm_cvtsi32_si128(static_cast<int>(shift)));
    return {_mm512_and_si512(shifted, _mm512_set1_epi8(static_cast<char>(255U >> shift)))};
  }
  void add_to(Sum64& sum) const { sum.add_register(_mm512_sad_epu8(v, _mm512_setzero_si512())); }
  I32 add_fours_to(I32 sums) const { return {_mm512_dpbusd_epi32(sums.v, _mm512_set1_epi8(1), v)}; }
  static U8 look_up_16(const std::uint8_t* entries, U8 index) {
    // A shuffle makes 0 where the highest bit is set.
    const __m512i within = _mm512_adds_epu8(index.v, _mm512_set1_epi8(0x70));
    const __m128i all = _mm_loadu_si128(reinterpret_cast<const __m128i*>(entries));
    return {_mm512_shuffle_epi8(_mm512_broadcast_i32x4(all), within)};
  }
  U8 in_order() const {
    const __m512i quads = _mm512_set_epi32(15, 11, 7, 3, 14, 10, 6, 2, 13, 9, 5, 1, 12, 8, 4, 0);
    return {_mm512_permutexvar_epi32(quads, v)};
  }
};

class FirstBytes {
 public:
  explicit FirstBytes(std::size_t count)
      : mask_(first_bytes(count)),
        half_mask_(static_cast<__mmask32>(first_bytes((count + 1) / 2))) {}

  U8 load_from(const std::uint8_t* at) const { return {_mm512_maskz_loadu_epi8(mask_, at)}; }
  U8 load_nibbles_from(const std::uint8_t* at) const {
    return U8::spread_nibbles(_mm256_maskz_loadu_epi8(half_mask_, at));
  }
  void store_to(std::uint8_t* at, U8 a) const { _mm512_mask_storeu_epi8(at, mask_, a.v); }
  U8 keep(U8 a) const { return {_mm512_maskz_mov_epi8(mask_, a.v)}; }

 private:
  __mmask64 mask_;
  __mmask32 half_mask_;
};

inline void keep_in_registers(I32& a, U8& b) {
  if constexpr (!kEmulated) {
    asm volatile("" : "+v"(a.v), "+v"(b.v));
  }
}

// --- between them ---

struct U16 {
  __m512i first;
  __m512i second;

  static U16 all(std::int32_t value) {
    const __m512i all = _mm512_set1_epi16(static_cast<std::int16_t>(value));
    return {all, all};
  }
  static U16 pack(const I32 (&values)[4]) {
    return {_mm512_packus_epi32(values[0].v, values[1].v),
            _mm512_packus_epi32(values[2].v, values[3].v)};
  }

  U16 min(U16 b) const {
    return {_mm512_min_epu16(first, b.first), _mm512_min_epu16(second, b.second)};
  }
  U8 packed() const { return {_mm512_packus_epi16(first, second)}; }
};

/// A 4 x 4 matrix of quarters of registers: quarter l of rows[j] to quarter j of rows[l].
inline void transpose_quarters(const __m512i (&rows)[4], U8* to, std::size_t stride) {
  const __m512i even_low = _mm512_shuffle_i32x4(rows[0], rows[1], 0x88);
  const __m512i even_high = _mm512_shuffle_i32x4(rows[2], rows[3], 0x88);
  const __m512i odd_low = _mm512_shuffle_i32x4(rows[0], rows[1], 0xDD);
  const __m512i odd_high = _mm512_shuffle_i32x4(rows[2], rows[3], 0xDD);
  to[0] = {_mm512_shuffle_i32x4(even_low, even_high, 0x88)};
  to[stride] = {_mm512_shuffle_i32x4(odd_low, odd_high, 0x88)};
  to[2 * stride] = {_mm512_shuffle_i32x4(even_low, even_high, 0xDD)};
  to[3 * stride] = {_mm512_shuffle_i32x4(odd_low, odd_high, 0xDD)};
}

inline void transpose(U8 (&rows)[kValues]) {
  __m512i quads[4][4];  // [j][group of four rows]: lane l has column 4 l + j
  for (std::size_t g = 0; g < 4; ++g) {
    const U8* four = rows + 4 * g;
    const __m512i a = _mm512_unpacklo_epi32(four[0].v, four[1].v);
    const __m512i b = _mm512_unpackhi_epi32(four[0].v, four[1].v);
    const __m512i c = _mm512_unpacklo_epi32(four[2].v, four[3].v);
    const __m512i d = _mm512_unpackhi_epi32(four[2].v, four[3].v);
    quads[0][g] = _mm512_unpacklo_epi64(a, c);
    quads[1][g] = _mm512_unpackhi_epi64(a, c);
    quads[2][g] = _mm512_unpacklo_epi64(b, d);
    quads[3][g] = _mm512_unpackhi_epi64(b, d);
  }
  for (std::size_t j = 0; j < 4; ++j) {
    transpose_quarters(quads[j], rows + j, 4);
  }
}

inline void interleave(U8 (&rows)[4]) {
  const __m512i a = _mm512_unpacklo_epi8(rows[0].v, rows[1].v);
  const __m512i b = _mm512_unpackhi_epi8(rows[0].v, rows[1].v);
  const __m512i c = _mm512_unpacklo_epi8(rows[2].v, rows[3].v);
  const __m512i d = _mm512_unpackhi_epi8(rows[2].v, rows[3].v);
  // [j]: lane l has columns 16 l + 4 j and the next three
  const __m512i fours[4] = {_mm512_unpacklo_epi16(a, c), _mm512_unpackhi_epi16(a, c),
                            _mm512_unpacklo_epi16(b, d), _mm512_unpackhi_epi16(b, d)};
  transpose_quarters(fours, rows, 1);
}

}  // namespace
}  // namespace bitlog2::runtime
