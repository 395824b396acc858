// Parts of the float engines' loops (simulate/loops.cpp, simulate/gradients.cpp): functions
// of one value without branches, so that loops over them vectorize, and sums in a fixed order.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <numbers>
#include <span>

namespace bitlog2::simulate {

/// The number of partial results of a reduction; it is fixed, and so is their order.
inline constexpr std::size_t kLanes = 16;

/// erf(x) = x P(x^2) / Q(x^2) on |x| <= 3.9, beyond which it is 1 in float32. A least-squares
/// fit of degree 5/5, equalised; 4e-7 with float32 rounding.
inline float error_function(float x) {
  const float bounded = std::clamp(x, -3.9F, 3.9F);
  const float z = bounded * bounded;
  float p = 2.050511966444901e-06F;
  p = p * z + 0.00028744409792125225F;
  p = p * z + 0.003836248302832246F;
  p = p * z + 0.052964985370635986F;
  p = p * z + 0.19192619621753693F;
  p = p * z + 1.128378987312317F;
  float q = 3.8231351936701685e-05F;
  q = q * z + 0.001181584084406495F;
  q = q * z + 0.015107947401702404F;
  q = q * z + 0.11475210636854172F;
  q = q * z + 0.5034219622612F;
  q = q * z + 1.0F;
  return std::clamp(bounded * p / q, -1.0F, 1.0F);
}

/// e^x for x <= 0, by 2^n e^r with |r| <= ln(2) / 2; a fit of degree 6, 1e-7 relative.
inline float exp_of_nonpositive(float x) {
  const float bounded = std::max(x, -87.0F);
  const float n = std::rint(bounded * std::numbers::log2e_v<float>);
  // ln(2) in two parts, the first of few enough bits that n * part is exact
  const float r = (bounded - n * 0.693359375F) - n * -2.12194440e-4F;
  float p = 0.0013751150108873844F;
  p = p * r + 0.00836898759007454F;
  p = p * r + 0.04166954383254051F;
  p = p * r + 0.166665181517601F;
  p = p * r + 0.49999988079071045F;
  p = p * r * r + r + 1.0F;
  // Of NaN, which p is then, too, any integer will do.
  const auto whole = static_cast<std::int32_t>(std::max(-126.0F, n));
  const auto exponent = static_cast<std::uint32_t>(whole + 127);
  return p * std::bit_cast<float>(exponent << 23);
}

/// tanh|x| = (1 - e) / (1 + e) with e = e^(-2|x|); error 2e-7.
inline float hyperbolic_tangent(float x) {
  const float e = exp_of_nonpositive(-2.0F * std::fabs(x));
  return std::copysign((1.0F - e) / (1.0F + e), x);
}

/// 1 / (1 + e^-x), from e^-|x|; 2e-7 relative.
inline float sigmoid(float x) {
  const float e = exp_of_nonpositive(-std::fabs(x));
  return (x < 0.0F ? e : 1.0F) / (1.0F + e);
}

using Lanes = std::array<float, kLanes>;

inline float sum_of(const Lanes& lanes) {
  float sum = 0;
  for (const float lane : lanes) {
    sum += lane;
  }
  return sum;
}

/// The sum of term(i) for i in [0, count).
template <class Term>
inline float sum_terms(std::size_t count, Term term) {
  Lanes lanes = {};
  const std::size_t whole = count / kLanes * kLanes;
  for (std::size_t i = 0; i < whole; i += kLanes) {
    for (std::size_t lane = 0; lane < kLanes; ++lane) {
      lanes[lane] += term(i + lane);
    }
  }
  for (std::size_t i = whole; i < count; ++i) {
    lanes[i - whole] += term(i);
  }
  return sum_of(lanes);
}

/// The mean that LayerNorm subtracts from a row, and the factor by which it then multiplies.
struct Standardization {
  float mean;
  float factor;
};

[[gnu::always_inline]] inline Standardization standardization_of(std::span<const float> row,
                                                                 float eps) {
  const auto count = static_cast<float>(row.size());
  const float mean = sum_terms(row.size(), [&](std::size_t i) { return row[i]; }) / count;
  const float variance = sum_terms(row.size(),
                                   [&](std::size_t i) {
                                     const float centred = row[i] - mean;
                                     return centred * centred;
                                   }) /
                         count;
  return {mean, 1.0F / std::sqrt(variance + eps)};
}

}  // namespace bitlog2::simulate
