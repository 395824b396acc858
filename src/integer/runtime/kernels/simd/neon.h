// NEON behind the interface that scalar.h explains: four values to a register. Included in a target
// region (target_region.h), behind every other header.
#pragma once

#include <arm_neon.h>

#include <cstddef>
#include <cstdint>

namespace bitlog2::runtime {
namespace {

inline constexpr std::size_t kValues = 4;
inline constexpr std::size_t kBytes = 4 * kValues;
inline constexpr bool kTablesAreFast = false;
inline constexpr bool kCodeIsSmall = false;
inline constexpr std::size_t kMostLookUps = 16;

// --- 32 bits ---

struct Shift {
  explicit Shift(unsigned shift) : left(vdupq_n_s32(-static_cast<std::int32_t>(shift))) {}

  int32x4_t left;
};

struct I32 {
  int32x4_t v;

  static I32 of(uint32x4_t a) { return {vreinterpretq_s32_u32(a)}; }
  static I32 load(const std::int32_t* at) { return {vld1q_s32(at)}; }
  void store(std::int32_t* at) const { vst1q_s32(at, v); }
  static I32 all(std::int32_t value) { return {vdupq_n_s32(value)}; }

  uint32x4_t as_unsigned() const { return vreinterpretq_u32_s32(v); }
  I32 operator+(I32 b) const { return {vaddq_s32(v, b.v)}; }
  I32 operator-(I32 b) const { return {vsubq_s32(v, b.v)}; }
  I32 operator*(I32 b) const { return {vmulq_s32(v, b.v)}; }
  I32 operator&(I32 b) const { return {vandq_s32(v, b.v)}; }
  I32 operator|(I32 b) const { return {vorrq_s32(v, b.v)}; }
  I32 operator^(I32 b) const { return {veorq_s32(v, b.v)}; }
  I32 and_not(I32 b) const { return {vbicq_s32(v, b.v)}; }
  I32 min(I32 b) const { return {vminq_s32(v, b.v)}; }
  I32 max(I32 b) const { return {vmaxq_s32(v, b.v)}; }
  template <int kShift>
  I32 shift_right() const {
    return I32::of(vshrq_n_u32(as_unsigned(), kShift));
  }
  I32 shift_right(Shift shift) const { return I32::of(vshlq_u32(as_unsigned(), shift.left)); }
  I32 shift_right_each(I32 shifts) const {
    // A shift is one byte of its lane.
    const int32x4_t at_most_32 =
        vreinterpretq_s32_u32(vminq_u32(shifts.as_unsigned(), vdupq_n_u32(32)));
    return I32::of(vshlq_u32(as_unsigned(), vnegq_s32(at_most_32)));
  }
  I32 shift_right_signed(Shift shift) const { return {vshlq_s32(v, shift.left)}; }
  I32 signs() const { return {vshrq_n_s32(v, 31)}; }
  I32 ones_to_highest() const {
    return I32::of(vshlq_u32(vdupq_n_u32(0xFFFFFFFF), vnegq_s32(vclzq_s32(v))));
  }
  I32 differs_from_both(I32 b, I32 c) const { return (*this ^ b) & (*this ^ c); }
  bool any_negative() const { return vminvq_s32(v) < 0; }
  std::int32_t sum() const { return vaddvq_s32(v); }
  std::int32_t smallest() const { return vminvq_s32(v); }
  std::int32_t largest() const { return vmaxvq_s32(v); }
};

/// The bytes of an entry of 32, in two tables of 16.
struct Index32 {
  explicit Index32(I32 index) {
    const uint32x4_t low_five = vandq_u32(index.as_unsigned(), vdupq_n_u32(31));
    const uint32x4_t places = vmlaq_u32(vdupq_n_u32(0x03020100), low_five, vdupq_n_u32(0x04040404));
    low = vreinterpretq_u8_u32(places);
    high = vsubq_u8(low, vdupq_n_u8(64));
  }

  uint8x16_t low;
  uint8x16_t high;
};

class Table32 {
 public:
  explicit Table32(const std::uint32_t (&entries)[32]) {
    for (std::size_t i = 0; i < 4; ++i) {
      low_.val[i] = vreinterpretq_u8_u32(vld1q_u32(entries + i * kValues));
      high_.val[i] = vreinterpretq_u8_u32(vld1q_u32(entries + (4 + i) * kValues));
    }
  }

