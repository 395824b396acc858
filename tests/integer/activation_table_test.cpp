// Tables of activation functions, compared with the functions.
#include "integer/lower/activation_table.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <span>
#include <tuple>

#include "simulate/loops.h"

namespace bitlog2::integer {
namespace {

constexpr Activation kFunctions[] = {Activation::gelu, Activation::gelu_tanh,
                                     Activation::quick_gelu, Activation::tanh};

/// The entry whose argument is nearest to x.
std::uint8_t look_up(const ActivationTable& table, double x) {
  const double index = std::floor((x - table.low) / table.interval + 0.5);
  return table.codes[static_cast<std::size_t>(
      std::clamp(index, 0.0, static_cast<double>(table.codes.size() - 1)))];
}

using Codes = std::tuple<double, double, std::uint32_t>;  // scale, zero point, largest code

class ActivationTables : public ::testing::TestWithParam<std::tuple<Activation, Codes>> {
 protected:
  static Activation function() { return std::get<0>(GetParam()); }
  static ActivationCodes codes() {
    const auto& [scale, zero_point, qmax] = std::get<1>(GetParam());
    return {scale, zero_point, qmax};
  }
};

TEST_P(ActivationTables, AreTheQuantizedFunctionEverywhere) {
  const ActivationCodes output = codes();
  const ActivationTable table = activation_table(function(), output);
  for (int i = -20000; i <= 20000; ++i) {
    auto value = static_cast<float>(i) / 1000;
    simulate::activate(function(), std::span(&value, 1));
    const int code = look_up(table, i / 1000.0);
    // At the boundary of two codes, the rounding of the argument decides.
    ASSERT_LE(std::abs(code - output.encode(value)), 1) << "at " << i / 1000.0;
  }
}

TEST_P(ActivationTables, AreFinite) {
  ActivationCodes output = codes();
  output.scale = 1e-30;
  const ActivationTable table = activation_table(function(), output);
  EXPECT_GT(table.interval, 1e-9);
  EXPECT_TRUE(std::isfinite(table.low / table.interval));
}

constexpr Codes kCodes[] = {
    {0.02, 9, 255},     // -0.18 to 4.9
    {0.001, 128, 255},  // -0.13 to 0.13
    {0.1, 8, 15},       // -0.8 to 0.7
    {0.5, 2, 15},       // -1 to 6.5
};

INSTANTIATE_TEST_SUITE_P(Functions, ActivationTables,
                         ::testing::Combine(::testing::ValuesIn(kFunctions),
                                            ::testing::ValuesIn(kCodes)));

}  // namespace
}  // namespace bitlog2::integer
