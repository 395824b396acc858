// The runtime's kernels against plain loops, and attention against softmax in float64 followed
// by the quantizers of the float world.
#include "integer/runtime/kernels/kernels.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

#include "bitlog2/quantizers.h"

namespace bitlog2::runtime {
namespace {

template <class T>
std::vector<T> draw(std::mt19937& random, std::size_t count, int low, int high) {
  std::uniform_int_distribution<int> distribution(low, high);
  std::vector<T> values(count);
  std::generate(values.begin(), values.end(), [&] { return static_cast<T>(distribution(random)); });
  return values;
}

TEST(Kernels, DotRowsIsTheSum) {
  std::mt19937 random(1);
  for (const std::size_t count : {1U, 2U, 3U, 7U, 16U, 31U, 48U, 100U, 769U}) {
    for (const std::size_t rows : {1U, 2U, 5U, 16U, 49U}) {
      const auto weights = draw<std::int16_t>(random, count, -270, 270);
      const auto inputs = draw<std::int16_t>(random, rows * count, -300, 300);
      std::vector<std::int32_t> sums(rows, -1);
      dot_rows(weights.data(), inputs.data(), rows, count, sums.data());
      for (std::size_t r = 0; r < rows; ++r) {
        std::int64_t sum = 0;
        for (std::size_t i = 0; i < count; ++i) {
          sum += std::int64_t{weights[i]} * inputs[r * count + i];
        }
        ASSERT_EQ(sums[r], sum) << count << " features, row " << r;
      }
    }
  }
}

TEST(Kernels, DotRowsReachesTheEndsOfItsRange) {
  const std::vector<std::int16_t> weights = {32767, -32768, 0};
  const std::vector<std::int16_t> inputs = {32767, -32768, 1, -32768, 32767, 5};
  std::int32_t sums[2] = {};
  dot_rows(weights.data(), inputs.data(), 2, 2 - 1, sums);
  EXPECT_EQ(sums[0], 32767 * 32767);
  EXPECT_EQ(sums[1], 32767 * -32768);
  dot_rows(weights.data(), inputs.data() + 3, 1, 3, sums);
  EXPECT_EQ(sums[0], 32767 * -32768 + -32768 * 32767);
}

std::vector<std::uint8_t> pack(const std::vector<std::uint8_t>& codes, unsigned bits) {
  if (bits > 4) {
    return codes;
  }
  std::vector<std::uint8_t> packed((codes.size() + 1) / 2);
  for (std::size_t i = 0; i < codes.size(); ++i) {
    packed[i / 2] = static_cast<std::uint8_t>(packed[i / 2] | codes[i] << (i % 2 * 4));
  }
  return packed;
}

TEST(Kernels, UnpackWeightsForEveryWidthAndCount) {
  std::mt19937 random(2);
  for (unsigned bits = 2; bits <= 8; ++bits) {
    for (std::size_t count = 1; count < 70; ++count) {
      const auto codes = draw<std::uint8_t>(random, count, 0, (1 << bits) - 1);
      const auto packed = pack(codes, bits);
      for (const std::int32_t zero : {0, 7, 255, 4096, -4096}) {
        std::vector<std::int16_t> row(count + 1, 12345);
        unpack_weights(packed.data(), count, bits, zero, row.data());
        for (std::size_t i = 0; i < count; ++i) {
          ASSERT_EQ(row[i], codes[i] - zero) << bits << " bits, " << i << " of " << count;
        }
        ASSERT_EQ(row[count], 12345) << "wrote behind the row";
      }
    }
  }
}

// --- attention --------------------------------------------------------------------------

AttentionRule rule_of(const AttentionScheme& scheme, int bits) {
  if (!scheme.is_bitlog2()) {
    const auto codes = std::uint32_t{1} << bits;
    return {AttentionKind::sqrt2, codes, scheme.levels == 16 ? codes - 2 : codes - 1};
  }
  const auto kind =
      scheme.kind == AttentionScheme::Kind::half ? AttentionKind::half : AttentionKind::single;
  const auto multiplier = static_cast<std::uint32_t>(scheme.multiplier());
  return {kind, multiplier, multiplier - 1};
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

/// What the scheme makes of a probability, as attend() weighs it: m^ of BitLog2, p^ / delta of
/// Sqrt2.
double expected_weight(const AttentionQuantizer& quantizer, double probability) {
  float value = static_cast<float>(probability);
  fake_quantize(quantizer, std::span(&value, 1));
  const double delta = quantizer.delta;
  return quantizer.scheme.is_bitlog2() ? value * delta : value / delta;
}

/// Whether the code changes within 1e-4 of `probability`.
bool is_at_boundary(const AttentionQuantizer& quantizer, double probability) {
  return expected_weight(quantizer, probability * (1 - 1e-4)) !=
         expected_weight(quantizer, probability * (1 + 1e-4));
}

std::int32_t log2_delta(const AttentionQuantizer& quantizer) {
  return static_cast<std::int32_t>(std::lround(std::log2(quantizer.delta) * 65536));
}

double unit_of(const AttentionQuantizer& quantizer) {
  return quantizer.scheme.is_bitlog2() ? 1 : 1 << kSqrt2ContextFraction;
}

/// attend()'s weight of every token: V is the identity.
std::vector<double> found_weights(const AttentionQuantizer& quantizer,
                                  std::vector<std::int32_t> scores) {
  const std::size_t tokens = scores.size();
  std::vector<std::int16_t> identity(tokens * tokens);
  for (std::size_t i = 0; i < tokens; ++i) {
    identity[i * tokens + i] = 1;
  }
  std::vector<std::int64_t> context(tokens, -1);
  attend(rule_of(quantizer.scheme, quantizer.bits), log2_delta(quantizer), scores.data(), tokens,
         identity.data(), tokens, context.data());
  std::vector<double> weights;
  for (const std::int64_t value : context) {
    weights.push_back(static_cast<double>(value) / unit_of(quantizer));
  }
  return weights;
}

/// Returns how many codes could be compared.
std::size_t check_weights(const AttentionQuantizer& quantizer,
                          const std::vector<std::int32_t>& scores) {
  const auto probabilities = softmax(scores);
  const auto found = found_weights(quantizer, scores);
  // Sqrt2's context is rounded to its fraction; sqrt(2) itself has 16 bits.
  const double tolerance = quantizer.scheme.is_bitlog2() ? 1e-6 : 0.75 / unit_of(quantizer);
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
    if (scheme.is_bitlog2()) {
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
  constexpr std::int32_t kFar = (1 << 30) + (1 << 26);  // the most that open() lets through
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
      auto scores = draw<std::int32_t>(random, tokens, -400000, 400000);
      const auto values = draw<std::int16_t>(random, tokens * head_dim, -767, 767);
      const auto weights = found_weights(quantizer_, scores);
      std::vector<std::int64_t> context(head_dim, -1);
      attend(rule_of(quantizer_.scheme, quantizer_.bits), log2_delta(quantizer_), scores.data(),
             tokens, values.data(), head_dim, context.data());
      // BitLog2 is exact; the weights that found_weights shows for Sqrt2 are rounded each.
      const double tolerance =
          quantizer_.scheme.is_bitlog2() ? 0 : 767.0 * static_cast<double>(tokens) * 0.51 + 1;
      for (std::size_t c = 0; c < head_dim; ++c) {
        double sum = 0;
        for (std::size_t j = 0; j < tokens; ++j) {
          sum += weights[j] * unit_of(quantizer_) * values[j * head_dim + c];
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

INSTANTIATE_TEST_SUITE_P(Schemes, Attend, ::testing::ValuesIn(map_cases()), [](const auto& test) {
  const MapCase& map = test.param;
  return std::string(map.scheme.name) + "_w" + std::to_string(map.bits) + "_" +
         std::to_string(std::lround(map.delta * 10000));
});

}  // namespace
}  // namespace bitlog2::runtime