  I32 operator()(Index32 index) const {
    // 0 where the place is in the other.
    const uint8x16_t bytes = vorrq_u8(vqtbl4q_u8(low_, index.low), vqtbl4q_u8(high_, index.high));
    return {vreinterpretq_s32_u8(bytes)};
  }

 private:
  uint8x16x4_t low_;
  uint8x16x4_t high_;
};

// --- 64 bits ---

struct Factor {
  explicit Factor(I32 each) : v(each.v) {}
  explicit Factor(std::int32_t all) : v(vdupq_n_s32(all)) {}

  int32x4_t v;
};

struct I64 {
  int64x2_t low;
  int64x2_t high;

  static I64 load(const std::int64_t* at) { return {vld1q_s64(at), vld1q_s64(at + 2)}; }
  static I64 all(std::int64_t value) { return {vdupq_n_s64(value), vdupq_n_s64(value)}; }
  static I64 product(I32 a, const Factor& b) {
    return {vmull_s32(vget_low_s32(a.v), vget_low_s32(b.v)), vmull_high_s32(a.v, b.v)};
  }
  static I64 unsigned_product(I32 a, const Factor& b) {
    const uint32x4_t x = a.as_unsigned();
    const uint32x4_t y = vreinterpretq_u32_s32(b.v);
    return {vreinterpretq_s64_u64(vmull_u32(vget_low_u32(x), vget_low_u32(y))),
            vreinterpretq_s64_u64(vmull_high_u32(x, y))};
  }

  I64 operator+(I64 b) const { return {vaddq_s64(low, b.low), vaddq_s64(high, b.high)}; }
  I32 lower_halves() const {
    return {vuzp1q_s32(vreinterpretq_s32_s64(low), vreinterpretq_s32_s64(high))};
  }
  I32 upper_halves() const {
    return {vuzp2q_s32(vreinterpretq_s32_s64(low), vreinterpretq_s32_s64(high))};
  }
};

class NarrowingShift {
 public:
  explicit NarrowingShift(unsigned shift) : left_(vdupq_n_s64(-static_cast<std::int64_t>(shift))) {}

  I32 operator()(I64 a) const {
    return I64{vshlq_s64(a.low, left_), vshlq_s64(a.high, left_)}.lower_halves();
  }

 private:
  int64x2_t left_;
};

class ClampingShift {
 public:
  ClampingShift(unsigned shift, std::int32_t low, std::int32_t high)
      : left_(vdupq_n_s64(-static_cast<std::int64_t>(shift))),
        low_(vdupq_n_s64(low)),
        high_(vdupq_n_s64(high)) {}

  I32 operator()(I64 a) const { return I64{clamped(a.low), clamped(a.high)}.lower_halves(); }

 private:
  int64x2_t clamped(int64x2_t value) const {
    value = vshlq_s64(value, left_);
    value = vbslq_s64(vcgtq_s64(low_, value), low_, value);
    return vbslq_s64(vcgtq_s64(value, high_), high_, value);
  }

  int64x2_t left_;
  int64x2_t low_;
  int64x2_t high_;
};

class Sum64 {
 public:
  Sum64() : sums_(vdupq_n_s64(0)) {}

  void add(I32 a) { sums_ = vpadalq_s32(sums_, a.v); }
  void add_unsigned(uint32x4_t a) {
    sums_ = vreinterpretq_s64_u64(vpadalq_u32(vreinterpretq_u64_s64(sums_), a));
  }
  void add_unsigned(I32 a) { add_unsigned(a.as_unsigned()); }
  void add_squares(I32 a) {
    sums_ = vmlal_s32(sums_, vget_low_s32(a.v), vget_low_s32(a.v));
    sums_ = vmlal_high_s32(sums_, a.v, a.v);
  }

  std::int64_t total() const { return vaddvq_s64(sums_); }

 private:
  int64x2_t sums_;
};

// --- bytes ---

struct U8 {
  uint8x16_t v;

  static U8 load(const void* at) { return {vld1q_u8(static_cast<const std::uint8_t*>(at))}; }
  void store(void* at) const { vst1q_u8(static_cast<std::uint8_t*>(at), v); }
  static U8 all(unsigned value) { return {vdupq_n_u8(static_cast<std::uint8_t>(value))}; }
  static U8 load_nibbles(const std::uint8_t* at) {
    const uint8x8_t pairs = vld1_u8(at);
    const uint8x8x2_t codes = vzip_u8(vand_u8(pairs, vdup_n_u8(15)), vshr_n_u8(pairs, 4));
    return {vcombine_u8(codes.val[0], codes.val[1])};
  }

