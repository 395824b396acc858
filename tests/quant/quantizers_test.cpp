// The quantizers by themselves, compared with the published implementation's outputs and with their
// definitions.
#include "bitlog2/quantizers.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>

#include "bitlog2/error.h"
#include "bitlog2/safetensors.h"
#include "goldens.h"
#include "quant/attention/bitlog2.h"
#include "random_values.h"
#include "reference.h"

namespace bitlog2 {
namespace {

float largest_difference(std::span<const float> a, std::span<const float> b) {
  EXPECT_EQ(a.size(), b.size());
  float worst = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    worst = std::max(worst, std::fabs(a[i] - b[i]));
  }
  return worst;
}

using testing::normal_values;

class QuantizerGoldens : public ::testing::Test {
 protected:
  void SetUp() override { read(testing::fixtures() / "quantizers"); }

  void read(const std::filesystem::path& folder) {
    tensors_ = Safetensors::open(folder / "quantizers.goldens.safetensors");
    parameters_ = testing::read_json(folder / "quantizers.goldens.json");
  }

  void expect_parameters(const Affine& quantizer, const std::string& key) {
    const std::vector<double> deltas = testing::golden_deltas(parameters_.at(key));
    const auto& zero_point = parameters_.at(key).at("zero_point");
    ASSERT_EQ(quantizer.scale.size(), deltas.size()) << key;
    for (std::size_t i = 0; i < deltas.size(); ++i) {
      EXPECT_NEAR(quantizer.scale[i] / deltas[i], 1.0, 1e-6) << key << " channel " << i;
      EXPECT_EQ(quantizer.zero_point[i],
                (zero_point.is_array() ? zero_point[i] : zero_point).get<float>())
          << key << " channel " << i;
    }
  }

