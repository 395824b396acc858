#include "base/elementary.h"

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <numbers>

namespace bitlog2::elementary {
namespace {

constexpr int kFractionBits = 52;
constexpr int kExponentBias = 1023;

/// ln 2 in two parts: the first has 32 bits, so that a whole number times it is exact.
constexpr double kLn2High = 0x1.62e42fee00000p-1;
constexpr double kLn2Low = 0x1.a39ef35793c76p-33;

/// e^r for |r| <= ln(2) / 2: Taylor's series to r^14 / 14!.
double exp_near_zero(double r) {
  double sum = 1;
  for (int n = 14; n > 0; --n) {
    sum = 1 + sum * r / n;
  }
  return sum;
}

/// e^r 2^n for a whole n.
double scaled_exp(double r, double n) {
  return std::ldexp(exp_near_zero(r), static_cast<int>(n));
}

/// x = mantissa 2^exponent with a mantissa in [sqrt(1/2), sqrt(2)).
struct Parts {
  explicit Parts(double x) {
    const auto bits = std::bit_cast<std::uint64_t>(x);
    exponent = static_cast<int>(bits >> kFractionBits) - kExponentBias;
    constexpr std::uint64_t kFraction = (std::uint64_t{1} << kFractionBits) - 1;
    constexpr std::uint64_t kOne = std::uint64_t{kExponentBias} << kFractionBits;
    mantissa = std::bit_cast<double>((bits & kFraction) | kOne);
    if (mantissa >= std::numbers::sqrt2) {
      mantissa /= 2;
      ++exponent;
    }
  }

  double mantissa;
  int exponent;
};

/// ln(m) for m in [sqrt(1/2), sqrt(2)): 2 atanh(s), s = (m - 1) / (m + 1), by its series to s^23.
double log_near_one(double m) {
  const double s = (m - 1) / (m + 1);
  const double square = s * s;
  double sum = 0;
  for (int n = 23; n > 0; n -= 2) {
    sum = sum * square + 1.0 / n;
  }
  return 2 * s * sum;
}

}  // namespace

double exp(double x) {
  if (!(x <= 709.78)) {
    return x + std::numeric_limits<double>::infinity();  // NaN stays NaN
  }
  if (x < -745.2) {
    return 0;
  }
  const double n = std::rint(x * std::numbers::log2e);
  return scaled_exp((x - n * kLn2High) - n * kLn2Low, n);
}

double exp2(double x) {
  const double n = std::rint(x);
  return scaled_exp((x - n) * std::numbers::ln2, n);
}

double log(double x) {
  const Parts parts(x);
  const double n = parts.exponent;
  return n * kLn2High + (n * kLn2Low + log_near_one(parts.mantissa));
}

double log2(double x) {
  const Parts parts(x);
  return parts.exponent + log_near_one(parts.mantissa) * std::numbers::log2e;
}

double erf(double x) {
  const double size = std::fabs(x);
  if (size >= 6) {
    return std::copysign(1.0, x);
  }
  // 2 / sqrt(pi) e^(-x^2) times the sum of 2^n x^(2n + 1) / (1 3 .. (2n + 1)): no term is negative.
  double term = size;
  double sum = term;
  for (int n = 1; term > sum * 1e-17; ++n) {
    term *= 2 * size * size / (2 * n + 1);
    sum += term;
  }
  const double result = 2 * std::numbers::inv_sqrtpi * exp(-size * size) * sum;
  return std::copysign(std::fmin(result, 1.0), x);
}

double tanh(double x) {
  const double e = exp(-2 * std::fabs(x));
  return std::copysign((1 - e) / (1 + e), x);
}

UnitVector turn(std::size_t step, std::size_t steps) {
  // The series is used up to an eighth of a turn; other angles follow by symmetry.
  if (2 * step > steps) {  // beyond half a turn
    const UnitVector mirrored = turn(steps - step, steps);
    return {mirrored.cosine, -mirrored.sine};
  }
  if (4 * step > steps) {  // beyond a quarter
    // half a turn minus the angle: (steps - 2 step) / (2 steps)
    const UnitVector mirrored = turn(steps - 2 * step, 2 * steps);
    return {-mirrored.cosine, mirrored.sine};
  }
  if (8 * step >
      steps) {  // beyond an eighth: a quarter minus the angle, (steps - 4 step) / (4 steps)
    const UnitVector mirrored = turn(steps - 4 * step, 4 * steps);
    return {mirrored.sine, mirrored.cosine};
  }
  const double angle =
      2 * std::numbers::pi * static_cast<double>(step) / static_cast<double>(steps);
  const double square = angle * angle;
  double cosine = 1;
  double sine = 1;
  for (int n = 20; n > 0; n -= 2) {
    cosine = 1 - cosine * square / (n * (n - 1));
    sine = 1 - sine * square / (n * (n + 1));
  }
  return {cosine, sine * angle};
}

}  // namespace bitlog2::elementary
