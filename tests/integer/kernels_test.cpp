// The portable kernels, compared with plain loops; and attention, compared with a softmax in
// float64 and the float quantizers. kernel_tables_test.cpp compares all other tables with the
// portable one.
#include "integer/runtime/kernels/kernels.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

#include "bitlog2/quantizers.h"
#include "integer/runtime/kernels/portable.h"
#include "quant/attention/scheme.h"

namespace bitlog2::runtime {
namespace {

template <class T>
std::vector<T> draw(std::mt19937& random, std::size_t count, int low, int high) {
  std::uniform_int_distribution<int> distribution(low, high);
  std::vector<T> values(count);
  std::generate(values.begin(), values.end(), [&] { return static_cast<T>(distribution(random)); });
  return values;
}

std::vector<std::uint8_t> pack(const std::vector<std::uint8_t>& codes, std::size_t columns) {
  const std::size_t rows = codes.size() / columns;
  const std::size_t row_bytes = (columns + 1) / 2;
  std::vector<std::uint8_t> packed(rows * row_bytes);
  for (std::size_t i = 0; i < codes.size(); ++i) {
    std::uint8_t& byte = packed[i / columns * row_bytes + i % columns / 2];
    byte = static_cast<std::uint8_t>(byte | codes[i] << (i % columns % 2 * 4));
  }
  return packed;
}

TEST(PortableKernels, ProductIsTheSumWhateverTheLayout) {
  std::mt19937 random(1);
  for (const std::size_t depth : {1U, 2U, 3U, 7U, 16U, 31U, 48U, 100U, 769U}) {
    for (const std::size_t channels : {1U, 5U, 16U, 33U, 64U}) {
      for (const bool nibbles : {false, true}) {
        const std::int32_t offset = nibbles ? 0 : 128;
        const auto codes = draw<std::uint8_t>(random, channels * depth, 0, nibbles ? 15 : 255);
        const auto packed = nibbles ? pack(codes, depth) : codes;
        std::vector<std::int8_t> memory(kPanelWidth * round_up(depth, kDepthStep));
        std::vector<std::int32_t> totals(kPanelWidth);
        const Panel panel = {memory.data(), depth, round_up(channels, kLane), 128};
        const std::size_t stride = nibbles ? (depth + 1) / 2 : depth;
        const std::vector<std::int32_t> offsets(channels, offset);
        portable::pack_rows({packed.data(), stride, nibbles}, channels, offsets.data(), panel,
                            totals.data());
        const auto inputs = draw<std::uint8_t>(random, 3 * depth + kInputSlack, 0, 255);
        std::vector<std::int32_t> sums(3 * kPanelWidth);
        portable::multiply({inputs.data(), depth, 255}, 3, panel, sums.data(), panel.width);
        for (std::size_t r = 0; r < 3; ++r) {
          for (std::size_t c = 0; c < panel.width; ++c) {
            std::int32_t sum = 0;
            std::int32_t total = 0;
            for (std::size_t k = 0; c < channels && k < depth; ++k) {
              sum += inputs[r * depth + k] * (codes[c * depth + k] - offset);
              total += codes[c * depth + k] - offset;
            }
            ASSERT_EQ(sums[r * panel.width + c], sum) << depth << " deep, channel " << c;
            ASSERT_EQ(totals[c], total);
          }
        }
      }
    }
  }
}

TEST(PortableKernels, RescaleCorrectsForZeroPoints) {
  EXPECT_TRUE(rc::check([] {
    const auto sum = *rc::gen::inRange(-(1 << 20), 1 << 20);
    const auto row_sum = *rc::gen::inRange(0, 1 << 10);
    const auto zero = *rc::gen::inRange(-4096, 4097);
    const auto multiplier = *rc::gen::inRange(0, 1 << 30);
    const auto offset = *rc::gen::inRange<std::int64_t>(-(1LL << 61), 1LL << 61);
    const auto shift = *rc::gen::inRange(1U, 63U);
    const std::vector<std::int32_t> zeros(kLane, zero);
    const std::vector<std::int32_t> constants(kLane, 17);
    const std::vector<std::int32_t> multipliers(kLane, multiplier);
    const std::vector<std::int64_t> offsets(kLane, offset);
    std::vector<std::int32_t> sums(kLane, sum);
    portable::rescale({zeros.data(), constants.data(), multipliers.data(), offsets.data(), shift,
                       -1000, 1000000, false},
                      {sums.data(), kLane, &row_sum, 1, kLane});
    const std::int64_t corrected = std::int64_t{sum} - std::int64_t{zero} * row_sum + 17;
    const std::int64_t exact = (corrected * multiplier + offset) >> shift;
    const auto expected = exact < -1000 ? -1000 : exact > 1000000 ? 1000000 : exact;
    RC_ASSERT(sums[3] == static_cast<std::int32_t>(expected));
  }));
}

TEST(PortableKernels, RoundedWeightKeepsTheHighestBits) {
  for (const std::uint32_t multiplier : {256U, 384U, 32768U, 65536U}) {
    for (std::uint32_t fraction = 0; fraction <= 7; ++fraction) {
      const AttentionRule down = {AttentionKind::bitlog2, multiplier, 0, fraction, false};
      const AttentionRule nearest = {AttentionKind::bitlog2, multiplier, 0, fraction, true};
      const auto is_weight = [&](std::uint32_t m) {
        const unsigned below = m < 2 ? 0U : static_cast<unsigned>(std::ilogb(m));
        return below <= fraction || m % (1U << (below - fraction)) == 0;
      };
      std::vector<std::uint32_t> weights;  // all possible weights
      for (std::uint32_t m = 0; m < multiplier; ++m) {
        if (is_weight(m)) {
          weights.push_back(m);
        }
      }
      for (std::uint32_t m = 0; m < multiplier; ++m) {
        const auto above = std::upper_bound(weights.begin(), weights.end(), m);
        const std::uint32_t lower = *(above - 1);
        const std::uint32_t upper = above == weights.end() ? lower : *above;
        ASSERT_EQ(portable::rounded_weight(portable::rounding_of(down), m), lower) << m;
        ASSERT_EQ(portable::rounded_weight(portable::rounding_of(nearest), m),
                  upper != lower && upper - m <= m - lower ? upper : lower)
            << m;
      }
    }
  }
}

// --- attention --------------------------------------------------------------------------

AttentionRule rule_of(const AttentionScheme& scheme, int bits,
                      const AttentionOptions& options = {}) {
  const IntegerAttention rule = scheme.method->in_integers(bits, options);
  return {static_cast<AttentionKind>(rule.kind), rule.multiplier, rule.qmax, rule.fraction_bits,
          rule.nearest};
}

bool is_bitlog2(const AttentionScheme& scheme) {
  return rule_of(scheme, 4).kind == AttentionKind::bitlog2;
}

std::vector<double> softmax(const std::vector<std::int32_t>& scores) {
  const double top = *std::max_element(scores.begin(), scores.end());
  double sum = 0;
  std::vector<double> probabilities;
  for (const double score : scores) {
    probabilities.push_back(std::exp2((score - top) / 65536));
    sum += probabilities.back();
  }
  for (double& probability : probabilities) {
    probability /= sum;
  }
  return probabilities;
}

/// The weight that attend() should give to a probability: m^ for BitLog2, p^ / delta for Sqrt2.
double expected_weight(const AttentionQuantizer& quantizer, double probability) {
  float value = static_cast<float>(probability);
  fake_quantize(quantizer, std::span(&value, 1));
  const double delta = quantizer.delta;
  return is_bitlog2(quantizer.scheme) ? value * delta : value / delta;
}

/// Whether the code changes within a relative 1e-4 of `probability`.
bool is_at_boundary(const AttentionQuantizer& quantizer, double probability) {
  return expected_weight(quantizer, probability * (1 - 1e-4)) !=
         expected_weight(quantizer, probability * (1 + 1e-4));
}

std::int32_t log2_delta(const AttentionQuantizer& quantizer) {
  return static_cast<std::int32_t>(std::lround(std::log2(quantizer.delta) * 65536));
}

double unit_of(const AttentionQuantizer& quantizer) {
  if (quantizer.options.normalizes_last) {
    return 1 << kRelativeContextFraction;
  }
  return is_bitlog2(quantizer.scheme) ? 1 : 1 << kSqrt2ContextFraction;
}

/// The attention map of one row of scores times V, which is `values` [tokens, channels] - zero.
std::vector<std::int32_t> attend(const AttentionQuantizer& quantizer,
                                 std::vector<std::int32_t> scores,
                                 const std::vector<std::uint8_t>& values, std::size_t channels,
                                 std::int32_t zero) {
  const AttentionRule rule = rule_of(quantizer.scheme, quantizer.bits, quantizer.options);
  const std::size_t tokens = scores.size();
  std::vector<std::byte> memory(weights_bytes(tokens));
  const Weights weights = {memory.data(), 1, tokens};
  portable::softmax_codes(rule, log2_delta(quantizer), scores.data(), tokens, weights);
  std::vector<std::int32_t> context;
  for (std::size_t first = 0; first < channels; first += kPanelWidth) {
    const std::size_t count = std::min(kPanelWidth, channels - first);
    std::vector<std::int8_t> panel_memory(kPanelWidth * round_up(tokens, kDepthStep));
    const Panel panel = {panel_memory.data(), tokens, round_up(count, kLane), 128};
    portable::pack_columns({values.data() + first, channels, false}, count, 128, panel);
    std::vector<std::int32_t> part(panel.width);
    portable::attend_values(rule, weights, panel, zero - 128, part.data());
    context.insert(context.end(), part.begin(), part.begin() + static_cast<std::ptrdiff_t>(count));
  }
  return context;
}

/// The weight of every token, found by attention with the identity as V.
std::vector<double> found_weights(const AttentionQuantizer& quantizer,
                                  const std::vector<std::int32_t>& scores) {
  const std::size_t tokens = scores.size();
  std::vector<std::uint8_t> identity(tokens * tokens);
  for (std::size_t i = 0; i < tokens; ++i) {
    identity[i * tokens + i] = 1;
  }
  std::vector<double> weights;
  for (const std::int32_t value : attend(quantizer, scores, identity, tokens, 0)) {
    weights.push_back(static_cast<double>(value) / unit_of(quantizer));
  }
  return weights;
}

/// Compares the weights of all codes that are not at a boundary; returns how many there are.
std::size_t check_weights(const AttentionQuantizer& quantizer,
                          const std::vector<std::int32_t>& scores) {
  const auto probabilities = softmax(scores);
  const auto found = found_weights(quantizer, scores);
  // Sqrt2's context is rounded to its fraction; sqrt(2) itself has 16 bits.
  const double tolerance = is_bitlog2(quantizer.scheme) ? 1e-6 : 0.75 / unit_of(quantizer);
  std::size_t compared = 0;
  for (std::size_t j = 0; j < scores.size(); ++j) {
    if (is_at_boundary(quantizer, probabilities[j])) {
      continue;
    }
    ++compared;
    const double expected = expected_weight(quantizer, probabilities[j]);
    EXPECT_NEAR(found[j], expected, tolerance + 1e-5 * expected)
        << quantizer.scheme.name << ' ' << quantizer.bits << " bits, delta " << quantizer.delta
        << ", p " << probabilities[j];
  }
  return compared;
}

struct MapCase {
  AttentionScheme scheme;
  int bits;
  float delta;
};

void PrintTo(const MapCase& map, std::ostream* stream) {
  *stream << map.scheme.name << " w" << map.bits << " " << map.delta;
}

std::vector<MapCase> map_cases() {
  std::vector<MapCase> cases;
  for (const AttentionScheme& scheme : kAttentionSchemes) {
    if (is_bitlog2(scheme)) {
      cases.push_back({scheme, 4, 1.0F});
      continue;
    }
    for (const int bits : {2, 3, 4, 6, 8}) {
      cases.push_back({scheme, bits, 1.0F});
      cases.push_back({scheme, bits, 0.37F});
      cases.push_back({scheme, bits, 0.0123F});
    }
  }
  return cases;
}

class Attend : public ::testing::TestWithParam<MapCase> {
 protected:
  AttentionQuantizer quantizer_ = {GetParam().scheme, GetParam().bits, GetParam().delta};
};

TEST_P(Attend, CodesAreTheScheme) {
  std::mt19937 random(3);
  std::size_t compared = 0;
  std::size_t all = 0;
  for (const std::size_t tokens : {1U, 2U, 5U, 17U, 49U, 65U, 197U}) {
    for (const double spread : {0.1, 2.0, 10.0, 30.0}) {
      const int limit = static_cast<int>(spread * 65536);
      compared += check_weights(quantizer_, draw<std::int32_t>(random, tokens, -limit, limit));
      all += tokens;
    }
  }
  EXPECT_GT(compared, all * 95 / 100) << "too many codes went unchecked";
}

TEST_P(Attend, EdgeScores) {
  constexpr std::int32_t kFar = (1 << 30) + (1 << 26);  // the largest score that open() allows
  for (const std::size_t tokens : {1U, 3U, 16U, 49U, 100U}) {
    for (const std::int32_t level : {0, kFar, -kFar}) {
      check_weights(quantizer_, std::vector<std::int32_t>(tokens, level));
      std::vector<std::int32_t> dominated(tokens, level);
      for (const std::int32_t lead : {65536, 1 << 20, 1 << 25}) {
        dominated[tokens / 2] = level > 0 ? level : level + lead;
        std::fill(dominated.begin() + static_cast<std::ptrdiff_t>(tokens) / 2 + 1, dominated.end(),
                  level > 0 ? level - lead : level);
        check_weights(quantizer_, dominated);
      }
    }
    std::vector<std::int32_t> extremes(tokens, -kFar);
    extremes[0] = kFar;
    check_weights(quantizer_, extremes);
  }
}

TEST_P(Attend, ContextIsTheWeightedSum) {
  std::mt19937 random(4);
  for (const std::size_t tokens : {1U, 3U, 17U, 49U}) {
    for (const std::size_t head_dim : {1U, 3U, 16U, 63U, 64U, 65U, 131U}) {
      const auto scores = draw<std::int32_t>(random, tokens, -400000, 400000);
      const auto values = draw<std::uint8_t>(random, tokens * head_dim, 0, 255);
      constexpr std::int32_t kZero = 512;
      const auto weights = found_weights(quantizer_, scores);
      const auto context = attend(quantizer_, scores, values, head_dim, kZero);
      // BitLog2 is exact; for Sqrt2 each weight of found_weights is rounded.
      const double tolerance =
          is_bitlog2(quantizer_.scheme) ? 0 : 767.0 * static_cast<double>(tokens) * 0.51 + 1;
      for (std::size_t c = 0; c < head_dim; ++c) {
        double sum = 0;
        for (std::size_t j = 0; j < tokens; ++j) {
          sum += weights[j] * unit_of(quantizer_) * (values[j * head_dim + c] - kZero);
        }
        ASSERT_NEAR(static_cast<double>(context[c]), sum, tolerance)
            << tokens << " tokens, channel " << c << " of " << head_dim;
      }
    }
  }
}

TEST_P(Attend, AnyScores) {
  EXPECT_TRUE(rc::check([this](std::vector<std::int32_t> scores) {
    RC_PRE(!scores.empty());
    for (std::int32_t& score : scores) {
      score /= 2;
    }
    check_weights(quantizer_, scores);
    RC_ASSERT(!::testing::Test::HasFailure());
  }));
}

/// Compares a row with what the quantizer makes of its probabilities, if no code is at a boundary;
/// returns whether it did.
bool check_relative_row(const AttentionQuantizer& quantizer,
                        const std::vector<std::int32_t>& scores) {
  const auto probabilities = softmax(scores);
  const double largest = *std::max_element(probabilities.begin(), probabilities.end());
  AttentionQuantizer levels = quantizer;
  levels.options.normalizes_last = false;
  for (const double probability : probabilities) {
    if (probability < largest && is_at_boundary(levels, probability / largest)) {
      return false;
    }
  }
  std::vector<float> expected(probabilities.begin(), probabilities.end());
  fake_quantize(quantizer, expected);
  const auto found = found_weights(quantizer, scores);
  double sum = 0;
  for (std::size_t j = 0; j < scores.size(); ++j) {
    EXPECT_NEAR(found[j], expected[j], 1.0 / (1 << kRelativeContextFraction))
        << quantizer.scheme.name << ", " << scores.size() << " tokens";
    sum += found[j];
  }
  EXPECT_NEAR(sum, 1.0, static_cast<double>(scores.size()) / (1 << kRelativeContextFraction));
  return true;
}

TEST(RelativeAttend, WeightsOfARowAreTheQuantizers) {
  std::mt19937 random(5);
  for (const std::string_view scheme : {"BitLog2_Half_16", "BitLog2_Half_17"}) {
    for (const bool to_nearest : {false, true}) {
      const AttentionQuantizer quantizer = {
          find_attention_scheme(scheme), 4, 1.0F, {to_nearest, false, true}};
      std::size_t compared = 0;
      std::size_t all = 0;
      for (const std::size_t tokens : {1U, 2U, 5U, 17U, 49U, 65U, 197U}) {
        for (const double spread : {0.0, 0.1, 2.0, 10.0, 30.0}) {
          const int limit = static_cast<int>(spread * 65536);
          compared +=
              check_relative_row(quantizer, draw<std::int32_t>(random, tokens, -limit, limit)) ? 1U
                                                                                               : 0U;
          ++all;
        }
      }
      EXPECT_GT(compared, all / 2) << "too many rows went unchecked";
    }
  }
}

/// All tokens alike is where weights of probabilities lose most: with 197 of them each is 1.3 /
/// 256.
TEST(RelativeAttend, FlatRowsKeepTheirMean) {
  const std::vector<std::int32_t> scores(197, 12345);
  const AttentionQuantizer quantizer = {
      find_attention_scheme("BitLog2_Half_16"), 4, 1.0F, {false, false, true}};
  for (const double weight : found_weights(quantizer, scores)) {
    EXPECT_NEAR(weight, 1.0 / 197, 1.0 / (1 << kRelativeContextFraction));
  }
}

TEST(RelativeAttend, IsForLevelsOfFewOctavesAlone) {
  const AttentionOptions options = {false, true, true};
  const auto kind_of = [&](std::string_view scheme, int bits) {
    return rule_of(find_attention_scheme(scheme), bits, options).kind;
  };
  EXPECT_EQ(kind_of("BitLog2_Half_16", 3), AttentionKind::relative_bitlog2);
  EXPECT_EQ(kind_of("BitLog2_Half_16", 8), AttentionKind::bitlog2);
  EXPECT_EQ(kind_of("BitLog2_Single_16", 4), AttentionKind::bitlog2);
  EXPECT_EQ(kind_of("Sqrt2_16", 4), AttentionKind::sqrt2);
}

INSTANTIATE_TEST_SUITE_P(Schemes, Attend, ::testing::ValuesIn(map_cases()), [](const auto& test) {
  const MapCase& map = test.param;
  return std::string(map.scheme.name) + "_w" + std::to_string(map.bits) + "_" +
         std::to_string(std::lround(map.delta * 10000));
});

}  // namespace
}  // namespace bitlog2::runtime