  U8 operator+(U8 b) const { return {vaddq_u8(v, b.v)}; }
  U8 operator-(U8 b) const { return {vsubq_u8(v, b.v)}; }
  U8 operator|(U8 b) const { return {vorrq_u8(v, b.v)}; }
  U8 and_not(U8 b) const { return {vbicq_u8(v, b.v)}; }
  U8 min(U8 b) const { return {vminq_u8(v, b.v)}; }
  U8 add_saturating(U8 b) const { return {vqaddq_u8(v, b.v)}; }
  U8 shift_right(unsigned shift) const {
    return {vshlq_u8(v, vdupq_n_s8(static_cast<std::int8_t>(-static_cast<int>(shift))))};
  }
  void add_to(Sum64& sum) const { sum.add_unsigned(vpaddlq_u16(vpaddlq_u8(v))); }
  I32 add_fours_to(I32 sums) const {
    return {vpadalq_s16(sums.v, vpaddlq_s8(vreinterpretq_s8_u8(v)))};
  }
  static U8 look_up_16(const std::uint8_t* entries, U8 index) {
    return {vqtbl1q_u8(vld1q_u8(entries), index.v)};
  }
  U8 in_order() const { return *this; }
};

inline void keep_in_registers(I32& a, U8& b) {
  asm volatile("" : "+w"(a.v), "+w"(b.v));
}

// --- between them ---

struct U16 {
  uint16x8_t first;
  uint16x8_t second;

  static U16 all(std::int32_t value) {
    const uint16x8_t all = vdupq_n_u16(static_cast<std::uint16_t>(value));
    return {all, all};
  }
  static U16 pack(const I32 (&values)[4]) {
    return {vqmovun_high_s32(vqmovun_s32(values[0].v), values[1].v),
            vqmovun_high_s32(vqmovun_s32(values[2].v), values[3].v)};
  }

  U16 min(U16 b) const { return {vminq_u16(first, b.first), vminq_u16(second, b.second)}; }
  U8 packed() const { return {vqmovn_high_u16(vqmovn_u16(first), second)}; }
};

inline void transpose(U8 (&rows)[kValues]) {
  const auto row = [&](std::size_t i) { return vreinterpretq_u32_u8(rows[i].v); };
  const uint64x2_t a = vreinterpretq_u64_u32(vtrn1q_u32(row(0), row(1)));
  const uint64x2_t b = vreinterpretq_u64_u32(vtrn2q_u32(row(0), row(1)));
  const uint64x2_t c = vreinterpretq_u64_u32(vtrn1q_u32(row(2), row(3)));
  const uint64x2_t d = vreinterpretq_u64_u32(vtrn2q_u32(row(2), row(3)));
  rows[0] = {vreinterpretq_u8_u64(vtrn1q_u64(a, c))};
  rows[1] = {vreinterpretq_u8_u64(vtrn1q_u64(b, d))};
  rows[2] = {vreinterpretq_u8_u64(vtrn2q_u64(a, c))};
  rows[3] = {vreinterpretq_u8_u64(vtrn2q_u64(b, d))};
}

inline void interleave(U8 (&rows)[4]) {
  const uint16x8_t a = vreinterpretq_u16_u8(vzip1q_u8(rows[0].v, rows[1].v));
  const uint16x8_t b = vreinterpretq_u16_u8(vzip2q_u8(rows[0].v, rows[1].v));
  const uint16x8_t c = vreinterpretq_u16_u8(vzip1q_u8(rows[2].v, rows[3].v));
  const uint16x8_t d = vreinterpretq_u16_u8(vzip2q_u8(rows[2].v, rows[3].v));
  rows[0] = {vreinterpretq_u8_u16(vzip1q_u16(a, c))};
  rows[1] = {vreinterpretq_u8_u16(vzip2q_u16(a, c))};
  rows[2] = {vreinterpretq_u8_u16(vzip1q_u16(b, d))};
  rows[3] = {vreinterpretq_u8_u16(vzip2q_u16(b, d))};
}

}  // namespace
}  // namespace bitlog2::runtime

#include "partial_bytes.h"
#include "partial_lanes.h"
