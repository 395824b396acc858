#include "calibrate/factorization.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace bitlog2::calibration {
namespace {

constexpr std::size_t kBlock = 64;

/// Where block b of `size` rows begins and ends, as Eigen counts.
struct Rows {
  Rows(std::size_t begin_at, std::size_t size)
      : begin(index(begin_at)), count(index(std::min(kBlock, size - begin_at))) {}

  Eigen::Index begin;
  Eigen::Index count;
};

/// Cholesky's factorization in place, for one block; what is above the diagonal becomes 0.
void factor_block(Matrix& block) {
  const Eigen::Index size = block.rows();
  for (Eigen::Index j = 0; j < size; ++j) {
    for (Eigen::Index k = 0; k < j; ++k) {
      block(j, j) -= block(j, k) * block(j, k);
      block(k, j) = 0;
    }
    block(j, j) = std::sqrt(block(j, j));
    for (Eigen::Index i = j + 1; i < size; ++i) {
      for (Eigen::Index k = 0; k < j; ++k) {
        block(i, j) -= block(i, k) * block(j, k);
      }
      block(i, j) /= block(j, j);
    }
  }
}

/// The inverse of a lower triangular block.
Matrix invert_block(const Matrix& lower) {
  const Eigen::Index size = lower.rows();
  Matrix inverse = Matrix::Zero(size, size);
  for (Eigen::Index j = 0; j < size; ++j) {
    inverse(j, j) = 1 / lower(j, j);
    for (Eigen::Index i = j + 1; i < size; ++i) {
      double sum = 0;
      for (Eigen::Index k = j; k < i; ++k) {
        sum += lower(i, k) * inverse(k, j);
      }
      inverse(i, j) = -sum / lower(i, i);
    }
  }
  return inverse;
}

}  // namespace

Matrix cholesky(Matrix matrix, ThreadPool& pool) {
  const auto size = static_cast<std::size_t>(matrix.rows());
  for (std::size_t first = 0; first < size; first += kBlock) {
    const Rows here(first, size);
    Matrix diagonal = matrix.block(here.begin, here.begin, here.count, here.count);
    factor_block(diagonal);
    matrix.block(here.begin, here.begin, here.count, here.count) = diagonal;
    const Eigen::Index below = here.begin + here.count;
    const Eigen::Index rest = index(size) - below;
    matrix.block(here.begin, below, here.count, rest).setZero();
    if (rest == 0) {
      break;
    }
    // The rows below the block: solve x diagonal^T = rows; then subtract their products from the
    // rest.
    const Matrix standing = matrix.block(below, here.begin, rest, here.count);
    const Matrix solved = product(view(standing), view(invert_block(diagonal)).transposed(), pool);
    matrix.block(below, here.begin, rest, here.count) = solved;
    const Matrix negative = -solved;
    for (std::size_t column = 0; column < static_cast<std::size_t>(rest); column += 4 * kBlock) {
      // Columns of the triangle, a few at a time, from their diagonal down.
      const std::size_t rows = static_cast<std::size_t>(rest) - column;
      const std::size_t columns = std::min(4 * kBlock, rows);
      multiply(view(negative).middle_rows(column, rows),
               view(solved).middle_rows(column, columns).transposed(),
               &matrix(below + index(column), below + index(column)), size, Onto::sums, pool);
    }
  }
  return matrix;
}

Matrix invert_lower(const Matrix& lower, ThreadPool& pool) {
  const auto size = static_cast<std::size_t>(lower.rows());
  Matrix inverse = Matrix::Zero(lower.rows(), lower.cols());
  for (std::size_t first = 0; first < size; first += kBlock) {
    const Rows here(first, size);
    const Matrix diagonal =
        invert_block(lower.block(here.begin, here.begin, here.count, here.count));
    inverse.block(here.begin, here.begin, here.count, here.count) = diagonal;
    if (first > 0) {
      const auto count = static_cast<std::size_t>(here.count);
      const Matrix left =
          product(view(lower).middle_rows(first, count).middle_columns(0, first),
                  view(inverse).middle_rows(0, first).middle_columns(0, first), pool);
      inverse.block(here.begin, 0, here.count, here.begin) =
          -product(view(diagonal), view(left), pool);
    }
  }
  return inverse;
}

Matrix solve_positive(Matrix matrix, const Matrix& right, ThreadPool& pool) {
  const Matrix inverse = invert_lower(cholesky(std::move(matrix), pool), pool);
  return product(view(inverse).transposed(), view(product(view(inverse), view(right), pool)), pool);
}

Matrix cholesky_of_inverse(Matrix matrix, ThreadPool& pool) {
  // With rows and columns in reverse order, matrix = L L^T; in their own order L is an upper
  // triangular R with matrix = R R^T, whose inverse is R^-T R^-1. In place, since large ones take
  // much memory.
  matrix.reverseInPlace();
  Matrix inverse = invert_lower(cholesky(std::move(matrix), pool), pool);
  inverse.reverseInPlace();
  return inverse;
}

}  // namespace bitlog2::calibration
