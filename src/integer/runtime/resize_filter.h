// The filters of Pillow's Image.resize, in its order of operations. `Real` is Binary64, or the
// hardware's binary64 behind the same interface.
#pragma once

#include <cstddef>
#include <cstdint>

namespace bitlog2::runtime {

enum class Filter : std::uint32_t { bicubic, nearest, box, bilinear, hamming, lanczos };

/// Twice the distance, in input pixels, from which on a filter is 0. `nearest` takes one input at
/// any scale.
constexpr unsigned twice_support(Filter filter) {
  switch (filter) {
    case Filter::nearest:
      return 0;
    case Filter::box:
      return 1;
    case Filter::bilinear:
    case Filter::hamming:
      return 2;
    case Filter::bicubic:
      return 4;
    case Filter::lanczos:
      return 6;
  }
  return 0;
}

/// Sine and cosine, within a few units of 2^-53 of the exact ones. They consist of additions and
/// multiplications only, so that every machine gets the same bits; sines of libraries differ.
template <class Real>
class Circle {
 public:
  static constexpr Real kPi = Real::ratio(884279719003555, std::uint64_t{1} << 48);

  /// Of angles from 0 to 10.
  static Real sine(const Real& angle) {
    const Reduced from = reduced(angle);
    const Real value = from.angle * series(from.angle * from.angle, 2);
    return from.is_opposite ? -value : value;
  }

  static Real cosine(const Real& angle) {
    const Reduced from = reduced(angle);
    const Real value = series(from.angle * from.angle, 1);
    return from.is_opposite ? -value : value;
  }

 private:
  // Pi in two parts, of which small multiples of the first are exact.
  static constexpr Real kUpperPi = Real::ratio(221069929750888, std::uint64_t{1} << 46);
  static constexpr Real kLowerPi =
      Real::ratio(427063790847255, std::uint64_t{1} << 47) * Real::ratio(1, std::uint64_t{1} << 48);
  static constexpr Real kOne = Real::integer(1);
  static constexpr std::size_t kTerms = 11;

  /// 1 / (n (n + 1)).
  struct Reciprocals {
    constexpr Reciprocals() {
      for (std::size_t n = 1; n < 2 * kTerms + 1; ++n) {
        of[n] = Real::ratio(1, n * (n + 1));
      }
    }
    Real of[2 * kTerms + 1];
  };

  /// An angle minus its nearest multiple of pi.
  struct Reduced {
    Real angle;
    bool is_opposite;  // the multiple is odd
  };

  static Reduced reduced(const Real& angle) {
    const std::int64_t half_turns = (angle / kPi + Real::ratio(1, 2)).truncated();
    const Real multiple = Real::integer(half_turns);
    return {angle - multiple * kUpperPi - multiple * kLowerPi, half_turns % 2 != 0};
  }

  /// 1 - s / (n (n + 1)) (1 - s / ((n + 2) (n + 3)) (1 - ...)): from n = 1 the cosine of the root
  /// of s, from 2 the sine divided by it. The root is at most pi / 2.
  static Real series(const Real& square, std::size_t first) {
    static constexpr Reciprocals kReciprocals;
    Real sum = kOne;
    for (std::size_t term = kTerms; term-- > 0;) {
      sum = kOne - square * kReciprocals.of[first + 2 * term] * sum;
    }
    return sum;
  }
};

template <class Real>
class ResizeFilter {
 public:
  /// The weight of an input at distance `x` from the output's centre, in input pixels. Not for
  /// `nearest`.
  static Real at(Filter filter, const Real& x) {
    switch (filter) {
      case Filter::box:
        return -kHalf < x && !(kHalf < x) ? kOne : Real();
      case Filter::bilinear:
        return triangle(x.magnitude());
      case Filter::hamming:
        return hamming(x.magnitude());
      case Filter::lanczos:
        return lanczos(x.magnitude());
      default:
        return bicubic(x.magnitude());
    }
  }

 private:
  static constexpr Real kHalf = Real::ratio(1, 2);
  static constexpr Real kOne = Real::integer(1);
  static constexpr Real kThree = Real::integer(3);

  static bool is_zero(const Real& magnitude) { return !(Real() < magnitude); }

  static Real triangle(const Real& x) { return x < kOne ? kOne - x : Real(); }

  /// Keys' cubic with a = -1/2.
  static Real bicubic(const Real& x) {
    if (x < kOne) {
      return (Real::ratio(3, 2) * x - Real::ratio(5, 2)) * x * x + kOne;
    }
    if (x < Real::integer(2)) {
      return (((x - Real::integer(5)) * x + Real::integer(8)) * x - Real::integer(4)) * -kHalf;
    }
    return {};
  }

  static Real hamming(const Real& x) {
    // Numbers of 32 bits, as in Pillow: 0.54F and 0.46F.
    constexpr Real kMean = Real::ratio(9059697, 1 << 24);
    constexpr Real kSwing = Real::ratio(15435039, 1 << 25);
    if (is_zero(x)) {
      return kOne;
    }
    if (!(x < kOne)) {
      return {};
    }
    const Real angle = x * Circle<Real>::kPi;
    return Circle<Real>::sine(angle) / angle * (kMean + kSwing * Circle<Real>::cosine(angle));
  }

  static Real sinc(const Real& x) {
    if (is_zero(x)) {
      return kOne;
    }
    const Real angle = x * Circle<Real>::kPi;
    return Circle<Real>::sine(angle) / angle;
  }

  static Real lanczos(const Real& x) { return x < kThree ? sinc(x) * sinc(x / kThree) : Real(); }
};

}  // namespace bitlog2::runtime
