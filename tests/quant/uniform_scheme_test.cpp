// The evenly spaced quantizer of attention maps.
#include <gtest/gtest.h>

#include <cmath>
#include <set>

#include "bitlog2/quantized_model.h"

namespace bitlog2 {
namespace {

TEST(UniformScheme, HasEvenLevelsForEveryWidth) {
  for (int bits = kMinBits; bits <= kMaxBits; ++bits) {
    AttentionQuantizer quantizer = {find_attention_scheme("Uniform"), bits, 1.0F};
    const int levels = 1 << bits;
    std::set<float> found;
    for (int i = 0; i <= 4096; ++i) {
      const float x = static_cast<float>(i) / 4096;
      float value = x;
      fake_quantize(quantizer, std::span(&value, 1));
      EXPECT_EQ(value, std::min(std::floor(x * static_cast<float>(levels)),
                                static_cast<float>(levels - 1)));
      found.insert(value);
    }
    EXPECT_EQ(found.size(), static_cast<std::size_t>(levels)) << bits;
  }
}

TEST(UniformScheme, FindsTheDeltaOfTheLowestError) {
  std::vector<float> values;
  for (int i = 2; i < 400; ++i) {  // the largest value is 1/2
    values.push_back(1.0F / static_cast<float>(i));
  }
  ThreadPool pool(1);
  const AttentionScheme& scheme = find_attention_scheme("Uniform");
  const auto error = [&](float delta) {
    std::vector<float> quantized = values;
    fake_quantize(AttentionQuantizer{scheme, 4, delta}, quantized);
    double sum = 0;
    for (std::size_t i = 0; i < values.size(); ++i) {
      sum += (values[i] - quantized[i]) * (values[i] - quantized[i]);
    }
    return sum;
  };
  const float delta = calibrate_attention(scheme, 4, values, pool).delta;
  for (float other = 8; other <= 15; ++other) {
    EXPECT_LE(error(delta), error(other) + 1e-9) << other;
  }
  EXPECT_GE(delta, 8.0F);
  EXPECT_LE(delta, 15.0F);
}

}  // namespace
}  // namespace bitlog2
