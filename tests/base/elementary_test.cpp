#include "base/elementary.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <numbers>

namespace bitlog2::elementary {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

RC_GTEST_PROP(Elementary, IsNearTheLibrarysFunctions, ()) {
  const double x = static_cast<double>(*rc::gen::inRange(-40'000'000, 40'000'001)) / 1e6;
  RC_ASSERT(std::fabs(exp(x) / std::exp(x) - 1) < 4e-15);
  RC_ASSERT(std::fabs(exp2(x) / std::exp2(x) - 1) < 4e-15);
  const double positive = std::exp(x);
  RC_ASSERT(std::fabs(log(positive) - std::log(positive)) < 4e-15 * std::fmax(1, std::fabs(x)));
  RC_ASSERT(std::fabs(log2(positive) - std::log2(positive)) < 4e-15 * std::fmax(1, std::fabs(x)));
  RC_ASSERT(std::fabs(erf(x / 8) - std::erf(x / 8)) < 4e-15);
  RC_ASSERT(std::fabs(tanh(x / 8) - std::tanh(x / 8)) < 4e-15);
  const auto steps = *rc::gen::inRange<std::size_t>(1, 5000);
  const auto step = *rc::gen::inRange<std::size_t>(0, steps);
  const double angle =
      2 * std::numbers::pi * static_cast<double>(step) / static_cast<double>(steps);
  RC_ASSERT(std::fabs(turn(step, steps).cosine - std::cos(angle)) < 4e-15);
  RC_ASSERT(std::fabs(turn(step, steps).sine - std::sin(angle)) < 4e-15);
}

TEST(ElementaryAtTheEdges, IsExactOrInfinite) {
  for (int n = -300; n <= 300; ++n) {
    EXPECT_EQ(log2(std::ldexp(1.0, n)), n);
    EXPECT_EQ(exp2(n), std::ldexp(1.0, n));
  }
  EXPECT_EQ(exp(0), 1);
  EXPECT_EQ(exp(710), kInfinity);
  EXPECT_EQ(exp(kInfinity), kInfinity);
  EXPECT_EQ(exp(-746), 0);
  EXPECT_EQ(exp(-kInfinity), 0);
  EXPECT_TRUE(std::isnan(exp(std::nan(""))));
  EXPECT_EQ(log(1), 0);
  EXPECT_EQ(erf(0), 0);
  EXPECT_EQ(erf(7), 1);
  EXPECT_EQ(erf(-kInfinity), -1);
  EXPECT_EQ(tanh(-1000), -1);
  EXPECT_EQ(turn(0, 8).cosine, 1);
  EXPECT_EQ(turn(2, 8).sine, 1);
  EXPECT_EQ(turn(4, 8).cosine, -1);
}

/// A digest of all bits of many results, which must be the same on every machine.
TEST(ElementaryBits, AreTheSameOnEveryMachine) {
  std::uint64_t digest = 0;
  const auto add = [&](double value) {
    digest = std::rotl(digest, 9) ^ std::bit_cast<std::uint64_t>(value);
  };
  for (int i = -5000; i < 5000; ++i) {
    const double x = i / 250.0;
    add(exp(x));
    add(exp2(x));
    add(erf(x));
    add(tanh(x));
    add(log(x + 21));
    add(log2(x + 21));
    add(turn(static_cast<std::size_t>(i + 5000), 10001).cosine);
  }
  EXPECT_EQ(digest, 2285432883340724801U);
}

}  // namespace
}  // namespace bitlog2::elementary
