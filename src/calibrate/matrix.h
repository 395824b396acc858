// Double-precision matrices of the closed forms; data stays float32 until it is summed up.
#pragma once

#include <Eigen/Dense>
#include <span>

namespace bitlog2::calibration {

using Matrix = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
using Vector = Eigen::VectorXd;

inline Eigen::Index index(std::size_t i) {
  return static_cast<Eigen::Index>(i);
}

/// Row-major float32 values as a matrix of doubles.
inline Matrix to_matrix(std::span<const float> values, std::size_t rows) {
  using View =
      Eigen::Map<const Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>>;
  return View(values.data(), index(rows), index(values.size() / rows)).cast<double>();
}

inline Vector to_vector(std::span<const float> values) {
  return Eigen::Map<const Eigen::VectorXf>(values.data(), index(values.size())).cast<double>();
}

/// The reverse of to_matrix.
template <class Values>
void copy_to(const Values& matrix, std::span<float> values) {
  Eigen::Map<Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>>(
      values.data(), matrix.rows(), matrix.cols()) = matrix.template cast<float>();
}

}  // namespace bitlog2::calibration
