// The integer arithmetic, compared with the real numbers that it stands for.
#include "integer/runtime/fixed_point.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <cmath>
#include <limits>

namespace bitlog2::runtime {
namespace {

constexpr std::uint64_t kLargest = std::numeric_limits<std::uint64_t>::max();

bool is_root(std::uint64_t value) {
  const std::uint64_t root = square_root(value);
  return root * root <= value &&
         (root == std::numeric_limits<std::uint32_t>::max() || (root + 1) * (root + 1) > value);
}

TEST(FixedPoint, SquareRootIsExact) {
  for (std::uint64_t value = 0; value < 5000; ++value) {
    ASSERT_TRUE(is_root(value)) << value;
  }
  for (const std::uint64_t root : {65535ULL, 65536ULL, 4294967294ULL, 4294967295ULL}) {
    for (const int step : {-1, 0, 1}) {
      const std::uint64_t value = root * root + static_cast<std::uint64_t>(step);
      EXPECT_TRUE(is_root(value)) << value;
    }
  }
  EXPECT_EQ(square_root(kLargest), std::numeric_limits<std::uint32_t>::max());
  // Numbers of every size, not only large ones.
  EXPECT_TRUE(rc::check([](std::uint64_t value) {
    const unsigned shift = *rc::gen::inRange(0U, 64U);
    RC_ASSERT(is_root(value >> shift));
  }));
}

TEST(FixedPoint, BitWidthCountsBits) {
  EXPECT_EQ(bit_width(0), 0);
  for (int bit = 0; bit < 64; ++bit) {
    EXPECT_EQ(bit_width(std::uint64_t{1} << bit), bit + 1);
    EXPECT_EQ(bit_width(kLargest >> (63 - bit)), bit + 1);
  }
}

TEST(FixedPoint, BothSquareRootsAreOne) {
  for (const std::uint64_t value : {1ULL << 60, (1ULL << 60) + 1, (1ULL << 62) - 1, 3ULL << 60}) {
    EXPECT_EQ(square_root_of_62_bits(value), square_root(value)) << value;
  }
  EXPECT_TRUE(rc::check([] {
    const auto root = *rc::gen::inRange<std::uint64_t>(1ULL << 30, 1ULL << 31);
    for (const std::uint64_t value : {root * root, root * root + 2 * root}) {
      RC_ASSERT(square_root_of_62_bits(value) == root);
    }
    const std::uint64_t value = *rc::gen::inRange<std::uint64_t>(1ULL << 60, 1ULL << 62);
    RC_ASSERT(square_root_of_62_bits(value) == square_root(value));
  }));
}

double exact_power(std::uint32_t exponent) {
  return std::exp2(30.0 - exponent / 65536.0);
}

TEST(FixedPoint, PowerOfTwoIsCloseAndMonotone) {
  std::uint32_t last = power_of_two(0);
  EXPECT_EQ(last, 1U << 30);
  for (std::uint32_t exponent = 1; exponent < 32U << 16; ++exponent) {
    const std::uint32_t power = power_of_two(exponent);
    ASSERT_LE(power, last) << exponent;
    // For small powers, the error is the fraction that was cut off: up to 1.
    ASSERT_NEAR(power, exact_power(exponent), 2e-6 * exact_power(exponent) + 1) << exponent;
    last = power;
  }
}

TEST(FixedPoint, PowerOfTwoIsExactAtWholePowersAndZeroBeyond) {
  for (std::uint32_t whole = 0; whole <= 30; ++whole) {
    EXPECT_EQ(power_of_two(whole << 16), 1U << (30 - whole));
  }
  for (const std::uint32_t exponent : {31U << 16, 1000U << 16, 0xFFFFFFFFU}) {
    EXPECT_EQ(power_of_two(exponent), 0U);
  }
}

void check_log(std::uint64_t value) {
  const double exact = (std::log2(static_cast<double>(value)) - 30) * 65536;
  const double found = log2_of_sum(value);
  EXPECT_LE(found, exact + 1e-6) << value;
  EXPECT_GT(found + 1.01, exact) << value;
}

TEST(FixedPoint, LogarithmIsRoundedDown) {
  for (int bit = 30; bit < 63; ++bit) {
    EXPECT_EQ(log2_of_sum(std::uint64_t{1} << bit), (bit - 30) << 16);
    check_log((std::uint64_t{2} << bit) - 1);
  }
  EXPECT_TRUE(rc::check([] {
    const auto value = *rc::gen::arbitrary<std::uint64_t>();
    const unsigned shift = *rc::gen::inRange(1U, 34U);
    check_log((value >> shift) | (std::uint64_t{1} << 30));
  }));
}

TEST(FixedPoint, RoundShiftRoundsHalvesUp) {
  EXPECT_EQ(round_shift(5, 1), 3);
  EXPECT_EQ(round_shift(-5, 1), -2);
  EXPECT_EQ(round_shift(-6, 2), -1);
  EXPECT_EQ(round_shift(std::int64_t{1} << 62, 62), 1);
  EXPECT_TRUE(rc::check([](std::int64_t value) {
    const unsigned shift = *rc::gen::inRange(1U, 63U);
    value /= 4;  // products are not larger than this
    const std::int64_t rounded = round_shift(value, shift);
    // value + half = rounded * 2^shift + rest, 0 <= rest < 2^shift
    const std::int64_t rest =
        value + (std::int64_t{1} << (shift - 1)) - rounded * (std::int64_t{1} << shift);
    RC_ASSERT(rest >= 0);
    RC_ASSERT(rest < std::int64_t{1} << shift);
  }));
}

TEST(FixedPoint, RescaledTakesTheLargestFactors) {
  constexpr std::int32_t kTop = std::numeric_limits<std::int32_t>::max();
  constexpr std::int32_t kBottom = std::numeric_limits<std::int32_t>::min();
  EXPECT_EQ(rescaled(12345, 1 << 30, rounding_offset(0, 0, 30), 30), 12345);
  EXPECT_EQ(rescaled(-12345, 1 << 30, rounding_offset(0, 0, 30), 30), -12345);
  EXPECT_EQ(rescaled(kTop, kTop, rounding_offset(0, 0, 62), 62), 1);
  EXPECT_EQ(rescaled(-kTop, kTop, rounding_offset(0, 0, 62), 62), -1);
  EXPECT_EQ(rescaled(kTop, kTop, rounding_offset(kTop, 30, 62), 62), 1);
  EXPECT_EQ(rescaled(kBottom, kTop, rounding_offset(kBottom, 30, 62), 62), -1);
  EXPECT_EQ(rescaled(-7, 3, rounding_offset(21, 0, 1), 1), 0);
  EXPECT_EQ(rescaled(0, 3, rounding_offset(-5, 3, 3), 3), -5);
}

TEST(FixedPoint, SaturateCutsOffAndCounts) {
  std::uint64_t saturations = 0;
  constexpr std::int64_t kTop = std::numeric_limits<std::int32_t>::max();
  constexpr std::int64_t kBottom = std::numeric_limits<std::int32_t>::min();
  EXPECT_EQ(saturate(kTop, saturations), kTop);
  EXPECT_EQ(saturate(kBottom, saturations), kBottom);
  EXPECT_EQ(saturate(0, saturations), 0);
  EXPECT_EQ(saturations, 0U);
  EXPECT_EQ(saturate(kTop + 1, saturations), kTop);
  EXPECT_EQ(saturate(kBottom - 1, saturations), kBottom);
  EXPECT_EQ(saturate(std::numeric_limits<std::int64_t>::max(), saturations), kTop);
  EXPECT_EQ(saturations, 3U);
}

}  // namespace
}  // namespace bitlog2::runtime
