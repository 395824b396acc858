#include "integer/lower/activation_table.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <numbers>

#include "base/elementary.h"

namespace bitlog2::integer {
namespace {

constexpr std::size_t kTableSize = 4096;
constexpr std::size_t kFineTableSize = 32768;  // for more than kMostCoarseCodes codes
constexpr std::size_t kMostCoarseCodes = 64;

double value_of(Activation function, double x) {
  switch (function) {
    case Activation::gelu:
      return x / 2 * (1 + elementary::erf(x / std::numbers::sqrt2));
    case Activation::gelu_tanh:
      return x / 2 *
             (1 + elementary::tanh(std::sqrt(2 / std::numbers::pi) * (x + 0.044715 * x * x * x)));
    case Activation::quick_gelu:
      return x / (1 + elementary::exp(-1.702 * x));
    case Activation::tanh:
      return elementary::tanh(x);
    case Activation::swiglu:
      break;  // which is not a function of one value
  }
  return x;
}

struct Interval {
  double low;
  double high;
};

/// For |x| < 1.
double atanh(double x) {
  return elementary::log((1 + x) / (1 - x)) / 2;
}

/// Where the codes of tanh change: from the smallest value that a code stands for to the largest.
Interval tanh_range(const ActivationCodes& output) {
  constexpr double kSaturated = 0.99999;
  constexpr double kLeastWidth = 0x1p-10;
  const double low = atanh(std::clamp(output.smallest(), -kSaturated, kSaturated));
  const double high = atanh(std::clamp(output.largest(), -kSaturated, kSaturated));
  return {low, std::max(high, low + kLeastWidth)};
}

/// Below the low end, quick GELU differs from 0 by less than 4e-7, GELU by less than 1e-8. Both are
/// at most 0.17 below x, so the table reaches every code.
Interval range_of(Activation function, const ActivationCodes& output) {
  if (function == Activation::tanh) {
    return tanh_range(output);
  }
  return {function == Activation::quick_gelu ? -10.0 : -6.0, std::max(1.0, output.largest() + 0.2)};
}

}  // namespace

ActivationTable activation_table(Activation function, const ActivationCodes& output) {
  const auto [low, high] = range_of(function, output);
  const std::size_t size = output.count() > kMostCoarseCodes ? kFineTableSize : kTableSize;
  ActivationTable table = {low, (high - low) / static_cast<double>(size - 1), {}};
  table.codes.reserve(size);
  for (std::size_t i = 0; i < size; ++i) {
    const double x = low + static_cast<double>(i) * table.interval;
    table.codes.push_back(output.encode(value_of(function, x)));
  }
  return table;
}

ActivationTable step_table(const ActivationCodes& output) {
  constexpr std::size_t kSize = 1024;
  const double interval = (output.largest() - output.smallest()) / (kSize - 1);
  // 0 lies at a whole number of steps.
  ActivationTable table = {std::rint(output.smallest() / interval) * interval, interval, {}};
  table.codes.reserve(kSize);
  for (std::size_t i = 0; i < kSize; ++i) {
    table.codes.push_back(output.encode(table.low + static_cast<double>(i) * interval));
  }
  return table;
}

std::string_view display_name(Activation function) {
  switch (function) {
    case Activation::gelu:
    case Activation::gelu_tanh:
      return "GELU";
    case Activation::quick_gelu:
      return "quick GELU";
    case Activation::tanh:
      return "tanh";
    case Activation::swiglu:
      return "SwiGLU";
  }
  return "";
}

std::string_view table_suffix(Activation function) {
  return function == Activation::tanh ? ".tanh_table" : ".gelu_table";
}

}  // namespace bitlog2::integer
