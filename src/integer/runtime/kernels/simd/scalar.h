// The interface to the vectors of one instruction set, here in plain C++. generic/ is written once
// over this interface; avx2.h, avx512.h, neon.h and wasm.h implement it by their instructions.
// Tests make tables of this file in several widths (tests/integer/scalar_table.h), so that generic/
// is tested on any machine.
//
// A simd header defines, in an anonymous namespace, as every file that includes one is for one
// instruction set:
//   kValues         32-bit values in a register
//   kBytes          bytes in it
//   kCodeIsSmall    kernels have one loop for all ways to rescale, which is slower
//   kTablesAreFast  a look-up in a Table32 is cheaper than a multiplication
//   kMostLookUps    look-ups of sixteen entries that are cheaper than reading byte by byte
//   I32             a register of 32-bit values, signed but where a function says otherwise
//   U8              a register of bytes
//   I64             kValues 64-bit values, U16 kBytes 16-bit ones: several registers, in an order
//   of their own
// and the functions below. Arithmetic wraps around.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <type_traits>

namespace bitlog2::runtime {
namespace {

inline constexpr std::size_t kValues = kScalarValues;  // set by the including file: 4, 8 or 16
inline constexpr std::size_t kBytes = 4 * kValues;
inline constexpr bool kTablesAreFast = kValues == 16;
inline constexpr bool kCodeIsSmall = kValues == 4;
inline constexpr std::size_t kMostLookUps = kValues == 4 ? 3 : 16;

/// The results of `f` of every lane of some registers.
template <class To, class F, class From, class... Others>
inline To map(F f, const From& a, const Others&... others) {
  To to = {};
  for (std::size_t i = 0; i < sizeof(to.lanes) / sizeof(to.lanes[0]); ++i) {
    to.lanes[i] = static_cast<std::remove_reference_t<decltype(to.lanes[0])>>(
        f(a.lanes[i], others.lanes[i]...));
  }
  return to;
}

template <class T>
inline T clamped(std::int64_t value) {
  constexpr std::int64_t kLow = std::numeric_limits<T>::min();
  constexpr std::int64_t kHigh = std::numeric_limits<T>::max();
  return static_cast<T>(value < kLow ? kLow : value > kHigh ? kHigh : value);
}

inline std::int32_t as_signed(std::uint32_t value) {
  return static_cast<std::int32_t>(value);
}

// --- 32 bits ---

/// A number of bits that is not a compile-time constant.
struct Shift {
  explicit Shift(unsigned shift) : count(shift) {}

  unsigned count;
};

struct I32 {
  std::uint32_t lanes[kValues];

  static I32 load(const std::int32_t* at) {
    I32 to;
    __builtin_memcpy(to.lanes, at, sizeof(to.lanes));
    return to;
  }
  void store(std::int32_t* at) const { __builtin_memcpy(at, lanes, sizeof(lanes)); }
  static I32 all(std::int32_t value) {
    return map<I32>([&](auto) { return value; }, I32{});
  }

  I32 operator+(I32 b) const {
    return map<I32>([](auto x, auto y) { return x + y; }, *this, b);
  }
  I32 operator-(I32 b) const {
    return map<I32>([](auto x, auto y) { return x - y; }, *this, b);
  }
  I32 operator*(I32 b) const {
    return map<I32>([](auto x, auto y) { return x * y; }, *this, b);
  }
  I32 operator&(I32 b) const {
    return map<I32>([](auto x, auto y) { return x & y; }, *this, b);
  }
  I32 operator|(I32 b) const {
    return map<I32>([](auto x, auto y) { return x | y; }, *this, b);
  }
  I32 operator^(I32 b) const {
    return map<I32>([](auto x, auto y) { return x ^ y; }, *this, b);
  }
  /// The bits of a that b has not.
  I32 and_not(I32 b) const {
    return map<I32>([](auto x, auto y) { return x & ~y; }, *this, b);
  }
  I32 min(I32 b) const {
    return map<I32>([](auto x, auto y) { return as_signed(x) < as_signed(y) ? x : y; }, *this, b);
  }
  I32 max(I32 b) const {
    return map<I32>([](auto x, auto y) { return as_signed(x) < as_signed(y) ? y : x; }, *this, b);
  }
  /// Of unsigned values.
  template <int kShift>
  I32 shift_right() const {
    return map<I32>([](auto x) { return x >> kShift; }, *this);
  }
  /// Of unsigned values; at most 31.
  I32 shift_right(Shift shift) const {
    return map<I32>([&](auto x) { return x >> shift.count; }, *this);
  }
  /// Of unsigned values, each by its own; 0 where that is 32 or more.
  I32 shift_right_each(I32 shifts) const {
    return map<I32>([](auto x, auto y) { return y < 32 ? x >> y : 0; }, *this, shifts);
  }
  I32 shift_right_signed(Shift shift) const {
    return map<I32>([&](auto x) { return as_signed(x) >> shift.count; }, *this);
  }
  /// All bits of a lane become its highest bit.
  I32 signs() const {
    return map<I32>([](auto x) { return as_signed(x) >> 31; }, *this);
  }
  /// All bits up to the highest set bit are set; for values below 2^17.
  I32 ones_to_highest() const {
    return map<I32>(
        [](auto x) {
          for (unsigned shift = 1; shift < 32; shift *= 2) {
            x |= x >> shift;
          }
          return x;
        },
        *this);
  }
  /// Bits of a that differ from those of b and of c.
  I32 differs_from_both(I32 b, I32 c) const { return (*this ^ b) & (*this ^ c); }
  bool any_negative() const {
    bool any = false;
    for (const std::uint32_t lane : lanes) {
      any |= as_signed(lane) < 0;
    }
    return any;
  }
  std::int32_t sum() const {
    std::uint32_t sum = 0;
    for (const std::uint32_t lane : lanes) {
      sum += lane;
    }
    return as_signed(sum);
  }
  std::int32_t smallest() const {
    std::int32_t smallest = as_signed(lanes[0]);
    for (const std::uint32_t lane : lanes) {
      smallest = as_signed(lane) < smallest ? as_signed(lane) : smallest;
    }
    return smallest;
  }
  std::int32_t largest() const {
    std::int32_t largest = as_signed(lanes[0]);
    for (const std::uint32_t lane : lanes) {
      largest = as_signed(lane) > largest ? as_signed(lane) : largest;
    }
    return largest;
  }
};

/// Indices in a Table32, of which the low five bits count.
struct Index32 {
  explicit Index32(I32 index) : v(index) {}

