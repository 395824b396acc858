// Fixed-point arithmetic: rounding shifts, the square root, powers of two, logarithms. Every result
// is defined exactly, so that every machine computes the same bits. docs/integer-inference.md has
// the equations.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <limits>

namespace bitlog2::runtime {

/// A condition that open() and lowering have checked. Debug builds stop where it does not hold.
constexpr void assert_proven([[maybe_unused]] bool holds) {
#ifndef NDEBUG
  if (!holds) {
    __builtin_trap();
  }
#endif
}

/// Bits of `value` without leading zeros; 0 for 0.
constexpr int bit_width(std::uint64_t value) {
  return 64 - std::countl_zero(value);
}

/// value / 2^shift, rounded half up; shift in 1..62.
constexpr std::int64_t round_shift(std::int64_t value, unsigned shift) {
  assert_proven(shift >= 1 && shift <= 62);
  // NOLINTNEXTLINE(clang-analyzer-core.UndefinedBinaryOperatorResult): shift is 1 or more
  return (value + (std::int64_t{1} << (shift - 1))) >> shift;
}

constexpr std::int64_t clamp(std::int64_t value, std::int64_t low, std::int64_t high) {
  return value < low ? low : value > high ? high : value;
}

/// (value * multiplier + offset) / 2^shift, rounded down. With 2^(shift - 1) added to the offset it
/// is rounded half up. |value| and |multiplier| are below 2^31, |offset| at most 2^62.
constexpr std::int64_t rescaled(std::int32_t value, std::int32_t multiplier, std::int64_t offset,
                                unsigned shift) {
  const std::int64_t product = std::int64_t{value} * multiplier;
  [[maybe_unused]] std::int64_t sum = 0;
  assert_proven(!__builtin_add_overflow(product, offset, &sum));
  return (product + offset) >> shift;
}

/// The offset of rescaled() for a bias, with the half for rounding.
constexpr std::int64_t rounding_offset(std::int32_t bias, unsigned bias_shift, unsigned shift) {
  return (std::int64_t{bias} << bias_shift) + (std::int64_t{1} << (shift - 1));
}

constexpr std::int32_t saturate(std::int64_t value, std::uint64_t& saturations) {
  constexpr std::int64_t kLow = std::numeric_limits<std::int32_t>::min();
  constexpr std::int64_t kHigh = std::numeric_limits<std::int32_t>::max();
  saturations += value < kLow || value > kHigh ? 1 : 0;
  return static_cast<std::int32_t>(clamp(value, kLow, kHigh));
}

/// floor(sqrt(value)), bit by bit.
constexpr std::uint32_t square_root(std::uint64_t value) {
  std::uint64_t root = 0;
  for (std::uint64_t bit = std::uint64_t{1} << 62; bit != 0; bit >>= 2) {
    if (value >= root + bit) {
      value -= root + bit;
      root = (root >> 1) + bit;
    } else {
      root >>= 1;
    }
  }
  return static_cast<std::uint32_t>(root);
}

/// floor(sqrt(value)) of a value in [2^60, 2^62), in three steps of Newton's method.
constexpr std::uint32_t square_root_of_62_bits(std::uint64_t value) {
  // 3/8 + 2/3 m is within 4 % of the root of m = value / 2^62; every step squares the error.
  std::uint64_t root = (std::uint64_t{3} << 28) + (value >> 32) * 4 / 3;
  for (int step = 0; step < 3; ++step) {
    root = (root + value / root) >> 1;
  }
  while (root * root > value) {
    --root;
  }
  while ((root + 1) * (root + 1) <= value) {
    ++root;
  }
  return static_cast<std::uint32_t>(root);
}

/// An entry of the table of powers of two. Between two entries, power_of_two() is a parabola
/// through both.
struct PowerEntry {
  std::uint32_t value;  // 2^(30 - i/32)
  std::uint32_t step;   // (value - the next entry's value) / 16, rounded to nearest
};

/// Entries i in 0..31. 2^(-i/32) is the product of those of the five roots 2^(-1/2), 2^(-1/4), ...
/// that the bits of i select.
constexpr std::array<PowerEntry, 32> make_power_table() {
  std::array<std::uint64_t, 5> roots = {};  // 2^(-2^k / 32) with 31 fraction bits
  std::uint64_t root = std::uint64_t{1} << 30;
  for (std::size_t k = 5; k-- > 0;) {
    root = square_root(root << 31);
    roots[k] = root;
  }
  std::array<PowerEntry, 32> table = {};
  for (std::size_t i = 0; i < 32; ++i) {
    std::uint64_t power = std::uint64_t{1} << 31;
    for (std::size_t k = 0; k < 5; ++k) {
      power = (i >> k & 1) != 0 ? (power * roots[k] + (1U << 30)) >> 31 : power;
    }
    table[i].value = static_cast<std::uint32_t>((power + 1) >> 1);
  }
  for (std::size_t i = 0; i < 32; ++i) {
    const std::uint32_t next = i < 31 ? table[i + 1].value : 1U << 29;
    table[i].step = (table[i].value - next + 8) >> 4;
  }
  return table;
}

inline constexpr std::array<PowerEntry, 32> kPowerTable = make_power_table();

inline constexpr std::uint32_t kSag = 245;  // (ln 2 / 32)^2 / 2, 20 fraction bits

/// 2^(30 - exponent / 2^16), with a relative error of 5e-7: the line between two entries, minus t
/// (1 - t) (ln 2 / 32)^2 / 2, the distance of the curve below it (sag).
constexpr std::uint32_t power_of_two(std::uint32_t exponent) {
  const std::uint32_t whole = exponent >> 16;
  if (whole > 30) {
    return 0;
  }
  const PowerEntry& entry = kPowerTable[exponent >> 11 & 31];
  const std::uint32_t rest = exponent & 2047;
  const std::uint32_t line = entry.step * rest >> 7;
  const std::uint32_t bow = rest * (2048 - rest) >> 8;  // t (1 - t), 14 fraction bits
  const std::uint32_t sag = bow * (entry.value >> 18) * kSag >> 16;
  return (entry.value - line - sag) >> whole;
}

/// log2(value / 2^30) with 16 fraction bits, rounded down; value >= 2^30. Each squaring gives one
/// bit of the fraction.
constexpr std::int32_t log2_of_sum(std::uint64_t value) {
  const int position = bit_width(value) - 1;
  // The mantissa, in [1, 2), with 31 fraction bits.
  std::uint64_t mantissa = position >= 31 ? value >> (position - 31) : value << (31 - position);
  std::int32_t result = position - 30;
  for (int bit = 0; bit < 16; ++bit) {
    mantissa = mantissa * mantissa >> 31;
    const bool is_two_or_more = mantissa >> 32 != 0;
    result = result * 2 + (is_two_or_more ? 1 : 0);
    mantissa >>= is_two_or_more ? 1 : 0;
  }
  return result;
}

}  // namespace bitlog2::runtime
