#include "bitlog2/distance.h"

#include <algorithm>
#include <cmath>

namespace bitlog2 {

void Distance::add(std::span<const float> reference, std::span<const float> values) {
  double reference_square = 0;
  double square = 0;
  double product = 0;
  for (std::size_t i = 0; i < std::min(reference.size(), values.size()); ++i) {
    const double expected = reference[i];
    const double value = values[i];
    reference_square += expected * expected;
    square += value * value;
    product += expected * value;
    noise_ += (value - expected) * (value - expected);
  }
  signal_ += reference_square;
  cosines_ += product / std::max(std::sqrt(reference_square * square), 1e-30);
  ++images_;
}

double Distance::decibels() const {
  return noise_ == 0 ? 200 : 10 * std::log10(std::max(signal_, 1e-30) / noise_);
}

}  // namespace bitlog2
