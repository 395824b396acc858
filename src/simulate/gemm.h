// Matrix products by BLAS, one thread per call: the thread pool above is the only one.
#pragma once

#include <cstddef>

namespace bitlog2::simulate {

/// A row-major matrix; rows are `stride` floats apart.
struct MatrixView {
  const float* values;
  std::size_t rows;
  std::size_t columns;
  std::size_t stride;
};

/// Limits OpenBLAS to one thread. The products below call this first; call it before any other BLAS
/// use, Eigen's included.
void use_one_blas_thread();

/// c [a.rows, b.rows] = a b^T, plus what c held if `accumulate`.
void multiply_transposed(const MatrixView& a, const MatrixView& b, float* c, std::size_t c_stride,
                         bool accumulate);

/// c [a.rows, b.columns] = a b.
void multiply(const MatrixView& a, const MatrixView& b, float* c, std::size_t c_stride);

/// c [a.columns, b.columns] = a^T b.
void multiply_gram(const MatrixView& a, const MatrixView& b, float* c, std::size_t c_stride);

}  // namespace bitlog2::simulate
