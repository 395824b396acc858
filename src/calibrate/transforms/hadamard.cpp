#include "calibrate/transforms/hadamard.h"

#include <bit>
#include <cmath>
#include <numbers>
#include <random>

namespace bitlog2::calibration {

Matrix hadamard(Eigen::Index size) {
  Matrix result(size, size);
  const bool power = std::has_single_bit(static_cast<std::size_t>(size));
  for (Eigen::Index i = 0; i < size; ++i) {
    for (Eigen::Index j = 0; j < size; ++j) {
      const double angle =
          2 * std::numbers::pi * static_cast<double>(i * j % size) / static_cast<double>(size);
      const bool odd = std::popcount(static_cast<std::size_t>(i & j)) % 2 != 0;
      result(i, j) = power ? (odd ? -1.0 : 1.0) : std::cos(angle) + std::sin(angle);
    }
  }
  return result / std::sqrt(static_cast<double>(size));
}

Matrix random_hadamard(std::size_t size) {
  const Matrix spread = hadamard(index(size));
  Vector signs = Vector::Ones(index(size));
  std::mt19937 random;  // by default always the same
  for (std::size_t i = 1; i < size; ++i) {
    signs[index(i)] = random() % 2 == 0 ? -1.0 : 1.0;
  }
  // The first column of `spread` is constant; its sign stays.
  return spread * signs.asDiagonal() * spread;
}

}  // namespace bitlog2::calibration
