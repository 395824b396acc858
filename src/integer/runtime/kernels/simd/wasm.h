// WebAssembly's vectors of 128 bits behind the interface that scalar.h explains: four values to a
// register.
#pragma once

#include <wasm_simd128.h>

#include <cstddef>
#include <cstdint>

namespace bitlog2::runtime {
namespace {

inline constexpr std::size_t kValues = 4;
inline constexpr std::size_t kBytes = 4 * kValues;
inline constexpr bool kTablesAreFast = false;
inline constexpr bool kCodeIsSmall = true;
inline constexpr std::size_t kMostLookUps = 3;

// --- 32 bits ---

struct Shift {
  explicit Shift(unsigned shift) : count(shift) {}

  unsigned count;
};

struct I32 {
  v128_t v;

  static I32 load(const std::int32_t* at) { return {wasm_v128_load(at)}; }
  void store(std::int32_t* at) const { wasm_v128_store(at, v); }
  static I32 all(std::int32_t value) { return {wasm_i32x4_splat(value)}; }

  I32 operator+(I32 b) const { return {wasm_i32x4_add(v, b.v)}; }
  I32 operator-(I32 b) const { return {wasm_i32x4_sub(v, b.v)}; }
  I32 operator*(I32 b) const { return {wasm_i32x4_mul(v, b.v)}; }
  I32 operator&(I32 b) const { return {wasm_v128_and(v, b.v)}; }
  I32 operator|(I32 b) const { return {wasm_v128_or(v, b.v)}; }
  I32 operator^(I32 b) const { return {wasm_v128_xor(v, b.v)}; }
  I32 and_not(I32 b) const { return {wasm_v128_andnot(v, b.v)}; }
  I32 min(I32 b) const { return {wasm_i32x4_min(v, b.v)}; }
  I32 max(I32 b) const { return {wasm_i32x4_max(v, b.v)}; }
  template <int kShift>
  I32 shift_right() const {
    return {wasm_u32x4_shr(v, kShift)};
  }
  I32 shift_right(Shift shift) const { return {wasm_u32x4_shr(v, shift.count)}; }
  I32 shift_right_each(I32 shifts) const {
    // Bit by bit of the shifts: there is no instruction that shifts each lane by its own.
    I32 shifted = *this;
    for (std::uint32_t bit = 16; bit > 0; bit /= 2) {
      const v128_t mask = wasm_i32x4_splat(static_cast<std::int32_t>(bit));
      const v128_t set = wasm_i32x4_eq(wasm_v128_and(shifts.v, mask), mask);
      shifted = {wasm_v128_bitselect(wasm_u32x4_shr(shifted.v, bit), shifted.v, set)};
    }
    return {wasm_v128_and(shifted.v, wasm_u32x4_lt(shifts.v, wasm_i32x4_splat(32)))};
  }
  I32 shift_right_signed(Shift shift) const { return {wasm_i32x4_shr(v, shift.count)}; }
  I32 signs() const { return {wasm_i32x4_shr(v, 31)}; }
  I32 ones_to_highest() const {
    I32 ones = *this | shift_right<1>();
    ones = ones | ones.shift_right<2>();
    ones = ones | ones.shift_right<4>();
    ones = ones | ones.shift_right<8>();
    return ones | ones.shift_right<16>();
  }
  I32 differs_from_both(I32 b, I32 c) const { return (*this ^ b) & (*this ^ c); }
  bool any_negative() const { return wasm_i32x4_bitmask(v) != 0; }
  std::int32_t sum() const {
    const I32 pairs = *this + swapped_halves();
    return static_cast<std::int32_t>(
        static_cast<std::uint32_t>(wasm_i32x4_extract_lane(pairs.v, 0)) +
        static_cast<std::uint32_t>(wasm_i32x4_extract_lane(pairs.v, 1)));
  }
  std::int32_t smallest() const {
    const I32 pairs = min(swapped_halves());
    return pairs.lane<0>() < pairs.lane<1>() ? pairs.lane<0>() : pairs.lane<1>();
  }
  std::int32_t largest() const {
    const I32 pairs = max(swapped_halves());
    return pairs.lane<0>() < pairs.lane<1>() ? pairs.lane<1>() : pairs.lane<0>();
  }

 private:
  template <int kLane>
  std::int32_t lane() const {
    return wasm_i32x4_extract_lane(v, kLane);
  }
  I32 swapped_halves() const { return {wasm_i64x2_shuffle(v, v, 1, 0)}; }
};

struct Index32 {
  explicit Index32(I32 index) { index.store(of); }