  I32 v;
};

/// A table of 32 values in registers.
class Table32 {
 public:
  explicit Table32(const std::uint32_t (&entries)[32]) {
    __builtin_memcpy(entries_, entries, sizeof(entries_));
  }

  I32 operator()(Index32 index) const {
    return map<I32>([&](auto i) { return entries_[i % 32]; }, index.v);
  }

 private:
  std::uint32_t entries_[32];
};

// --- 64 bits ---

/// A factor of 32-bit values.
struct Factor {
  explicit Factor(I32 each) : v(each) {}
  explicit Factor(std::int32_t all) : v(I32::all(all)) {}

  I32 v;
};

struct I64 {
  std::int64_t lanes[kValues];

  static I64 load(const std::int64_t* at) {
    I64 to;
    __builtin_memcpy(to.lanes, at, sizeof(to.lanes));
    return to;
  }
  static I64 all(std::int64_t value) {
    return map<I64>([&](auto) { return value; }, I64{});
  }
  static I64 product(I32 a, const Factor& b) {
    return map<I64>([](auto x, auto y) { return std::int64_t{as_signed(x)} * as_signed(y); }, a,
                    b.v);
  }
  /// Of unsigned values.
  static I64 unsigned_product(I32 a, const Factor& b) {
    return map<I64>([](auto x, auto y) { return std::uint64_t{x} * y; }, a, b.v);
  }

  I64 operator+(I64 b) const {
    return map<I64>(
        [](auto x, auto y) {
          return static_cast<std::uint64_t>(x) + static_cast<std::uint64_t>(y);
        },
        *this, b);
  }
  I32 upper_halves() const {
    return map<I32>([](auto x) { return x >> 32; }, *this);
  }
};

/// A shift to the right by at most 32, of which the lower halves are kept.
class NarrowingShift {
 public:
  explicit NarrowingShift(unsigned shift) : shift_(shift) {}

  I32 operator()(I64 a) const {
    return map<I32>([&](auto x) { return x >> shift_; }, a);
  }

 private:
  unsigned shift_;
};

/// A shift to the right, clamped to [low, high].
class ClampingShift {
 public:
  ClampingShift(unsigned shift, std::int32_t low, std::int32_t high)
      : shift_(shift), low_(low), high_(high) {}

  I32 operator()(I64 a) const {
    return map<I32>(
        [&](auto x) {
          const std::int64_t value = x >> shift_;
          return value < low_ ? low_ : value > high_ ? high_ : value;
        },
        a);
  }

 private:
  unsigned shift_;
  std::int64_t low_;
  std::int64_t high_;
};

/// Sums in 64 bits.
class Sum64 {
 public:
  Sum64() : sum_(0) {}

  void add(I32 a) {
    for (const std::uint32_t lane : a.lanes) {
      sum_ += as_signed(lane);
    }
  }
  void add_unsigned(I32 a) {
    for (const std::uint32_t lane : a.lanes) {
      sum_ += lane;
    }
  }
  void add_squares(I32 a) {
    for (const std::uint32_t lane : a.lanes) {
      sum_ += std::int64_t{as_signed(lane)} * as_signed(lane);
    }
  }

  std::int64_t total() const { return sum_; }

