// AVX2 behind the interface that scalar.h explains: eight values to a register. Included in a
// target region (target_region.h), behind every other header.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>
#include <limits>

namespace bitlog2::runtime {
namespace {

inline constexpr std::size_t kValues = 8;
inline constexpr std::size_t kBytes = 4 * kValues;
inline constexpr bool kTablesAreFast = false;  // four permutations and three blends each
inline constexpr bool kCodeIsSmall = false;
inline constexpr std::size_t kMostLookUps = 16;

inline __m256i load_register(const void* at) {
  return _mm256_loadu_si256(static_cast<const __m256i*>(at));
}

inline void store_register(void* at, __m256i value) {
  _mm256_storeu_si256(static_cast<__m256i*>(at), value);
}

inline __m128i load_half(const void* at) {
  return _mm_loadu_si128(static_cast<const __m128i*>(at));
}

inline __m256i odd_lanes(__m256i values) {
  return _mm256_srli_epi64(values, 32);
}

// --- 32 bits ---

struct Shift {
  explicit Shift(unsigned shift) : count(_mm_cvtsi32_si128(static_cast<int>(shift))) {}

  __m128i count;
};

struct I32 {
  __m256i v;

  static I32 load(const std::int32_t* at) { return {load_register(at)}; }
  void store(std::int32_t* at) const { store_register(at, v); }
  static I32 all(std::int32_t value) { return {_mm256_set1_epi32(value)}; }

  I32 operator+(I32 b) const { return {_mm256_add_epi32(v, b.v)}; }
  I32 operator-(I32 b) const { return {_mm256_sub_epi32(v, b.v)}; }
  I32 operator*(I32 b) const { return {_mm256_mullo_epi32(v, b.v)}; }
  I32 operator&(I32 b) const { return {_mm256_and_si256(v, b.v)}; }
  I32 operator|(I32 b) const { return {_mm256_or_si256(v, b.v)}; }
  I32 operator^(I32 b) const { return {_mm256_xor_si256(v, b.v)}; }
  I32 and_not(I32 b) const { return {_mm256_andnot_si256(b.v, v)}; }
  I32 min(I32 b) const { return {_mm256_min_epi32(v, b.v)}; }
  I32 max(I32 b) const { return {_mm256_max_epi32(v, b.v)}; }
  template <int kShift>
  I32 shift_right() const {
    return {_mm256_srli_epi32(v, kShift)};
  }
  I32 shift_right(Shift shift) const { return {_mm256_srl_epi32(v, shift.count)}; }
  I32 shift_right_each(I32 shifts) const { return {_mm256_srlv_epi32(v, shifts.v)}; }
  I32 shift_right_signed(Shift shift) const { return {_mm256_sra_epi32(v, shift.count)}; }
  I32 signs() const { return {_mm256_srai_epi32(v, 31)}; }
  I32 ones_to_highest() const {
    I32 a = *this | shift_right<1>();
    a = a | a.shift_right<2>();
    a = a | a.shift_right<4>();
    return a | a.shift_right<8>();
  }
  I32 differs_from_both(I32 b, I32 c) const { return (*this ^ b) & (*this ^ c); }
  bool any_negative() const { return _mm256_movemask_ps(_mm256_castsi256_ps(v)) != 0; }
  template <class Combine>
  std::int32_t fold(Combine combine) const {
    std::int32_t lanes[kValues];
    store(lanes);
    std::int32_t result = lanes[0];
    for (std::size_t i = 1; i < kValues; ++i) {
      result = combine(result, lanes[i]);
    }
    return result;
  }
  std::int32_t sum() const {
    return fold([](std::int32_t x, std::int32_t y) { return x + y; });
  }
  std::int32_t smallest() const {
    return fold([](std::int32_t x, std::int32_t y) { return x < y ? x : y; });
  }
  std::int32_t largest() const {
    return fold([](std::int32_t x, std::int32_t y) { return x < y ? y : x; });
  }
};

struct FirstLanes {
  explicit FirstLanes(std::size_t count)
      : mask(_mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(count)),
                                _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7))) {}

  I32 load_from(const std::int32_t* at) const { return {_mm256_maskload_epi32(at, mask)}; }
  void store_to(std::int32_t* at, I32 a) const { _mm256_maskstore_epi32(at, mask, a.v); }
  I32 keep(I32 a) const { return {_mm256_and_si256(a.v, mask)}; }
  I32 choose(I32 others, I32 a) const { return {_mm256_blendv_epi8(others.v, a.v, mask)}; }

  __m256i mask;
};

