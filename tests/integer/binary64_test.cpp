// Numbers of 64 bits, computed in integers, against the hardware's; and the resize's weights, made
// of either.
#include "integer/runtime/binary64.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstdint>
#include <random>
#include <vector>

#include "integer/runtime/resized_side.h"

namespace bitlog2::runtime {
namespace {

/// The same number, from its parts.
Binary64 of(double value) {
  int exponent = 0;
  const double fraction = std::frexp(std::fabs(value), &exponent);
  const auto mantissa = static_cast<std::int64_t>(std::ldexp(fraction, 53));
  Binary64 result = Binary64::integer(value < 0 ? -mantissa : mantissa);
  const int shift = exponent - 53;
  for (int i = 0; i < shift; ++i) {
    result = result * Binary64::integer(2);
  }
  for (int i = shift; i < 0; ++i) {
    result = result * Binary64::ratio(1, 2);
  }
  return result;
}

bool same(const Binary64& ours, double hardware) {
  const Binary64 expected = of(hardware);
  return !(ours < expected) && !(expected < ours);
}

/// Of all signs and exponents of some size, with few or many bits set, so that halves occur.
double draw(std::mt19937_64& random) {
  const int bits = static_cast<int>(random() % 54);
  const double mantissa = static_cast<double>(random() >> 11 >> (53 - bits));
  const double value = std::ldexp(mantissa, static_cast<int>(random() % 80) - 60);
  return random() % 2 == 0 ? value : -value;
}

TEST(Binary64, IsTheHardwaresArithmetic) {
  std::mt19937_64 random(5);
  for (int i = 0; i < 300000; ++i) {
    const double x = draw(random);
    // Every other pair is close, so that differences cancel.
    const double y = i % 2 == 0 ? draw(random) : x * (1 + std::ldexp(draw(random), -60));
    const Binary64 a = of(x);
    const Binary64 b = of(y);
    ASSERT_TRUE(same(a + b, x + y)) << x << " + " << y;
    ASSERT_TRUE(same(a - b, x - y)) << x << " - " << y;
    ASSERT_TRUE(same(a * b, x * y)) << x << " * " << y;
    if (y != 0) {
      ASSERT_TRUE(same(a / b, x / y)) << x << " / " << y;
    }
    ASSERT_EQ(a < b, x < y) << x << " < " << y;
    ASSERT_EQ(a.is_negative(), x < 0) << x;
    ASSERT_TRUE(same(a.magnitude(), std::fabs(x))) << x;
    if (std::fabs(x) < 0x1p62) {
      ASSERT_EQ(a.truncated(), static_cast<std::int64_t>(x)) << x;
    }
  }
}

TEST(Binary64, RatiosAndIntegersAreRounded) {
  std::mt19937_64 random(6);
  for (int i = 0; i < 300000; ++i) {
    const std::uint64_t n = random() >> random() % 64;
    const std::uint64_t d = (random() >> random() % 64) | 1;
    if (n < 1ULL << 53 && d < 1ULL << 53) {
      ASSERT_TRUE(same(Binary64::ratio(n, d), static_cast<double>(n) / static_cast<double>(d)))
          << n << " / " << d;
    }
    ASSERT_TRUE(same(Binary64::ratio(n, 1), static_cast<double>(n))) << n;
    const auto integer = static_cast<std::int64_t>(random()) >> random() % 64;
    ASSERT_TRUE(same(Binary64::integer(integer), static_cast<double>(integer))) << integer;
  }
}

/// The hardware's numbers behind the same interface.
class Hardware {
 public:
  constexpr Hardware() = default;
  constexpr explicit Hardware(double value) : value_(value) {}
  static constexpr Hardware integer(std::int64_t value) {
    return Hardware(static_cast<double>(value));
  }
  static constexpr Hardware ratio(std::uint64_t numerator, std::uint64_t denominator) {
    return Hardware(static_cast<double>(numerator) / static_cast<double>(denominator));
  }
  friend constexpr Hardware operator-(Hardware x) { return Hardware(-x.value_); }
  friend constexpr Hardware operator+(Hardware x, Hardware y) {
    return Hardware(x.value_ + y.value_);
  }
  friend constexpr Hardware operator-(Hardware x, Hardware y) {
    return Hardware(x.value_ - y.value_);
  }
  friend constexpr Hardware operator*(Hardware x, Hardware y) {
    return Hardware(x.value_ * y.value_);
  }
  friend constexpr Hardware operator/(Hardware x, Hardware y) {
    return Hardware(x.value_ / y.value_);
  }
  friend constexpr bool operator<(Hardware x, Hardware y) { return x.value_ < y.value_; }
  constexpr bool is_negative() const { return value_ < 0; }
  Hardware magnitude() const { return Hardware(std::fabs(value_)); }
  constexpr std::int64_t truncated() const { return static_cast<std::int64_t>(value_); }

 private:
  double value_ = 0;
};

/// Compares every `step`-th output's inputs and weights.
void expect_same_weights(std::size_t input, std::uint32_t output, std::size_t step) {
  const ResizedSide<Binary64> ours(input, output, output);
  const ResizedSide<Hardware> expected(input, output, output);
  std::vector<Binary64> exact(ours.most_inputs());
  std::vector<Hardware> expected_exact(ours.most_inputs());
  std::vector<std::int32_t> weights(ours.most_inputs());
  std::vector<std::int32_t> expected_weights(ours.most_inputs());
  for (std::size_t i = 0; i < output; i += step) {
    const InputRun run = ours.inputs_of(i, exact.data(), weights.data());
    const InputRun expected_run =
        expected.inputs_of(i, expected_exact.data(), expected_weights.data());
    ASSERT_EQ(run.first, expected_run.first) << input << " to " << output << ": " << i;
    ASSERT_EQ(run.count, expected_run.count) << input << " to " << output << ": " << i;
    ASSERT_LE(run.count, ours.most_inputs());
    ASSERT_GE(run.count, 1U);
    ASSERT_LE(run.first + run.count, input);
    ASSERT_TRUE(std::equal(weights.begin(),
                           weights.begin() + static_cast<std::ptrdiff_t>(run.count),
                           expected_weights.begin()))
        << input << " to " << output << ": " << i;
  }
}

TEST(ResizedSide, WeightsOfEverySizeAreTheHardwares) {
  // Published models resize to these; 37 has weights that are in no power of two.
  constexpr std::array<std::uint32_t, 5> kResized = {256, 248, 235, 224, 37};
  for (std::size_t input = 1; input <= 4096; ++input) {
    // The sizes take turns, as do the outputs: all of them would take minutes.
    expect_same_weights(input, kResized[input % kResized.size()], 13 + input % 5);
  }
  for (const std::uint32_t resized : kResized) {
    for (const std::size_t input : {1U, 2U, 100U, 333U, 375U, 500U, 512U, 640U, 1024U, 4000U}) {
      expect_same_weights(input, resized, 1);
    }
  }
  expect_same_weights(65536, 224, 16);
  expect_same_weights(3, 4096, 7);
}

}  // namespace
}  // namespace bitlog2::runtime
