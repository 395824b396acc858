// 64-bit floating-point numbers that are computed in integers, compared with the hardware's; and
// the resize's weights, computed with both.
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
#include "io/native_binary64.h"

namespace bitlog2::runtime {
namespace {

/// The same number, made from its mantissa and exponent.
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

/// A random number of any sign and of various exponents, with few or many bits, so that exact
/// halves occur.
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
    // The numbers of every other pair are close together, so that their difference cancels.
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

using Native = resize::NativeBinary64;

constexpr std::array<Filter, 5> kSumming = {Filter::bicubic, Filter::box, Filter::bilinear,
                                            Filter::hamming, Filter::lanczos};

ImageCrop whole(std::uint32_t output, Filter filter) {
  return {output, output, filter};
}

/// Compares the inputs and weights of every `step`-th output.
void expect_same_weights(std::size_t input, std::uint32_t output, Filter filter, std::size_t step) {
  const ResizedSide<Binary64> ours(input, output, whole(output, filter));
  const ResizedSide<Native> expected(input, output, whole(output, filter));
  std::vector<Binary64> exact(ours.most_inputs());
  std::vector<Native> expected_exact(ours.most_inputs());
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

// Published models resize to these sizes, except for 37, which is far from powers of two.
constexpr std::array<std::uint32_t, 5> kResized = {256, 248, 235, 224, 37};

TEST(ResizedSide, WeightsOfEverySizeAreTheHardwares) {
  for (std::size_t input = 1; input <= 4096; ++input) {
    // Sizes, filters and outputs take turns, because all combinations would take minutes.
    expect_same_weights(input, kResized[input % kResized.size()], Filter::bicubic, 13 + input % 5);
    expect_same_weights(input, kResized[input % kResized.size()],
                        kSumming[input / kResized.size() % kSumming.size()], 29 + input % 7);
  }
  for (const Filter filter : kSumming) {
    for (const std::uint32_t resized : kResized) {
      for (const std::size_t input : {1U, 2U, 100U, 333U, 375U, 500U, 640U, 1024U}) {
        expect_same_weights(input, resized, filter, filter == Filter::bicubic ? 1 : 5);
      }
    }
    expect_same_weights(65536, 224, filter, 32);
    expect_same_weights(3, 4096, filter, 17);
  }
}

// ---- The filters with a sine -----------------------------------------------------------

double with_the_librarys_sine(Filter filter, double x) {
  const auto sinc = [](double at) {
    const double angle = at * M_PI;
    return at == 0.0 ? 1.0 : std::sin(angle) / angle;
  };
  if (filter == Filter::lanczos) {
    return -3.0 <= x && x < 3.0 ? sinc(x) * sinc(x / 3) : 0.0;
  }
  x = std::fabs(x);
  if (x == 0.0) {
    return 1.0;  // the sum of 0.54F and 0.46F is not exactly 1
  }
  return x < 1.0 ? sinc(x) * (double{0.54F} + double{0.46F} * std::cos(x * M_PI)) : 0.0;
}

/// The weights that Pillow computes for these inputs, with the sine and cosine of the C library.
std::vector<std::int32_t> librarys_weights(std::size_t input, std::uint32_t output, Filter filter,
                                           std::size_t place, const InputRun& run) {
  const double scale = static_cast<double>(input) / output;
  const double center = (static_cast<double>(place) + 0.5) * scale;
  const double inverse = 1.0 / std::max(scale, 1.0);
  std::vector<double> exact;
  double sum = 0;
  for (std::size_t i = 0; i < run.count; ++i) {
    const double distance = static_cast<double>(run.first + i) - center + 0.5;
    exact.push_back(with_the_librarys_sine(filter, distance * inverse));
    sum += exact.back();
  }
  std::vector<std::int32_t> weights;
  for (const double weight : exact) {
    const double scaled = weight / sum * (1 << kWeightBits);
    weights.push_back(static_cast<std::int32_t>(scaled < 0 ? scaled - 0.5 : scaled + 0.5));
  }
  return weights;
}

TEST(ResizedSide, WeightsAreThoseOfTheLibrarysSine) {
  std::vector<Native> exact(1 << 16);
  std::vector<std::int32_t> weights(exact.size());
  for (const Filter filter : {Filter::hamming, Filter::lanczos}) {
    for (std::size_t input = 1; input <= 4096; ++input) {
      const std::uint32_t output = kResized[input % kResized.size()];
      const ResizedSide<Native> side(input, output, whole(output, filter));
      for (std::size_t i = 0; i < output; i += 11 + input % 9) {
        const InputRun run = side.inputs_of(i, exact.data(), weights.data());
        const auto expected = librarys_weights(input, output, filter, i, run);
        ASSERT_TRUE(std::equal(expected.begin(), expected.end(), weights.begin()))
            << input << " to " << output << ": " << i;
      }
    }
  }
}

TEST(Circle, SinesAndCosinesAreWithinAFewUnitsOfTheirLastPlace) {
  std::mt19937_64 random(7);
  for (int i = 0; i < 100000; ++i) {
    const auto numerator = random() >> 12;
    const Native angle = Native::ratio(numerator, std::uint64_t{1} << 49);  // below 8
    EXPECT_NEAR(Circle<Native>::sine(angle).value(), std::sin(angle.value()), 0x1p-51);
    EXPECT_NEAR(Circle<Native>::cosine(angle).value(), std::cos(angle.value()), 0x1p-51);
  }
}

// ---- Nearest ---------------------------------------------------------------------------

TEST(ResizedSide, NearestInputsAreTheHardwares) {
  std::mt19937 random(8);
  for (int i = 0; i < 300; ++i) {
    const auto side = [&](std::uint32_t most) {
      return static_cast<std::uint32_t>(1 + random() % most);
    };
    const std::size_t input = side(3000);
    const std::uint32_t output = side(600);
    const ImageCrop how = {output, side(600), Filter::nearest};
    ResizedSide<Binary64> ours(input, output, how);
    ResizedSide<Native> expected(input, output, how);
    Binary64 exact;
    Native expected_exact;
    for (std::size_t place = 0; place < ours.shown(); ++place) {
      std::int32_t weights[2] = {};
      const InputRun run = ours.next(&exact, &weights[0]);
      const InputRun expected_run = expected.next(&expected_exact, &weights[1]);
      ASSERT_EQ(run.first, expected_run.first) << input << " to " << output << ": " << place;
      ASSERT_LT(run.first, input);
      ASSERT_EQ(run.count, 1U);
      ASSERT_EQ(weights[0], 1 << kWeightBits);
      ASSERT_EQ(weights[1], 1 << kWeightBits);
    }
  }
}

TEST(ResizedSide, NearestOfALineOfExtremeLengthEndsInIt) {
  const ImageCrop how = {65536, 3, Filter::nearest};
  ResizedSide<Binary64> side(65536, std::uint64_t{65536} * 65536, how);
  Binary64 exact;
  std::int32_t weight = 0;
  EXPECT_EQ(side.next(&exact, &weight).first, 32767U);
}

TEST(ImageCrop, LongerSidesAreThoseOfPythonsQuotients) {
  std::mt19937 random(9);
  for (int i = 0; i < 1000000; ++i) {
    const auto resize = static_cast<std::uint32_t>(1 + random() % 4096);
    const std::uint64_t shorter = 1 + random() % 70000;
    const std::uint64_t longer = shorter + random() % 200000;
    const double quotient = static_cast<double>(resize * longer) / static_cast<double>(shorter);
    ASSERT_EQ((ImageCrop{resize, 1}.resized(longer, shorter)),
              static_cast<std::uint64_t>(quotient));
  }
}

}  // namespace
}  // namespace bitlog2::runtime
