// Matrices in double precision, for the closed forms; data stays in float32 until it is summed.
//
// Eigen adds in an order that depends on the processor's vectors and caches. CMakeLists.txt turns
// off its vectors and fixes its cache sizes for this module, so that small products and
// decompositions give the same bits everywhere, but slowly. Large products use
// base/matrix_product.h, by product() below and by calibrate/factorization.h.
#pragma once

#include <Eigen/Dense>
#include <span>

#include "base/matrix_product.h"

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

inline MatrixView<double> view(const Matrix& matrix) {
  const auto columns = static_cast<std::size_t>(matrix.cols());
  return {matrix.data(), static_cast<std::size_t>(matrix.rows()), columns, columns};
}

/// a b, for large matrices.
inline Matrix product(const MatrixView<double>& a, const MatrixView<double>& b) {
  Matrix result(index(a.rows), index(b.columns));
  multiply(a, b, result.data(), b.columns);
  return result;
}

inline Matrix product(const MatrixView<double>& a, const MatrixView<double>& b, ThreadPool& pool) {
  Matrix result(index(a.rows), index(b.columns));
  multiply(a, b, result.data(), b.columns, Onto::nothing, pool);
  return result;
}

inline Matrix product(const Matrix& a, const Matrix& b) {
  return product(view(a), view(b));
}

}  // namespace bitlog2::calibration