class Index32 {
 public:
  explicit Index32(I32 index)
      : index_(index.v),
        bit3_(_mm256_srai_epi32(_mm256_slli_epi32(index.v, 28), 31)),
        bit4_(_mm256_srai_epi32(_mm256_slli_epi32(index.v, 27), 31)) {}

  I32 of(const __m256i (&parts)[4]) const {
    const __m256i low = _mm256_blendv_epi8(_mm256_permutevar8x32_epi32(parts[0], index_),
                                           _mm256_permutevar8x32_epi32(parts[1], index_), bit3_);
    const __m256i high = _mm256_blendv_epi8(_mm256_permutevar8x32_epi32(parts[2], index_),
                                            _mm256_permutevar8x32_epi32(parts[3], index_), bit3_);
    return {_mm256_blendv_epi8(low, high, bit4_)};
  }

 private:
  __m256i index_;
  __m256i bit3_;  // all of a lane is that bit of the index
  __m256i bit4_;
};

class Table32 {
 public:
  explicit Table32(const std::uint32_t (&entries)[32]) {
    for (std::size_t i = 0; i < 4; ++i) {
      parts_[i] = load_register(entries + i * kValues);
    }
  }

  I32 operator()(const Index32& index) const { return index.of(parts_); }

 private:
  __m256i parts_[4];
};

// --- 64 bits ---

struct Factor {
  explicit Factor(I32 each) : even(each.v), odd(odd_lanes(each.v)) {}
  explicit Factor(std::int32_t all) : even(_mm256_set1_epi32(all)), odd(even) {}

  __m256i even;
  __m256i odd;
};

struct I64 {
  __m256i even;
  __m256i odd;

  static I64 load(const std::int64_t* at) {
    // 0 1 2 3, 4 5 6 7 to 0 2 4 6, 1 3 5 7
    const __m256i first = load_register(at);
    const __m256i second = load_register(at + kValues / 2);
    return {_mm256_permute4x64_epi64(_mm256_unpacklo_epi64(first, second), 0xD8),
            _mm256_permute4x64_epi64(_mm256_unpackhi_epi64(first, second), 0xD8)};
  }
  static I64 all(std::int64_t value) {
    const __m256i all = _mm256_set1_epi64x(value);
    return {all, all};
  }
  static I64 product(I32 a, const Factor& b) {
    return {_mm256_mul_epi32(a.v, b.even), _mm256_mul_epi32(odd_lanes(a.v), b.odd)};
  }
  static I64 unsigned_product(I32 a, const Factor& b) {
    return {_mm256_mul_epu32(a.v, b.even), _mm256_mul_epu32(odd_lanes(a.v), b.odd)};
  }

  I64 operator+(I64 b) const {
    return {_mm256_add_epi64(even, b.even), _mm256_add_epi64(odd, b.odd)};
  }
  I32 upper_halves() const { return {_mm256_blend_epi32(odd_lanes(even), odd, 0xAA)}; }
};

struct NarrowingShift {
  explicit NarrowingShift(unsigned shift)
      : count(_mm_cvtsi32_si128(static_cast<int>(shift))),
        rest(_mm_cvtsi32_si128(32 - static_cast<int>(shift))) {}

  I32 operator()(I64 a) const {
    return {
        _mm256_blend_epi32(_mm256_srl_epi64(a.even, count), _mm256_sll_epi64(a.odd, rest), 0xAA)};
  }

  __m128i count;
  __m128i rest;
};