  std::int32_t of[kValues];
};

class Table32 {
 public:
  explicit Table32(const std::uint32_t (&entries)[32]) {
    __builtin_memcpy(entries_, entries, sizeof(entries_));
  }

  I32 operator()(const Index32& index) const {
    const auto entry = [&](std::size_t i) { return entries_[index.of[i] & 31]; };
    return {wasm_u32x4_make(entry(0), entry(1), entry(2), entry(3))};
  }

 private:
  std::uint32_t entries_[32];
};

// --- 64 bits ---

struct Factor {
  explicit Factor(I32 each) : v(each.v) {}
  explicit Factor(std::int32_t all) : v(wasm_i32x4_splat(all)) {}

  v128_t v;
};

struct I64 {
  v128_t low;
  v128_t high;

  static I64 load(const std::int64_t* at) { return {wasm_v128_load(at), wasm_v128_load(at + 2)}; }
  static I64 all(std::int64_t value) { return {wasm_i64x2_splat(value), wasm_i64x2_splat(value)}; }
  static I64 product(I32 a, const Factor& b) {
    return {wasm_i64x2_extmul_low_i32x4(a.v, b.v), wasm_i64x2_extmul_high_i32x4(a.v, b.v)};
  }
  static I64 unsigned_product(I32 a, const Factor& b) {
    return {wasm_u64x2_extmul_low_u32x4(a.v, b.v), wasm_u64x2_extmul_high_u32x4(a.v, b.v)};
  }

  I64 operator+(I64 b) const { return {wasm_i64x2_add(low, b.low), wasm_i64x2_add(high, b.high)}; }
  I32 lower_halves() const { return {wasm_i32x4_shuffle(low, high, 0, 2, 4, 6)}; }
  I32 upper_halves() const { return {wasm_i32x4_shuffle(low, high, 1, 3, 5, 7)}; }
};

class NarrowingShift {
 public:
  explicit NarrowingShift(unsigned shift) : shift_(shift) {}

  I32 operator()(I64 a) const {
    return I64{wasm_i64x2_shr(a.low, shift_), wasm_i64x2_shr(a.high, shift_)}.lower_halves();
  }

 private:
  unsigned shift_;
};

class ClampingShift {
 public:
  ClampingShift(unsigned shift, std::int32_t low, std::int32_t high)
      : shift_(shift), low_(wasm_i64x2_splat(low)), high_(wasm_i64x2_splat(high)) {}

  I32 operator()(I64 a) const { return I64{clamped(a.low), clamped(a.high)}.lower_halves(); }

 private:
  v128_t clamped(v128_t value) const {
    value = wasm_i64x2_shr(value, shift_);
    value = wasm_v128_bitselect(low_, value, wasm_i64x2_gt(low_, value));
    return wasm_v128_bitselect(high_, value, wasm_i64x2_gt(value, high_));
  }

  unsigned shift_;
  v128_t low_;
  v128_t high_;
};

class Sum64 {
 public:
  Sum64() : sums_(wasm_i64x2_splat(0)) {}

  void add(I32 a) { add_both(wasm_i64x2_extend_low_i32x4(a.v), wasm_i64x2_extend_high_i32x4(a.v)); }
  void add_unsigned(I32 a) {
    add_both(wasm_u64x2_extend_low_u32x4(a.v), wasm_u64x2_extend_high_u32x4(a.v));
  }
  void add_squares(I32 a) {
    add_both(wasm_i64x2_extmul_low_i32x4(a.v, a.v), wasm_i64x2_extmul_high_i32x4(a.v, a.v));
  }

  std::int64_t total() const {
    return wasm_i64x2_extract_lane(sums_, 0) + wasm_i64x2_extract_lane(sums_, 1);
  }

 private:
  void add_both(v128_t low, v128_t high) {
    sums_ = wasm_i64x2_add(sums_, wasm_i64x2_add(low, high));
  }

  v128_t sums_;
};

// --- bytes ---

struct U8 {
  v128_t v;

  static U8 load(const void* at) { return {wasm_v128_load(at)}; }
  void store(void* at) const { wasm_v128_store(at, v); }
  static U8 all(unsigned value) { return {wasm_u8x16_splat(static_cast<std::uint8_t>(value))}; }
  static U8 load_nibbles(const std::uint8_t* at) {
    const v128_t pairs = wasm_v128_load64_zero(at);
    const v128_t low = wasm_v128_and(pairs, wasm_u8x16_splat(15));
    return {interleaved_low(low, wasm_u8x16_shr(pairs, 4))};
  }

