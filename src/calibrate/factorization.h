// Cholesky's factorization and triangular inverses of large matrices, by blocks, so that nearly all
// of the work is matrix products on all threads. The same bits on every machine.
#pragma once

#include "bitlog2/parallel.h"
#include "calibrate/matrix.h"

namespace bitlog2::calibration {

/// The lower triangular L with L L^T = `matrix`. `matrix` is symmetric and positive definite; only
/// its lower triangle is read.
Matrix cholesky(Matrix matrix, ThreadPool& pool);

/// The inverse of a lower triangular matrix.
Matrix invert_lower(const Matrix& lower, ThreadPool& pool);

/// The solution x of `matrix` x = `right`, for a symmetric positive definite matrix.
Matrix solve_positive(Matrix matrix, const Matrix& right, ThreadPool& pool);

/// The upper triangular U with U^T U = `matrix`^-1, for a symmetric positive definite matrix.
Matrix cholesky_of_inverse(Matrix matrix, ThreadPool& pool);

}  // namespace bitlog2::calibration
