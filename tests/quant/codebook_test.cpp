// Codebooks, and BitLog2 with other numbers of bits than the published one.
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <random>
#include <set>

#include "bitlog2/error.h"
#include "bitlog2/quantizers.h"
#include "quant/attention/bitlog2.h"

namespace bitlog2 {
namespace {

/// Values like GELU's outputs: a short negative part and a long tail.
std::vector<float> gelu_outputs(std::uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(-0.5F, 1.2F);
  std::vector<float> values(20000);
  for (float& value : values) {
    const float x = normal(random);
    value = x / 2 * (1 + std::erf(x / std::sqrt(2.0F)));
  }
  return values;
}

template <class Quantizer>
double squared_error(const Quantizer& quantizer, std::vector<float> values) {
  const std::vector<float> before = values;
  fake_quantize(quantizer, values);
  double sum = 0;
  for (std::size_t i = 0; i < values.size(); ++i) {
    sum += (values[i] - before[i]) * (values[i] - before[i]);
  }
  return sum;
}

RC_GTEST_PROP(Codebooks, EachValueGoesToItsNearestLevel, ()) {
  auto chosen = *rc::gen::container<std::set<int>>(rc::gen::inRange(-100, 156));
  RC_PRE(chosen.size() >= 2U);
  const float scale = static_cast<float>(*rc::gen::inRange(1, 1000)) * 1e-3F;
  const Codebook codebook = {scale, {chosen.begin(), chosen.end()}};
  const float x = static_cast<float>(*rc::gen::inRange(-200000, 200000)) * 1e-3F * scale;
  std::vector<float> value = {x};
  fake_quantize(codebook, value);
  for (const std::int16_t level : codebook.levels) {
    RC_ASSERT(std::fabs(value[0] - x) <=
              std::fabs(static_cast<float>(level) * scale - x) + 1e-4F * scale);
  }
}

RC_GTEST_PROP(Codebooks, DivideTheStepsAmongLevels, ()) {
  const int bits = *rc::gen::inRange(2, 8);
  const int span = *rc::gen::element(170, kLargestLevelSpan);
  auto values = gelu_outputs(*rc::gen::arbitrary<std::uint32_t>());
  values.resize(*rc::gen::inRange<std::size_t>(2, 3000));
  const auto book = calibrate_codebook(values, std::vector<float>{1.0F}, bits, span);
  RC_ASSERT(book.levels.size() == std::size_t{1} << bits);
  RC_ASSERT(book.begins.size() == book.levels.size());
  RC_ASSERT(book.levels.back() - book.levels.front() <= span);
  RC_ASSERT(book.begins.front() <= book.levels.front());
  for (std::size_t i = 1; i < book.levels.size(); ++i) {
    RC_ASSERT(book.levels[i - 1] < book.begins[i]);
    RC_ASSERT(book.begins[i] <= book.levels[i]);
  }
  const auto by_step = levels_of_steps(book);
  RC_ASSERT(std::set<std::int16_t>(by_step.begin(), by_step.end()).size() == book.levels.size());
  // Every value gets the level of its step.
  std::vector<float> quantized = values;
  fake_quantize(book, quantized);
  for (std::size_t i = 0; i < values.size(); ++i) {
    const int step =
        std::clamp(static_cast<int>(std::rint(values[i] * (1 / book.scale))),
                   static_cast<int>(book.levels.front()), static_cast<int>(book.levels.back()));
    const auto level = by_step[static_cast<std::size_t>(step - book.levels.front())];
    RC_ASSERT(quantized[i] == static_cast<float>(level) * book.scale);
  }
}

TEST(Codebooks, FitAByteAndBeatEvenSteps) {
  const std::vector<float> one = {1.0F};
  ThreadPool pool(1);
  for (int bits = 2; bits <= 8; ++bits) {
    const auto values = gelu_outputs(static_cast<std::uint32_t>(bits));
    const Codebook book = calibrate_codebook(values, one, bits);
    EXPECT_EQ(book.levels.size(), std::size_t{1} << bits);
    EXPECT_TRUE(std::ranges::is_sorted(book.levels, std::less_equal<>()));
    EXPECT_LE(book.levels.back() - book.levels.front(), kLargestLevelSpan);
    if (bits <= 6) {
      EXPECT_LT(squared_error(book, values),
                squared_error(calibrate_affine(values, bits, pool), values))
          << bits;
    }
  }
}

TEST(Codebooks, InfiniteValuesAreRefused) {
  const std::vector<float> values = {0.0F, std::numeric_limits<float>::infinity()};
  EXPECT_THROW(calibrate_codebook(values, std::vector<float>{1.0F}, 4), Error);
}

TEST(Codebooks, ConstantsAreExact) {
  for (const float constant : {0.0F, 1.5F}) {
    const std::vector<float> values(64, constant);
    const Codebook book = calibrate_codebook(values, std::vector<float>{1.0F}, 4);
    EXPECT_GT(book.scale, 0.0F);
    EXPECT_LT(squared_error(book, values), 1e-6);
  }
}

RC_GTEST_PROP(BitLog2Levels, NearestIsNearestAndMatchesTheFloats, ()) {
  quant::BitLog2Levels levels;
  levels.multiplier = *rc::gen::element(256, 384, 32768, 65536);
  levels.fraction_bits = *rc::gen::inRange(0, 4);
  levels.to_nearest = *rc::gen::arbitrary<bool>();
  const auto m = static_cast<std::uint32_t>(*rc::gen::inRange(0, levels.multiplier));
  const std::uint32_t rounded = levels.round(m);
  RC_ASSERT(rounded <= levels.largest());
  RC_ASSERT(levels.round(rounded) == rounded);
  if (!levels.to_nearest) {
    RC_ASSERT(rounded <= m);
  } else {
    for (std::uint32_t other : {m, m - m / 16, m + m / 16}) {
      const std::uint32_t level =
          levels.round(std::min(other, static_cast<std::uint32_t>(levels.multiplier) - 1U));
      const auto distance = [&](std::uint32_t to) {
        return std::abs(static_cast<std::int64_t>(m) - static_cast<std::int64_t>(to));
      };
      RC_ASSERT(distance(rounded) <= distance(level));
    }
  }
  std::vector<float> value = {static_cast<float>(m) / static_cast<float>(levels.multiplier)};
  const bool exact =
      std::floor(value[0] * static_cast<float>(levels.multiplier)) == static_cast<float>(m);
  quant::fake_quantize_bitlog2(levels, 1.0F, value);
  if (exact) {
    RC_ASSERT(value[0] == static_cast<float>(rounded));
  }
}

}  // namespace
}  // namespace bitlog2
