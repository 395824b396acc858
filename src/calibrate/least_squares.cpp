#include "calibrate/least_squares.h"

#include <cmath>
#include <vector>

#include "base/matrix_product.h"
#include "calibrate/factorization.h"

namespace bitlog2::calibration {
namespace {

constexpr std::size_t kRowsPerSum = 1024;  // summed in float32, beyond that in double
constexpr std::size_t kColumnsPerTask = 128;

Vector weighted_mean(std::span<const float> values, std::size_t rows,
                     std::span<const float> row_weights) {
  // NOLINTNEXTLINE(clang-analyzer-core.DivideZero): there are images to calibrate on
  const std::size_t columns = values.size() / rows;
  Vector sum = Vector::Zero(index(columns));
  double total = 0;
  for (std::size_t row = 0; row < rows; ++row) {
    const float weight = row_weights[row % row_weights.size()];
    total += weight;
    for (std::size_t c = 0; c < columns; ++c) {
      sum[index(c)] += static_cast<double>(weight) * values[row * columns + c];
    }
  }
  return sum / total;
}

/// sqrt(weight) * (value - mean), so that products of two are weighted moments.
std::vector<float> centred(std::span<const float> values, std::size_t rows,
                           std::span<const float> row_weights, const Vector& mean,
                           ThreadPool& pool) {
  const std::size_t columns = values.size() / rows;
  std::vector<float> result(values.size());
  const Eigen::VectorXf shift = mean.cast<float>();
  pool.parallel_for(rows, 64, [&](std::size_t begin, std::size_t end) {
    for (std::size_t row = begin; row < end; ++row) {
      const float factor = std::sqrt(row_weights[row % row_weights.size()]);
      for (std::size_t c = 0; c < columns; ++c) {
        result[row * columns + c] = factor * (values[row * columns + c] - shift[index(c)]);
      }
    }
  });
  return result;
}

/// a^T b for [rows, ..] matrices.
Matrix product(std::span<const float> a, std::span<const float> b, std::size_t rows,
               ThreadPool& pool) {
  const std::size_t a_columns = a.size() / rows;
  const std::size_t b_columns = b.size() / rows;
  Matrix result = Matrix::Zero(index(a_columns), index(b_columns));
  pool.parallel_for(a_columns, kColumnsPerTask, [&](std::size_t begin, std::size_t end) {
    std::vector<float> part((end - begin) * b_columns);
    for (std::size_t row = 0; row < rows; row += kRowsPerSum) {
      const std::size_t count = std::min(kRowsPerSum, rows - row);
      const MatrixView<float> left = {a.data() + row * a_columns + begin, count, end - begin,
                                      a_columns};
      const MatrixView<float> right = {b.data() + row * b_columns, count, b_columns, b_columns};
      multiply(left.transposed(), right, part.data(), b_columns);
      result.middleRows(index(begin), index(end - begin)) += to_matrix(part, end - begin);
    }
  });
  return result;
}

}  // namespace

Moments find_moments(std::span<const float> inputs, std::span<const float> targets,
                     std::size_t rows, std::span<const float> row_weights, ThreadPool& pool) {
  double total = 0;
  for (std::size_t row = 0; row < rows; ++row) {
    total += row_weights[row % row_weights.size()];
  }
  Moments moments;
  moments.input_mean = weighted_mean(inputs, rows, row_weights);
  moments.target_mean = weighted_mean(targets, rows, row_weights);
  const std::vector<float> x = centred(inputs, rows, row_weights, moments.input_mean, pool);
  const std::vector<float> y = centred(targets, rows, row_weights, moments.target_mean, pool);
  moments.gram = product(x, x, rows, pool) / total;
  moments.cross = product(x, y, rows, pool) / total;
  return moments;
}

Matrix ridge(const Moments& moments, const Matrix& weights, double damping, ThreadPool& pool) {
  Matrix gram = moments.gram;
  gram.diagonal().array() += damping;
  const Matrix right = moments.cross + damping * weights.transpose();
  return solve_positive(gram, right, pool).transpose();
}

}  // namespace bitlog2::calibration
