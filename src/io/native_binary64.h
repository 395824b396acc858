// The hardware's numbers of 64 bits, behind the interface of the runtime's Binary64.
#pragma once

#include <cmath>
#include <cstdint>

namespace bitlog2::resize {

class NativeBinary64 {
 public:
  constexpr NativeBinary64() = default;
  static constexpr NativeBinary64 integer(std::int64_t value) {
    return NativeBinary64(static_cast<double>(value));
  }
  static constexpr NativeBinary64 ratio(std::uint64_t numerator, std::uint64_t denominator) {
    return NativeBinary64(static_cast<double>(numerator) / static_cast<double>(denominator));
  }
  friend constexpr NativeBinary64 operator-(NativeBinary64 x) { return NativeBinary64(-x.value_); }
  friend constexpr NativeBinary64 operator+(NativeBinary64 x, NativeBinary64 y) {
    return NativeBinary64(x.value_ + y.value_);
  }
  friend constexpr NativeBinary64 operator-(NativeBinary64 x, NativeBinary64 y) {
    return NativeBinary64(x.value_ - y.value_);
  }
  friend constexpr NativeBinary64 operator*(NativeBinary64 x, NativeBinary64 y) {
    return NativeBinary64(x.value_ * y.value_);
  }
  friend constexpr NativeBinary64 operator/(NativeBinary64 x, NativeBinary64 y) {
    return NativeBinary64(x.value_ / y.value_);
  }
  friend constexpr bool operator<(NativeBinary64 x, NativeBinary64 y) {
    return x.value_ < y.value_;
  }
  constexpr bool is_negative() const { return value_ < 0; }
  NativeBinary64 magnitude() const { return NativeBinary64(std::fabs(value_)); }
  constexpr std::int64_t truncated() const { return static_cast<std::int64_t>(value_); }
  constexpr double value() const { return value_; }

 private:
  constexpr explicit NativeBinary64(double value) : value_(value) {}

  double value_ = 0;
};

}  // namespace bitlog2::resize