 private:
  std::int64_t sum_;
};

// --- bytes ---

struct U8 {
  std::uint8_t lanes[kBytes];

  static U8 load(const void* at) {
    U8 to;
    __builtin_memcpy(to.lanes, at, sizeof(to.lanes));
    return to;
  }
  void store(void* at) const { __builtin_memcpy(at, lanes, sizeof(lanes)); }
  /// Of the value's low eight bits.
  static U8 all(unsigned value) {
    return map<U8>([&](auto) { return value; }, U8{});
  }
  /// kBytes codes of four bits.
  static U8 load_nibbles(const std::uint8_t* at) {
    U8 to;
    for (std::size_t i = 0; i < kBytes; ++i) {
      to.lanes[i] = static_cast<std::uint8_t>(at[i / 2] >> i % 2 * 4 & 15);
    }
    return to;
  }

  U8 operator+(U8 b) const {
    return map<U8>([](auto x, auto y) { return x + y; }, *this, b);
  }
  U8 operator-(U8 b) const {
    return map<U8>([](auto x, auto y) { return x - y; }, *this, b);
  }
  U8 operator|(U8 b) const {
    return map<U8>([](auto x, auto y) { return x | y; }, *this, b);
  }
  /// The bits of a that b has not.
  U8 and_not(U8 b) const {
    return map<U8>([](auto x, auto y) { return x & ~y; }, *this, b);
  }
  U8 min(U8 b) const {
    return map<U8>([](auto x, auto y) { return x < y ? x : y; }, *this, b);
  }
  U8 add_saturating(U8 b) const {
    return map<U8>([](auto x, auto y) { return clamped<std::uint8_t>(x + y); }, *this, b);
  }
  /// By at most 8.
  U8 shift_right(unsigned shift) const {
    return map<U8>([&](auto x) { return x >> shift; }, *this);
  }
  void add_to(Sum64& sum) const {
    for (std::size_t first = 0; first < kBytes; first += kValues) {
      I32 values = {};
      for (std::size_t i = 0; i < kValues; ++i) {
        values.lanes[i] = lanes[first + i];
      }
      sum.add(values);
    }
  }
  /// sums += four bytes each, which are signed.
  I32 add_fours_to(I32 sums) const {
    for (std::size_t i = 0; i < kBytes; ++i) {
      sums.lanes[i / 4] += static_cast<std::uint32_t>(static_cast<std::int8_t>(lanes[i]));
    }
    return sums;
  }
  /// Entries of sixteen; 0 where the index is larger.
  static U8 look_up_16(const std::uint8_t* entries, U8 index) {
    return map<U8>([&](auto i) { return i < 16 ? entries[i] : 0; }, index);
  }
  /// Instruction sets pack in an order of their own; this function restores the order of memory.
  /// Functions on single bytes may be called before it.
  U8 in_order() const { return *this; }
};

/// Keeps the values in registers, and hides them from the compiler's optimizations.
inline void keep_in_registers(I32& a, U8& b) {
  asm volatile("" : "+m"(a), "+m"(b));
}

// --- between them ---

struct U16 {
  std::uint16_t lanes[kBytes];

  static U16 all(std::int32_t value) {
    return map<U16>([&](auto) { return value; }, U16{});
  }
  /// Clamped to [0, 65535].
  static U16 pack(const I32 (&values)[4]) {
    U16 to;
    for (std::size_t i = 0; i < kBytes; ++i) {
      to.lanes[i] = clamped<std::uint16_t>(as_signed(values[i / kValues].lanes[i % kValues]));
    }
    return to;
  }

  U16 min(U16 b) const {
    return map<U16>([](auto x, auto y) { return x < y ? x : y; }, *this, b);
  }
  /// Clamped to [0, 255]; of values below 2^15.
  U8 packed() const {
    return map<U8>([](auto x) { return clamped<std::uint8_t>(x); }, *this);
  }
};

/// Rows of fours of bytes become columns.
inline void transpose(U8 (&rows)[kValues]) {
  U8 columns[kValues];
  for (std::size_t r = 0; r < kValues; ++r) {
    for (std::size_t c = 0; c < kValues; ++c) {
      __builtin_memcpy(columns[c].lanes + 4 * r, rows[r].lanes + 4 * c, 4);
    }
  }
  __builtin_memcpy(rows, columns, sizeof(columns));
}

/// Four rows become one: the first bytes of all, then the second ones, and so on.
inline void interleave(U8 (&rows)[4]) {
  U8 all[4];
  for (std::size_t i = 0; i < 4 * kBytes; ++i) {
    all[i / kBytes].lanes[i % kBytes] = rows[i % 4].lanes[i / 4];
  }
  __builtin_memcpy(rows, all, sizeof(all));
}

}  // namespace
}  // namespace bitlog2::runtime

#include "partial_bytes.h"
#include "partial_lanes.h"
