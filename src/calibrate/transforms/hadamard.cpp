#include "calibrate/transforms/hadamard.h"

#include <bit>
#include <cmath>
#include <random>

#include "base/elementary.h"

namespace bitlog2::calibration {

Matrix hadamard(Eigen::Index size) {
  Matrix result(size, size);
  const bool power = std::has_single_bit(static_cast<std::size_t>(size));
  for (Eigen::Index i = 0; i < size; ++i) {
    for (Eigen::Index j = 0; j < size; ++j) {
      const auto [cosine, sine] =
          elementary::turn(static_cast<std::size_t>(i * j % size), static_cast<std::size_t>(size));
      const bool odd = std::popcount(static_cast<std::size_t>(i & j)) % 2 != 0;
      result(i, j) = power ? (odd ? -1.0 : 1.0) : cosine + sine;
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
  return product(spread * signs.asDiagonal(), spread);
}

}  // namespace bitlog2::calibration