  ThreadPool pool_{2};
  Safetensors tensors_;
  nlohmann::json parameters_;
};

TEST_F(QuantizerGoldens, UniformPerTensor) {
  for (const int bits : {2, 3, 4, 6, 8}) {
    const std::string key = "u.layer.b" + std::to_string(bits);
    std::vector<float> values = tensors_.read_floats("u.x");
    const Affine quantizer = calibrate_affine(values, bits, pool_);
    expect_parameters(quantizer, key);
    fake_quantize(quantizer, values);
    EXPECT_LE(largest_difference(values, tensors_.read_floats(key)), 1e-6F) << key;
  }
}

TEST_F(QuantizerGoldens, UniformPerChannel) {
  for (const int bits : {2, 3, 4, 6, 8}) {
    const std::string key = "u.channel.b" + std::to_string(bits);
    std::vector<float> values = tensors_.read_floats("u.x");
    const Affine quantizer = calibrate_columns(values, 24, bits, pool_);
    expect_parameters(quantizer, key);
    fake_quantize_columns(quantizer, values);
    EXPECT_LE(largest_difference(values, tensors_.read_floats(key)), 1e-6F) << key;
  }
}

TEST_F(QuantizerGoldens, UniformWeights) {
  for (const int bits : {2, 3, 4, 6, 8}) {
    const std::string key = "u.weight.b" + std::to_string(bits);
    std::vector<float> values = tensors_.read_floats("u.w");
    const Affine quantizer = calibrate_rows(values, 32, bits, pool_);
    expect_parameters(quantizer, key);
    fake_quantize_rows(quantizer, values);
    EXPECT_LE(largest_difference(values, tensors_.read_floats(key)), 1e-6F) << key;
  }
}

/// The quantizer of a key such as "Sqrt2_16.b4", with the reference's delta.
AttentionQuantizer golden_attention(const std::string& key, const nlohmann::json& parameters) {
  return {find_attention_scheme(key.substr(0, key.find('.'))), key.back() - '0',
          parameters.at("delta").get<float>()};
}

TEST_F(QuantizerGoldens, AttentionMapsWithTheReferencesDelta) {
  std::size_t cases = 0;
  for (const auto& [key, parameters] : parameters_.items()) {
    if (key.starts_with("u.")) {
      continue;
    }
    std::vector<float> values = tensors_.read_floats("x");
    fake_quantize(golden_attention(key, parameters), values);
    EXPECT_LE(largest_difference(values, tensors_.read_floats(key + ".y")), 1e-6F) << key;
    ++cases;
  }
  EXPECT_EQ(cases, 10U);
}

/// The delta depends on all probabilities (6 MB), so this needs the whole reference data.
TEST_F(QuantizerGoldens, AttentionMapsFindTheReferencesDelta) {
  const auto reference = testing::reference_directory();
  if (!reference) {
    GTEST_SKIP() << "no reference data: set BITLOG2_REFERENCE_DIR";
  }
  read(*reference / "goldens");
  for (const auto& [key, parameters] : parameters_.items()) {
    if (key.starts_with("u.")) {
      continue;
    }
    const AttentionQuantizer golden = golden_attention(key, parameters);
    std::vector<float> values = tensors_.read_floats("x");
    const AttentionQuantizer quantizer =
        calibrate_attention(golden.scheme, golden.bits, values, pool_);
    EXPECT_NEAR(quantizer.delta / parameters.at("delta").get<double>(), 1.0, 1e-6) << key;
    fake_quantize(quantizer, values);
    EXPECT_LE(largest_difference(values, tensors_.read_floats(key + ".y")), 1e-6F) << key;
    std::sort(values.begin(), values.end());
    const auto levels = std::unique(values.begin(), values.end()) - values.begin();
    EXPECT_LE(levels, parameters.at("levels").get<long>()) << key;
  }
}

quant::BitLog2Levels levels_of(const AttentionScheme& scheme, int bits = 4) {
  return dynamic_cast<const quant::BitLog2&>(*scheme.method).levels(bits, {});
}

TEST(Schemes, NamesAndMultipliers) {
  EXPECT_EQ(levels_of(find_attention_scheme("BitLog2_Single_16")).multiplier, 32768);
  EXPECT_EQ(levels_of(find_attention_scheme("BitLog2_Single_17")).multiplier, 65536);
  EXPECT_EQ(levels_of(find_attention_scheme("BitLog2_Half_16")).multiplier, 256);
  EXPECT_EQ(levels_of(find_attention_scheme("BitLog2_Half_17")).multiplier, 384);
  try {
    find_attention_scheme("BitLog3");
    FAIL();
  } catch (const Error& error) {
    for (const AttentionScheme& scheme : kAttentionSchemes) {
      EXPECT_NE(std::string(error.what()).find(scheme.name), std::string::npos);
    }
  }
}

TEST(Schemes, SixArePublished) {
  EXPECT_EQ(std::ranges::count_if(kAttentionSchemes, &AttentionScheme::published), 6);
}

TEST(Schemes, HalfSixteenFitsAByte) {
  const std::vector<std::uint32_t> expected = {0,  1,  2,  3,  4,  6,  8,   12,
                                               16, 24, 32, 48, 64, 96, 128, 192};
  std::vector<std::uint32_t> levels;
  for (std::uint32_t m = 0; m < 256; ++m) {
    const std::uint32_t level = levels_of(find_attention_scheme("BitLog2_Half_16")).round(m);
    if (levels.empty() || levels.back() != level) {
      levels.push_back(level);
    }
  }
  EXPECT_EQ(levels, expected);
}

RC_GTEST_PROP(BitLog2, FloatStepsEqualIntegerDefinition, ()) {
  const AttentionScheme scheme = kAttentionSchemes[*rc::gen::inRange<std::size_t>(2, 6)];
  const quant::BitLog2Levels levels = levels_of(scheme);
  const float x = static_cast<float>(*rc::gen::inRange(0, 1 << 24)) * 0x1p-24F;
  const auto m = std::min(static_cast<std::uint32_t>(x * static_cast<float>(levels.multiplier)),
                          static_cast<std::uint32_t>(levels.multiplier - 1));
  float value = x;
  fake_quantize(AttentionQuantizer{scheme, 4, 1.0F}, std::span(&value, 1));
  RC_ASSERT(value == static_cast<float>(levels.round(m)));
}

RC_GTEST_PROP(BitLog2, ClosedFormEqualsExhaustiveSearch, ()) {
  const AttentionScheme scheme = kAttentionSchemes[*rc::gen::inRange<std::size_t>(4, 6)];
  const auto numerators =
      *rc::gen::nonEmpty(rc::gen::container<std::vector<int>>(rc::gen::inRange(0, 10001)));
  std::vector<float> values;
  for (const int numerator : numerators) {
    values.push_back(static_cast<float>(numerator) / 10000.0F);
  }
  ThreadPool pool(1);
  const float delta = calibrate_attention(scheme, 4, values, pool).delta;

  std::vector<double> levels;
  for (const float value : values) {
    float level = value;
    fake_quantize(AttentionQuantizer{scheme, 4, 1.0F}, std::span(&level, 1));
    levels.push_back(level);
  }
  const auto error = [&](double candidate) {
    double sum = 0;
    for (std::size_t i = 0; i < values.size(); ++i) {
      const double difference = values[i] - levels[i] / candidate;
      sum += difference * difference;
    }
    return sum;
  };
  const double first = std::max(1.0, *std::max_element(levels.begin(), levels.end()));
  double lowest = error(first);
  for (double candidate = first; candidate < levels_of(scheme).multiplier; candidate += 1) {
    lowest = std::min(lowest, error(candidate));
  }
  RC_ASSERT(delta >= first && delta <= static_cast<float>(levels_of(scheme).multiplier - 1));
  RC_ASSERT(error(delta) <= lowest + 1e-12);
}

RC_GTEST_PROP(Sqrt2, ThresholdsEqualLogarithm, ()) {
  const AttentionScheme scheme = kAttentionSchemes[*rc::gen::inRange<std::size_t>(0, 2)];
  const int bits = *rc::gen::inRange(2, 9);
  const float delta = static_cast<float>(*rc::gen::inRange(1, 10001)) / 10000.0F;
  const float x = static_cast<float>(*rc::gen::inRange(0, 1 << 24)) * 0x1p-24F;
  const int codes = 1 << bits;
  const double exact = -2.0 * std::log2(static_cast<double>(x) / delta);
  RC_PRE(x == 0.0F || std::fabs(exact - std::floor(exact) - 0.5) > 1e-5);  // no tie
  double expected = 0;
  if (x > 0.0F && std::rint(exact) < codes) {
    const double t = std::clamp(std::rint(exact), 0.0,
                                static_cast<double>(codes - (scheme.name == "Sqrt2_16") - 1));
    expected = delta * std::pow(2.0, -t / 2);
  }
  float value = x;
  fake_quantize(AttentionQuantizer{scheme, bits, delta}, std::span(&value, 1));
  RC_ASSERT(std::fabs(value - expected) <= 1e-6);
}

TEST(AffineQuantizer, ConstantsAreReproduced) {
  ThreadPool pool(1);
  for (const int bits : {2, 4, 8}) {
    for (const float constant : {0.0F, 3.25F, -7.5F, 1e-30F, -1e30F}) {
      std::vector<float> values(257, constant);
      fake_quantize(calibrate_affine(values, bits, pool), values);
      for (const float value : values) {
        EXPECT_EQ(value, constant) << bits << " bits";
      }
    }
  }
}

TEST(AffineQuantizer, ConstantChannelAmongOthers) {
  ThreadPool pool(2);
  std::vector<float> values = normal_values(100 * 5, 1);
  for (std::size_t row = 0; row < 100; ++row) {
    values[row * 5 + 3] = -2.5F;
  }
  const Affine quantizer = calibrate_columns(values, 5, 4, pool);
  fake_quantize_columns(quantizer, values);
  for (std::size_t row = 0; row < 100; ++row) {
    EXPECT_EQ(values[row * 5 + 3], -2.5F);
  }
}

TEST(AffineQuantizer, ConstantWithOutliersStaysFinite) {
  ThreadPool pool(1);
  std::vector<float> values(100'000, 1.0F);
  values[17] = 5.0F;
  fake_quantize(calibrate_affine(values, 4, pool), values);
  EXPECT_NEAR(values[0], 1.0F, 4.0F / 15 / 2);  // half a step, if the range is the whole one
  EXPECT_TRUE(std::isfinite(values[17]));
}

RC_GTEST_PROP(AffineQuantizer, QuantizesOntoAtMostItsLevels, ()) {
  const int bits = *rc::gen::inRange(2, 9);
  const auto integers =
      *rc::gen::nonEmpty(rc::gen::container<std::vector<int>>(rc::gen::inRange(-9999, 9999)));
  std::vector<float> values(integers.begin(), integers.end());
  ThreadPool pool(1);
  const Affine quantizer = calibrate_affine(values, bits, pool);
  fake_quantize(quantizer, values);
  std::sort(values.begin(), values.end());
  const auto levels = std::unique(values.begin(), values.end()) - values.begin();
  RC_ASSERT(levels <= (1 << bits));
  std::vector<float> again = values;
  fake_quantize(quantizer, again);
  for (std::size_t i = 0; i < values.size(); ++i) {
    RC_ASSERT(std::fabs(again[i] - values[i]) <= 1e-3F * quantizer.scale[0]);
  }
}

RC_GTEST_PROP(Quantile, EqualsSorting, ()) {
  const auto count = *rc::gen::inRange<std::size_t>(1, 3000);
  const double p = *rc::gen::element(0.001, 0.00001, 0.5, 0.999, 0.9999, 0.99999);
  std::vector<float> values = normal_values(count, *rc::gen::arbitrary<unsigned>());
  const float found = quantile(values, p);
  std::sort(values.begin(), values.end());
  const double rank = p * static_cast<double>(count - 1);
  const auto below = static_cast<std::size_t>(rank);
  const auto above = std::min(below + 1, count - 1);
  const double expected = values[below] + (rank - static_cast<double>(below)) *
                                              (static_cast<double>(values[above]) - values[below]);
  RC_ASSERT(std::fabs(found - expected) <= 2e-3);  // ranks are float32, as in torch
}

TEST(Quantile, SamplingFindsTheSameTailsAsSorting) {
  // So many values that the quantile samples them; many are equal, and some are far outliers.
  std::vector<float> values = normal_values(400'000, 3);
  std::fill(values.begin(), values.begin() + 150'000, 0.0F);
  values[5] = 1e6F;
  std::vector<float> sorted = values;
  std::sort(sorted.begin(), sorted.end());
  for (const double p : {0.00001, 0.0001, 0.001, 0.999, 0.9999, 0.99999}) {
    const double rank = p * static_cast<double>(values.size() - 1);
    const auto below = static_cast<std::size_t>(rank);
    const float found = quantile(values, p);
    EXPECT_GE(found, sorted[below - 1]);
    EXPECT_LE(found, sorted[below + 2]);
  }
}

TEST(Calibration, DoesNotDependOnThreads) {
  const std::vector<float> values = normal_values(300'000, 9);
  ThreadPool one(1);
  ThreadPool three(3);
  const Affine a = calibrate_affine(values, 4, one);
  const Affine b = calibrate_affine(values, 4, three);
  EXPECT_EQ(a.scale, b.scale);
  EXPECT_EQ(a.zero_point, b.zero_point);
  EXPECT_EQ(calibrate_columns(values, 100, 4, one).scale,
            calibrate_columns(values, 100, 4, three).scale);
  EXPECT_EQ(calibrate_rows(values, 100, 4, one).scale, calibrate_rows(values, 100, 4, three).scale);
}

}  // namespace
}  // namespace bitlog2
