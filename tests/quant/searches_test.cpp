// Searches find the same for values that come in parts as for all values at once.
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>

#include "quant/affine_search.h"
#include "quant/attention/scheme.h"
#include "quant/codebook_fit.h"
#include "quant/histogram.h"
#include "quant/range_search.h"
#include "quant/tails.h"

namespace bitlog2::quant {
namespace {

std::vector<float> normal_values(std::size_t count, unsigned seed) {
  std::mt19937 generator(seed);
  std::normal_distribution<float> normal(0.3F, 1.0F);
  std::vector<float> values(count);
  std::generate(values.begin(), values.end(), [&] { return normal(generator); });
  return values;
}

/// Calls add() with parts of at most `part` values.
template <class Add>
void in_parts(std::span<const float> values, std::size_t part, Add add) {
  for (std::size_t start = 0; start < values.size(); start += part) {
    add(values.subspan(start, std::min(part, values.size() - start)));
  }
}

RC_GTEST_PROP(Tails, AreTheSortedEnds, (const std::vector<float>& drawn)) {
  RC_PRE(!drawn.empty());
  ThreadPool pool(2);
  const auto share = *rc::gen::element(0.0, 0.001, 0.1, 0.5);
  const auto part = *rc::gen::inRange<std::size_t>(1, drawn.size() + 1);
  Tails tails(drawn.size(), share);
  in_parts(drawn, part, [&](std::span<const float> values) { tails.add(values, pool); });
  tails.finish();
  std::vector<float> sorted = drawn;
  std::ranges::sort(sorted);
  RC_ASSERT(tails.minimum() == sorted.front());
  RC_ASSERT(tails.maximum() == sorted.back());
  for (const double p : {share, 1 - share}) {
    const double rank = p * static_cast<double>(sorted.size() - 1);
    const float value = tails.quantile(p);
    RC_ASSERT(value >= sorted[static_cast<std::size_t>(std::max(std::floor(rank - 0.01), 0.0))]);
    RC_ASSERT(
        value <=
        sorted[std::min(static_cast<std::size_t>(std::ceil(rank + 0.01)), sorted.size() - 1)]);
  }
}

TEST(Tails, OfManyValuesInParts) {
  ThreadPool pool(2);
  const auto values = normal_values(1'300'000, 1);
  Tails tails(values.size(), 0.001);
  in_parts(values, 700'001, [&](std::span<const float> part) { tails.add(part, pool); });
  tails.finish();
  EXPECT_EQ(tails.minimum(), std::ranges::min(values));
  EXPECT_EQ(tails.maximum(), std::ranges::max(values));
  for (const double p : {0.0005, 0.9995}) {
    std::vector<float> sorted = values;
    const auto rank = static_cast<std::ptrdiff_t>(p * static_cast<double>(values.size() - 1));
    std::ranges::nth_element(sorted, sorted.begin() + rank);
    EXPECT_NEAR(tails.quantile(p), sorted[static_cast<std::size_t>(rank)], 1e-3);
  }
}

TEST(AffineSearch, FindsTheSameInParts) {
  ThreadPool pool(2);
  const auto values = normal_values(100'000, 2);
  for (const int bits : {2, 4, 8}) {
    const Affine whole = calibrate_affine(values, bits, pool);
    AffineSearch search(values.size(), bits);
    int passes = 0;
    do {
      in_parts(values, 7'777, [&](std::span<const float> part) { search.add(part, pool); });
      ++passes;
    } while (search.next_pass());
    EXPECT_EQ(passes, 2);
    EXPECT_EQ(search.found().scale, whole.scale) << bits;
    EXPECT_EQ(search.found().zero_point, whole.zero_point) << bits;
  }
}

TEST(AffineSearch, OfAConstantNeedsOnePass) {
  ThreadPool pool(1);
  AffineSearch search(100, 4);
  search.add(std::vector<float>(100, 0.7F), pool);
  EXPECT_FALSE(search.next_pass());
  float value = 0.7F;
  fake_quantize(search.found(), std::span(&value, 1));
  EXPECT_EQ(value, 0.7F);
}

TEST(ColumnSearch, FindsTheSameInParts) {
  ThreadPool pool(2);
  constexpr std::size_t kColumns = 19;
  auto values = normal_values(kColumns * 501, 3);
  for (std::size_t i = 0; i < values.size(); ++i) {
    values[i] *= static_cast<float>(i % kColumns);  // the first column is constant
  }
  const Affine whole = calibrate_columns(values, kColumns, 4, pool);
  ColumnSearch search(501, kColumns, 4);
  do {
    in_parts(values, 100 * kColumns, [&](std::span<const float> part) { search.add(part, pool); });
  } while (search.next_pass());
  EXPECT_EQ(search.found().scale, whole.scale);
  EXPECT_EQ(search.found().zero_point, whole.zero_point);
}

TEST(RangeSearch, FindsTheSameInParts) {
  const auto values = normal_values(200'000, 4);
  const std::vector<float> weights = {1.0F, 0.5F, 3.0F, 0.1F};
  RangeSearch search(values.size(), weights);
  in_parts(values, 4 * 1'111, [&](std::span<const float> part) { search.add(part); });
  const Range whole = search_range(values, weights, 4);
  EXPECT_EQ(search.range(4).low, whole.low);
  EXPECT_EQ(search.range(4).high, whole.high);
}

RC_GTEST_PROP(Histogram, HoldsAllWeightWithinABin, ()) {
  ThreadPool pool(2);
  const auto count = *rc::gen::inRange<std::size_t>(1, 3000);
  const auto seed = *rc::gen::arbitrary<unsigned>();
  const auto scale = *rc::gen::element(1e-20F, 1.0F, 1e20F);
  auto values = normal_values(count, seed);
  for (float& value : values) {
    value *= scale;
  }
  const float one = 1.0F;
  Histogram histogram;
  in_parts(values, *rc::gen::inRange<std::size_t>(1, count + 1),
           [&](std::span<const float> part) { histogram.add(part, std::span(&one, 1), pool); });
  const auto [low, high] = std::ranges::minmax(values);
  RC_ASSERT(histogram.low() == low);
  RC_ASSERT(histogram.high() == high);
  RC_ASSERT(histogram.total() == static_cast<double>(count));
  // The sum of the values and that of their bins' centres differ by up to half a bin per value.
  double exact = 0;
  for (const float value : values) {
    exact += value;
  }
  double binned = 0;
  for (std::size_t bin = 0; bin < histogram.bins(); ++bin) {
    binned += histogram.weight(bin) * histogram.centre(bin);
  }
  const double width =
      std::max({static_cast<double>(high) - low, std::fabs(static_cast<double>(low)),
                std::fabs(static_cast<double>(high))}) /
      4096;
  RC_ASSERT(std::fabs(binned - exact) <= width * static_cast<double>(count));
}

TEST(Histogram, WeighsColumnsAndMergesScaled) {
  ThreadPool pool(1);
  Histogram histogram;
  histogram.add(std::vector<float>{1.0F, 10.0F, 2.0F, 20.0F}, std::vector<float>{1.0F, 0.25F},
                pool);
  EXPECT_EQ(histogram.total(), 2.5);
  EXPECT_NEAR(histogram.root_mean_square(), std::sqrt((1 + 4 + 0.25 * (100 + 400)) / 2.5), 0.02);
  Histogram merged;
  merged.add_scaled(histogram, 0.5);
  merged.add_scaled(histogram, 2.0);
  EXPECT_NEAR(merged.low(), 0.5, 1e-6);
  EXPECT_NEAR(merged.high(), 40, 1e-4);
  EXPECT_EQ(merged.total(), 5.0);
}

TEST(Histogram, OfNoNumbersIsSeen) {
  ThreadPool pool(1);
  const float one = 1.0F;
  Histogram histogram;
  histogram.add(std::vector<float>{1.0F, std::numeric_limits<float>::infinity()},
                std::span(&one, 1), pool);
  EXPECT_FALSE(std::isfinite(histogram.high()));
  EXPECT_ANY_THROW(fit_codebook(histogram, 4));
}

TEST(AttentionSearch, FindsTheSameInParts) {
  ThreadPool pool(2);
  auto probabilities = normal_values(120'000, 5);
  for (float& value : probabilities) {
    value = std::min(std::exp(-4 * std::fabs(value)), 1.0F);
  }
  for (const AttentionScheme& scheme : kAttentionSchemes) {
    const AttentionQuantizer whole = calibrate_attention(scheme, 4, probabilities, pool);
    const auto search = scheme.method->search(whole, probabilities.size());
    do {
      in_parts(probabilities, 9'999, [&](std::span<const float> part) { search->add(part, pool); });
    } while (search->next_pass());
    EXPECT_EQ(search->delta(), whole.delta) << scheme.name;
  }
}

}  // namespace
}  // namespace bitlog2::quant
