// IEEE 754 binary64 arithmetic computed in integers, with the same bits as hardware: every
// operation rounds to nearest, ties to even. It is for the coefficients of the image resize, which
// Pillow computes in binary64, on machines without floating point. Inference does not use it.
//
// There are no infinities, NaNs or subnormal numbers here: coefficients stay far from them.
#pragma once

#include <bit>
#include <cstdint>

namespace bitlog2::runtime {

class Binary64 {
 public:
  constexpr Binary64() = default;

  static constexpr Binary64 integer(std::int64_t value) {
    const auto magnitude = static_cast<std::uint64_t>(value);
    return rounded(value < 0, value < 0 ? 0 - magnitude : magnitude, 0, false);
  }

  /// The number nearest to numerator / denominator, which is not 0.
  static constexpr Binary64 ratio(std::uint64_t numerator, std::uint64_t denominator) {
    return divided(false, numerator, 0, denominator, 0);
  }

  friend constexpr Binary64 operator-(Binary64 x) {
    x.negative_ = !x.negative_;
    return x;
  }

  friend constexpr Binary64 operator+(const Binary64& x, const Binary64& y) {
    if (x.mantissa_ == 0 || y.mantissa_ == 0) {
      return x.mantissa_ == 0 ? y : x;
    }
    return x.exponent_ > y.exponent_ || (x.exponent_ == y.exponent_ && x.mantissa_ >= y.mantissa_)
               ? sum(x, y)
               : sum(y, x);
  }

  friend constexpr Binary64 operator-(const Binary64& x, const Binary64& y) { return x + -y; }

  friend constexpr Binary64 operator*(const Binary64& x, const Binary64& y) {
    if (x.mantissa_ == 0 || y.mantissa_ == 0) {
      return {};
    }
    constexpr std::uint64_t kLow = 0xFFFFFFFF;
    const std::uint64_t low = (x.mantissa_ & kLow) * (y.mantissa_ & kLow);
    const std::uint64_t middle = (x.mantissa_ >> 32) * (y.mantissa_ & kLow) + (low >> 32);
    const std::uint64_t other = (x.mantissa_ & kLow) * (y.mantissa_ >> 32) + (middle & kLow);
    const std::uint64_t upper_half =
        (x.mantissa_ >> 32) * (y.mantissa_ >> 32) + (middle >> 32) + (other >> 32);
    const std::uint64_t lower_half = other << 32 | (low & kLow);
    // The product has 105 or 106 bits. The upper 63 or 64 are kept, and whether any lower bit is
    // set.
    constexpr int kDropped = 42;
    return rounded(x.negative_ != y.negative_,
                   upper_half << (64 - kDropped) | lower_half >> kDropped,
                   x.exponent_ + y.exponent_ + kDropped, lower_half << (64 - kDropped) != 0);
  }

  /// `y` is not 0.
  friend constexpr Binary64 operator/(const Binary64& x, const Binary64& y) {
    return divided(x.negative_ != y.negative_, x.mantissa_, x.exponent_, y.mantissa_, y.exponent_);
  }

  friend constexpr bool operator<(const Binary64& x, const Binary64& y) {
    const Binary64 difference = x - y;
    return difference.negative_ && difference.mantissa_ != 0;
  }

  constexpr bool is_negative() const { return negative_ && mantissa_ != 0; }

  constexpr Binary64 magnitude() const { return is_negative() ? -*this : *this; }

  /// The number without its fraction. Its magnitude must be below 2^63.
  constexpr std::int64_t truncated() const {
    const std::uint64_t whole = exponent_ >= 0     ? mantissa_ << exponent_
                                : exponent_ <= -64 ? 0
                                                   : mantissa_ >> -exponent_;
    return negative_ ? -static_cast<std::int64_t>(whole) : static_cast<std::int64_t>(whole);
  }

 private:
  static constexpr int kBits = 53;  // of a mantissa

  /// +- mantissa * 2^exponent, rounded to kBits. `more`: a bit beyond the mantissa is set; then
  /// the mantissa has at least two bits more than kBits.
  static constexpr Binary64 rounded(bool negative, std::uint64_t mantissa, int exponent,
                                    bool more) {
    Binary64 result;
    if (mantissa == 0) {
      return result;
    }
    const int excess = 64 - std::countl_zero(mantissa) - kBits;
    if (excess > 0) {
      const std::uint64_t half = std::uint64_t{1} << (excess - 1);
      const std::uint64_t rest = mantissa & (2 * half - 1);
      mantissa >>= excess;
      const bool is_odd = (mantissa & 1) != 0;
      mantissa += rest > half || (rest == half && (more || is_odd)) ? 1 : 0;
    } else {
      mantissa <<= -excess;
    }
    const bool carried = mantissa >> kBits != 0;
    result.negative_ = negative;
    result.mantissa_ = carried ? mantissa >> 1 : mantissa;
    result.exponent_ = exponent + excess + (carried ? 1 : 0);
    return result;
  }

  /// x + y, where |x| >= |y| > 0.
  static constexpr Binary64 sum(const Binary64& x, const Binary64& y) {
    constexpr int kGuard = 10;  // both then have 63 bits, and their sum 64
    const int down = x.exponent_ - y.exponent_;
    const std::uint64_t larger = x.mantissa_ << kGuard;
    const std::uint64_t exact = y.mantissa_ << kGuard;
    const std::uint64_t smaller = down < 64 ? exact >> down : 0;
    const bool more = down >= 64 || smaller << down != exact;
    const bool same_sign = x.negative_ == y.negative_;
    // If bits of y were dropped, the difference is between larger - smaller - 1 and larger -
    // smaller.
    const std::uint64_t total = same_sign ? larger + smaller : larger - smaller - (more ? 1 : 0);
    return rounded(x.negative_, total, x.exponent_ - kGuard, more);
  }

  static constexpr Binary64 divided(bool negative, std::uint64_t numerator, int numerator_exponent,
                                    std::uint64_t denominator, int denominator_exponent) {
    if (numerator == 0) {
      return {};
    }
    const int up = std::countl_zero(numerator);
    const int denominator_up = std::countl_zero(denominator);
    std::uint64_t rest = numerator << up;
    denominator <<= denominator_up;
    std::uint64_t quotient = 0;
    bool carried = false;  // the remainder's bit 64
    constexpr int kQuotientBits = kBits + 4;
    for (int bit = 0; bit < kQuotientBits; ++bit) {
      const bool fits = carried || rest >= denominator;
      rest -= fits ? denominator : 0;
      quotient = quotient << 1 | (fits ? 1 : 0);
      carried = rest >> 63 != 0;
      rest <<= 1;
    }
    const int exponent = numerator_exponent - denominator_exponent - up + denominator_up;
    return rounded(negative, quotient, exponent - (kQuotientBits - 1), carried || rest != 0);
  }

  bool negative_ = false;
  int exponent_ = 0;
  std::uint64_t mantissa_ = 0;  // 0, or kBits bits of which the upper one is set
};

}  // namespace bitlog2::runtime