class ClampingShift {
 public:
  ClampingShift(unsigned shift, std::int32_t low, std::int32_t high)
      : count_(_mm_cvtsi32_si128(static_cast<int>(shift))),
        sign_(_mm256_set1_epi64x(std::numeric_limits<std::int64_t>::min())),
        sign_behind_(_mm256_srl_epi64(sign_, count_)),
        low_(_mm256_set1_epi64x(low)),
        high_(_mm256_set1_epi64x(high)) {}

  I32 operator()(I64 a) const {
    return {_mm256_blend_epi32(clamped(a.even), _mm256_slli_epi64(clamped(a.odd), 32), 0xAA)};
  }

 private:
  __m256i clamped(__m256i value) const {
    // An arithmetic shift of 64-bit values, which AVX2 lacks.
    value = _mm256_srl_epi64(_mm256_xor_si256(value, sign_), count_);
    value = _mm256_sub_epi64(value, sign_behind_);
    value = _mm256_blendv_epi8(value, low_, _mm256_cmpgt_epi64(low_, value));
    return _mm256_blendv_epi8(value, high_, _mm256_cmpgt_epi64(value, high_));
  }

  __m128i count_;
  __m256i sign_;
  __m256i sign_behind_;
  __m256i low_;
  __m256i high_;
};

class Sum64 {
 public:
  Sum64() : sums_(_mm256_setzero_si256()) {}

  void add(I32 a) {
    add_register(_mm256_cvtepi32_epi64(_mm256_castsi256_si128(a.v)));
    add_register(_mm256_cvtepi32_epi64(_mm256_extracti128_si256(a.v, 1)));
  }
  void add_unsigned(I32 a) {
    add_register(_mm256_and_si256(a.v, _mm256_set1_epi64x(0xFFFFFFFF)));
    add_register(odd_lanes(a.v));
  }
  void add_squares(I32 a) {
    const __m256i odd = odd_lanes(a.v);
    add_register(_mm256_mul_epi32(a.v, a.v));
    add_register(_mm256_mul_epi32(odd, odd));
  }
  void add_register(__m256i a) { sums_ = _mm256_add_epi64(sums_, a); }

  std::int64_t total() const {
    const __m128i pair =
        _mm_add_epi64(_mm256_castsi256_si128(sums_), _mm256_extracti128_si256(sums_, 1));
    return _mm_cvtsi128_si64(_mm_add_epi64(pair, _mm_unpackhi_epi64(pair, pair)));
  }

 private:
  __m256i sums_;
};

// --- bytes ---

struct U8 {
  __m256i v;

  static U8 load(const void* at) { return {load_register(at)}; }
  void store(void* at) const { store_register(at, v); }
  static U8 all(unsigned value) { return {_mm256_set1_epi8(static_cast<char>(value))}; }
  static U8 spread_nibbles(__m128i bytes) {
    const __m256i pairs = _mm256_cvtepu8_epi16(bytes);
    const __m256i spread = _mm256_or_si256(pairs, _mm256_slli_epi16(pairs, 4));
    return {_mm256_and_si256(spread, _mm256_set1_epi8(15))};
  }
  static U8 load_nibbles(const std::uint8_t* at) { return spread_nibbles(load_half(at)); }

  U8 operator+(U8 b) const { return {_mm256_add_epi8(v, b.v)}; }
  U8 operator-(U8 b) const { return {_mm256_sub_epi8(v, b.v)}; }
  U8 operator|(U8 b) const { return {_mm256_or_si256(v, b.v)}; }
  U8 and_not(U8 b) const { return {_mm256_andnot_si256(b.v, v)}; }
  U8 min(U8 b) const { return {_mm256_min_epu8(v, b.v)}; }
  U8 add_saturating(U8 b) const { return {_mm256_adds_epu8(v, b.v)}; }
  U8 shift_right(unsigned shift) const {
    const __m256i shifted = _mm256_srl_epi16(v, _mm_cvtsi32_si128(static_cast<int>(shift)));
    return {_mm256_and_si256(shifted, _mm256_set1_epi8(static_cast<char>(255U >> shift)))};
  }
  void add_to(Sum64& sum) const { sum.add_register(_mm256_sad_epu8(v, _mm256_setzero_si256())); }
  I32 add_fours_to(I32 sums) const {
    const __m256i pairs = _mm256_maddubs_epi16(_mm256_set1_epi8(1), v);
    return {_mm256_add_epi32(sums.v, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)))};
  }
  static U8 look_up_16(const std::uint8_t* entries, U8 index) {
    // A shuffle makes 0 where the highest bit is set.
    const __m256i within = _mm256_adds_epu8(index.v, _mm256_set1_epi8(0x70));
    return {_mm256_shuffle_epi8(_mm256_broadcastsi128_si256(load_half(entries)), within)};
  }
  U8 in_order() const {
    return {_mm256_permutevar8x32_epi32(v, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7))};
  }
};

