#include "calibrate/least_squares.h"

#include <cmath>
#include <utility>
#include <vector>

#include "base/matrix_product.h"
#include "calibrate/factorization.h"

namespace bitlog2::calibration {
namespace {

constexpr std::size_t kColumnsPerTask = 128;
constexpr std::size_t kMeanColumnsPerTask = 32;

/// sums += a^T b for [rows, ..] matrices, the first `columns` of b's and all of `a`'s from there
/// on; a part in float32, all of them in double.
void add_product(std::span<const float> a, std::size_t a_columns, std::size_t first,
                 std::span<const float> b, std::size_t b_columns, std::size_t b_first,
                 Matrix& sums) {
  const std::size_t rows = a.size() / a_columns;
  const std::size_t height = std::min(kColumnsPerTask, a_columns - first);
  const std::size_t width = b_columns - b_first;
  std::vector<float> part(height * width);
  const MatrixView<float> left = {a.data() + first, rows, height, a_columns};
  const MatrixView<float> right = {b.data() + b_first, rows, width, b_columns};
  multiply(left.transposed(), right, part.data(), width);
  for (std::size_t i = 0; i < height; ++i) {
    double* const sum = sums.data() + (first + i) * b_columns + b_first;
    for (std::size_t j = 0; j < width; ++j) {
      sum[j] += part[i * width + j];
    }
  }
}

}  // namespace

MomentSums::MomentSums(std::size_t inputs, std::size_t targets, std::span<const float> row_weights)
    : row_weights_(row_weights),
      x_(inputs),
      y_(targets),
      gram_(Matrix::Zero(index(inputs), index(inputs))),
      cross_(Matrix::Zero(index(inputs), index(targets))) {}

/// sqrt(weight) * (value - shift), so that products of two such values are terms of weighted
/// moments.
std::vector<float> MomentSums::Side::centred(std::span<const float> values,
                                             std::span<const float> row_weights, ThreadPool& pool) {
  if (columns == 0) {
    sum.resize(0);
    return {};
  }
  const std::size_t rows = values.size() / columns;
  const auto weighted_sums = [&](std::span<const float> from) {
    Vector sums = Vector::Zero(index(columns));
    pool.parallel_for(columns, kMeanColumnsPerTask, [&](std::size_t begin, std::size_t end) {
      for (std::size_t row = 0; row < rows; ++row) {
        const double weight = row_weights[row % row_weights.size()];
        for (std::size_t c = begin; c < end; ++c) {
          sums[index(c)] += weight * (values[row * columns + c] - from[c]);
        }
      }
    });
    return sums;
  };
  if (shift.empty()) {
    double total = 0;
    for (std::size_t row = 0; row < rows; ++row) {
      total += row_weights[row % row_weights.size()];
    }
    const Vector mean = weighted_sums(std::vector<float>(columns)) / total;
    shift.resize(columns);
    copy_to(mean, shift);
    sum = Vector::Zero(index(columns));
  }
  sum += weighted_sums(shift);
  std::vector<float> result(values.size());
  pool.parallel_for(rows, 64, [&](std::size_t begin, std::size_t end) {
    for (std::size_t row = begin; row < end; ++row) {
      const float factor = std::sqrt(row_weights[row % row_weights.size()]);
      for (std::size_t c = 0; c < columns; ++c) {
        result[row * columns + c] = factor * (values[row * columns + c] - shift[c]);
      }
    }
  });
  return result;
}

void MomentSums::add(std::span<const float> x, std::span<const float> y, ThreadPool& pool) {
  const std::size_t rows = x.size() / x_.columns;
  for (std::size_t row = 0; row < rows; ++row) {
    total_ += row_weights_[row % row_weights_.size()];
  }
  const std::vector<float> a = x_.centred(x, row_weights_, pool);
  const std::vector<float> b = y_.centred(y, row_weights_, pool);
  pool.parallel_for(x_.columns, kColumnsPerTask, [&](std::size_t begin, std::size_t) {
    add_product(a, x_.columns, begin, a, x_.columns, begin, gram_);
    if (y_.columns > 0) {
      add_product(a, x_.columns, begin, b, y_.columns, 0, cross_);
    }
  });
}

Moments MomentSums::moments() && {
  const Vector x_offset = x_.sum / total_;
  const Vector y_offset = y_.sum / total_;
  Moments moments;
  moments.gram = std::move(gram_);
  moments.gram /= total_;
  moments.cross = std::move(cross_);
  moments.cross /= total_;
  for (Eigen::Index i = 0; i < moments.gram.rows(); ++i) {
    for (Eigen::Index j = i; j < moments.gram.cols(); ++j) {
      moments.gram(i, j) -= x_offset[i] * x_offset[j];
      moments.gram(j, i) = moments.gram(i, j);
    }
    moments.cross.row(i) -= x_offset[i] * y_offset.transpose();
  }
  moments.input_mean = to_vector(x_.shift) + x_offset;
  moments.target_mean = to_vector(y_.shift) + y_offset;
  return moments;
}

Moments find_moments(std::span<const float> inputs, std::span<const float> targets,
                     std::size_t rows, std::span<const float> row_weights, ThreadPool& pool) {
  MomentSums sums(inputs.size() / rows, targets.size() / rows, row_weights);
  sums.add(inputs, targets, pool);
  return std::move(sums).moments();
}

Moments through(const Linear& layer, Moments moments, ThreadPool& pool) {
  const Matrix weight = to_matrix(layer.weight, layer.out_features);
  moments.cross = product(view(moments.cross), view(weight).transposed(), pool);
  const Matrix mean = moments.target_mean.transpose();
  moments.target_mean = product(view(mean), view(weight).transposed(), pool).transpose();
  if (!layer.bias.empty()) {
    moments.target_mean += to_vector(layer.bias);
  }
  return moments;
}

Matrix ridge(const Moments& moments, const Matrix& weights, double damping, ThreadPool& pool) {
  Matrix gram = moments.gram;
  gram.diagonal().array() += damping;
  const Matrix right = moments.cross + damping * weights.transpose();
  return solve_positive(std::move(gram), right, pool).transpose();
}

}  // namespace bitlog2::calibration