  U8 operator+(U8 b) const { return {wasm_i8x16_add(v, b.v)}; }
  U8 operator-(U8 b) const { return {wasm_i8x16_sub(v, b.v)}; }
  U8 operator|(U8 b) const { return {wasm_v128_or(v, b.v)}; }
  U8 and_not(U8 b) const { return {wasm_v128_andnot(v, b.v)}; }
  U8 min(U8 b) const { return {wasm_u8x16_min(v, b.v)}; }
  U8 add_saturating(U8 b) const { return {wasm_u8x16_add_sat(v, b.v)}; }
  U8 shift_right(unsigned shift) const {
    return {shift > 7 ? wasm_u8x16_splat(0) : wasm_u8x16_shr(v, shift)};
  }
  void add_to(Sum64& sum) const {
    sum.add_unsigned({wasm_u32x4_extadd_pairwise_u16x8(wasm_u16x8_extadd_pairwise_u8x16(v))});
  }
  I32 add_fours_to(I32 sums) const {
    return sums + I32{wasm_i32x4_extadd_pairwise_i16x8(wasm_i16x8_extadd_pairwise_i8x16(v))};
  }
  static U8 look_up_16(const std::uint8_t* entries, U8 index) {
    return {wasm_i8x16_swizzle(wasm_v128_load(entries), index.v)};
  }
  U8 in_order() const { return *this; }

  static v128_t interleaved_low(v128_t a, v128_t b) {
    return wasm_i8x16_shuffle(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
  }
  static v128_t interleaved_high(v128_t a, v128_t b) {
    return wasm_i8x16_shuffle(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
  }
};

// --- between them ---

struct U16 {
  v128_t first;
  v128_t second;

  static U16 all(std::int32_t value) {
    const v128_t all = wasm_u16x8_splat(static_cast<std::uint16_t>(value));
    return {all, all};
  }
  static U16 pack(const I32 (&values)[4]) {
    return {wasm_u16x8_narrow_i32x4(values[0].v, values[1].v),
            wasm_u16x8_narrow_i32x4(values[2].v, values[3].v)};
  }

  U16 min(U16 b) const {
    return {wasm_u16x8_min(first, b.first), wasm_u16x8_min(second, b.second)};
  }
  U8 packed() const { return {wasm_u8x16_narrow_i16x8(first, second)}; }
};

inline void transpose(U8 (&rows)[kValues]) {
  const v128_t a = wasm_i32x4_shuffle(rows[0].v, rows[1].v, 0, 4, 2, 6);
  const v128_t b = wasm_i32x4_shuffle(rows[0].v, rows[1].v, 1, 5, 3, 7);
  const v128_t c = wasm_i32x4_shuffle(rows[2].v, rows[3].v, 0, 4, 2, 6);
  const v128_t d = wasm_i32x4_shuffle(rows[2].v, rows[3].v, 1, 5, 3, 7);
  rows[0] = {wasm_i64x2_shuffle(a, c, 0, 2)};
  rows[1] = {wasm_i64x2_shuffle(b, d, 0, 2)};
  rows[2] = {wasm_i64x2_shuffle(a, c, 1, 3)};
  rows[3] = {wasm_i64x2_shuffle(b, d, 1, 3)};
}

inline void interleave(U8 (&rows)[4]) {
  const v128_t a = U8::interleaved_low(rows[0].v, rows[1].v);
  const v128_t b = U8::interleaved_high(rows[0].v, rows[1].v);
  const v128_t c = U8::interleaved_low(rows[2].v, rows[3].v);
  const v128_t d = U8::interleaved_high(rows[2].v, rows[3].v);
  rows[0] = {wasm_i16x8_shuffle(a, c, 0, 8, 1, 9, 2, 10, 3, 11)};
  rows[1] = {wasm_i16x8_shuffle(a, c, 4, 12, 5, 13, 6, 14, 7, 15)};
  rows[2] = {wasm_i16x8_shuffle(b, d, 0, 8, 1, 9, 2, 10, 3, 11)};
  rows[3] = {wasm_i16x8_shuffle(b, d, 4, 12, 5, 13, 6, 14, 7, 15)};
}

}  // namespace
}  // namespace bitlog2::runtime

#include "partial_bytes.h"
#include "partial_lanes.h"
