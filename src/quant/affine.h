// The affine quantizer's arithmetic for one value, without branches so that loops over it
// vectorize. Calibration, simulation and lowering encode and decode here and nowhere else.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <span>

#include "bitlog2/quantizers.h"

namespace bitlog2::quant {

/// The largest code of `bits` bits.
constexpr float qmax_of(int bits) {
  return static_cast<float>((1 << bits) - 1);
}

/// The code nearest to a value that lies `scales` scales above the one of code `zero_point`.
template <class Real>
Real nearest_code(Real scales, Real zero_point, Real qmax) {
  return std::clamp(std::rint(scales) + zero_point, Real{0}, qmax);
}

/// code = clamp(round(x / scale) + zero_point, 0, qmax), x^ = (code - zero_point) * scale.
template <class Real = float>
struct AffineStep {
  Real scale = 1;
  Real zero_point = 0;
  Real qmax = 15;

  Real encode(Real x) const { return nearest_code(x / scale, zero_point, qmax); }
  Real decode(Real code) const { return (code - zero_point) * scale; }
  Real operator()(Real x) const { return decode(encode(x)); }
};

/// The codes of which the first and the last stand for about `low` and `high`: the zero point is
/// whole. A constant, low == high, is exact, whatever `bits` is.
inline AffineStep<> step_between(float low, float high, int bits) {
  const float qmax = qmax_of(bits);
  if (low == high) {
    return {low == 0.0F ? 1.0F : std::fabs(low), low < 0.0F ? 1.0F : 0.0F, qmax};
  }
  const float scale = std::max((high - low) / qmax, std::numeric_limits<float>::min());
  return {scale, std::rint(-low / scale), qmax};
}

/// One quantizer with the steps of all channels, in order.
inline Affine affine_of(std::span<const AffineStep<>> steps, int bits) {
  Affine quantizer = {bits, {}, {}};
  for (const AffineStep<>& step : steps) {
    quantizer.scale.push_back(step.scale);
    quantizer.zero_point.push_back(step.zero_point);
  }
  return quantizer;
}

}  // namespace bitlog2::quant