inline void keep_in_registers(I32& a, U8& b) {
  if constexpr (!kEmulated) {
    asm volatile("" : "+x"(a.v), "+x"(b.v));
  }
}

// --- between them ---

struct U16 {
  __m256i first;
  __m256i second;

  static U16 all(std::int32_t value) {
    const __m256i all = _mm256_set1_epi16(static_cast<std::int16_t>(value));
    return {all, all};
  }
  static U16 pack(const I32 (&values)[4]) {
    return {_mm256_packus_epi32(values[0].v, values[1].v),
            _mm256_packus_epi32(values[2].v, values[3].v)};
  }

  U16 min(U16 b) const {
    return {_mm256_min_epu16(first, b.first), _mm256_min_epu16(second, b.second)};
  }
  U8 packed() const { return {_mm256_packus_epi16(first, second)}; }
};

inline void transpose(U8 (&rows)[kValues]) {
  __m256i quads[2][4];  // [group of four rows][j]: lane l has column 4 l + j
  for (std::size_t g = 0; g < 2; ++g) {
    const U8* four = rows + 4 * g;
    const __m256i a = _mm256_unpacklo_epi32(four[0].v, four[1].v);
    const __m256i b = _mm256_unpackhi_epi32(four[0].v, four[1].v);
    const __m256i c = _mm256_unpacklo_epi32(four[2].v, four[3].v);
    const __m256i d = _mm256_unpackhi_epi32(four[2].v, four[3].v);
    quads[g][0] = _mm256_unpacklo_epi64(a, c);
    quads[g][1] = _mm256_unpackhi_epi64(a, c);
    quads[g][2] = _mm256_unpacklo_epi64(b, d);
    quads[g][3] = _mm256_unpackhi_epi64(b, d);
  }
  for (std::size_t j = 0; j < 4; ++j) {
    rows[j] = {_mm256_permute2x128_si256(quads[0][j], quads[1][j], 0x20)};
    rows[4 + j] = {_mm256_permute2x128_si256(quads[0][j], quads[1][j], 0x31)};
  }
}

inline void interleave(U8 (&rows)[4]) {
  const __m256i a = _mm256_unpacklo_epi8(rows[0].v, rows[1].v);
  const __m256i b = _mm256_unpackhi_epi8(rows[0].v, rows[1].v);
  const __m256i c = _mm256_unpacklo_epi8(rows[2].v, rows[3].v);
  const __m256i d = _mm256_unpackhi_epi8(rows[2].v, rows[3].v);
  // [j]: lane l has columns 16 l + 4 j and the next three
  const __m256i fours[4] = {_mm256_unpacklo_epi16(a, c), _mm256_unpackhi_epi16(a, c),
                            _mm256_unpacklo_epi16(b, d), _mm256_unpackhi_epi16(b, d)};
  rows[0] = {_mm256_permute2x128_si256(fours[0], fours[1], 0x20)};
  rows[1] = {_mm256_permute2x128_si256(fours[2], fours[3], 0x20)};
  rows[2] = {_mm256_permute2x128_si256(fours[0], fours[1], 0x31)};
  rows[3] = {_mm256_permute2x128_si256(fours[2], fours[3], 0x31)};
}

}  // namespace
}  // namespace bitlog2::runtime

#include "partial_bytes.h"
