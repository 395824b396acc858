// Each of the closed forms of calibration by itself.
#include <gtest/gtest.h>

#include "calibrate/least_squares.h"
#include "calibrate/transforms/hadamard.h"
#include "calibrate/transforms/head_equalization.h"
#include "calibrate/weight_rounding.h"
#include "quant/range_search.h"
#include "random_values.h"

namespace bitlog2::calibration {
namespace {

using quant::affine_of;
using quant::search_range;

using ::bitlog2::testing::normal_values;

/// [rows, columns] values whose columns depend on each other.
std::vector<float> correlated_values(std::size_t rows, std::size_t columns, std::uint32_t seed) {
  std::vector<float> values = normal_values(rows * columns, seed);
  for (std::size_t row = 0; row < rows; ++row) {
    for (std::size_t c = 1; c < columns; ++c) {
      values[row * columns + c] += 0.9F * values[row * columns + c - 1];
    }
  }
  return values;
}

const std::vector<float> kOne = {1.0F};

double quadratic(const Matrix& lost, const Matrix& hessian) {
  return (lost * hessian).cwiseProduct(lost).sum();
}

TEST(LeastSquares, RidgeFindsTheWeightsThatMadeTheTarget) {
  ThreadPool pool(2);
  constexpr std::size_t kRows = 300;
  const auto x = correlated_values(kRows, 12, 1);
  const Matrix weights = to_matrix(normal_values(5 * 12, 2), 5);
  const Matrix product = to_matrix(x, kRows) * weights.transpose();
  std::vector<float> y(kRows * 5);
  copy_to((product.array() + 3.0).matrix(), y);  // a bias of 3, which centring removes
  const Moments moments = find_moments(x, y, kRows, kOne, pool);
  const Matrix found = ridge(moments, Matrix::Zero(5, 12), 1e-9, pool);
  EXPECT_LT((found - weights).cwiseAbs().maxCoeff(), 1e-3);
  const Matrix held = ridge(moments, Matrix::Zero(5, 12), 1e9, pool);
  EXPECT_LT(held.cwiseAbs().maxCoeff(), 1e-3) << "damping keeps what was there";
}

TEST(LeastSquares, MomentsDoNotDependOnThreadsAndFollowWeights) {
  ThreadPool one(1);
  ThreadPool three(3);
  const auto x = normal_values(400 * 150, 3);
  const auto y = normal_values(400 * 4, 4);
  const std::vector<float> weights = {5.0F, 1.0F, 1.0F, 1.0F};
  const Moments a = find_moments(x, y, 400, weights, one);
  const Moments b = find_moments(x, y, 400, weights, three);
  EXPECT_TRUE(a.gram == b.gram);
  EXPECT_TRUE(a.cross == b.cross);
  const Moments even = find_moments(x, y, 400, kOne, one);
  EXPECT_GT((a.gram - even.gram).cwiseAbs().maxCoeff(), 1e-3);
}

TEST(WeightRounding, SecondOrderBeatsNearestAndStaysOnTheGrid) {
  ThreadPool pool(2);
  for (const int bits : {2, 3, 4, 8}) {
    const auto x = correlated_values(500, 24, 5);
    const Matrix weights = to_matrix(normal_values(10 * 24, 6), 10);
    const Moments moments = find_moments(x, x, 500, kOne, pool);
    Matrix hessian = moments.gram;
    hessian.diagonal().array() += 0.01;
    const auto error = [&](bool second_order, bool search) {
      const RoundedWeights rounded =
          round_weights(weights, hessian, {bits, second_order, search}, pool);
      std::vector<float> once(10 * 24);
      copy_to(rounded.weights, once);
      std::vector<float> again = once;
      fake_quantize_rows(rounded.quantizer, again);
      EXPECT_EQ(once, again) << "codes of their own quantizer";
      return quadratic(rounded.weights - weights, hessian);
    };
    EXPECT_LT(error(true, false), 0.8 * error(false, false)) << bits;
    EXPECT_LE(error(false, true), error(false, false)) << bits;
    EXPECT_LE(error(true, true), error(true, false)) << bits;
  }
}

TEST(WeightRounding, NoOtherCodeOfOneWeightIsMuchBetter) {
  ThreadPool pool(2);
  const auto x = correlated_values(500, 24, 5);
  const Matrix weights = to_matrix(normal_values(40 * 24, 6), 40);
  Matrix hessian = find_moments(x, x, 500, kOne, pool).gram;
  hessian.diagonal().array() += 0.01;
  const RoundedWeights rounded = round_weights(weights, hessian, {3, true, true}, pool);
  for (Eigen::Index row = 0; row < weights.rows(); ++row) {
    const double scale = rounded.quantizer.scale[static_cast<std::size_t>(row)];
    const double zero = rounded.quantizer.zero_point[static_cast<std::size_t>(row)];
    const Matrix lost = rounded.weights.row(row) - weights.row(row);
    const double error = quadratic(lost, hessian);
    for (Eigen::Index c = 0; c < weights.cols(); ++c) {
      for (const double step : {-scale, scale}) {
        const double code = (rounded.weights(row, c) + step) / scale + zero;
        Matrix other = lost;
        other(0, c) += step;
        EXPECT_TRUE(code < -0.5 || code > 7.5 || quadratic(other, hessian) > 0.95 * error);
      }
    }
  }
}

TEST(WeightRounding, ConstantRowsAreExact) {
  ThreadPool pool(1);
  const Matrix weights = Matrix::Constant(3, 6, -0.25);
  const auto rounded = round_weights(weights, Matrix::Identity(6, 6), {4, true, true}, pool);
  EXPECT_TRUE(rounded.weights == weights);
}

double squared_error(const Affine& quantizer, std::vector<float> values) {
  const std::vector<float> before = values;
  fake_quantize(quantizer, values);
  double sum = 0;
  for (std::size_t i = 0; i < values.size(); ++i) {
    sum += (values[i] - before[i]) * (values[i] - before[i]);
  }
  return sum;
}

TEST(Ranges, SearchBeatsThreeQuantiles) {
  ThreadPool pool(1);
  for (const int bits : {2, 3, 4}) {
    const auto values = normal_values(20000, 7);
    const quant::Range range = search_range(values, kOne, bits);
    EXPECT_LT(squared_error(affine_of(range, bits), values),
              squared_error(calibrate_affine(values, bits, pool), values))
        << bits;
  }
}

TEST(Ranges, ConstantsAreExact) {
  for (const float constant : {0.0F, 2.5F, -2.5F}) {
    const std::vector<float> values(100, constant);
    const quant::Range range = search_range(values, kOne, 4);
    EXPECT_EQ(squared_error(affine_of(range, 4), values), 0.0);
  }
}

TEST(ResidualTransform, RotationSpreadsChannelsAndKeepsTheirMean) {
  for (const std::size_t size : {32U, 48U, 192U}) {
    const Matrix rotation = random_hadamard(size);
    const Matrix identity = Matrix::Identity(index(size), index(size));
    EXPECT_LT((rotation * rotation.transpose() - identity).cwiseAbs().maxCoeff(), 1e-12);
    EXPECT_LT((rotation.rowwise().sum().array() - 1.0).abs().maxCoeff(), 1e-12);
    // The entries have variance 1 / size; none is much larger than the others.
    EXPECT_LT(rotation.cwiseAbs().maxCoeff(), 5 / std::sqrt(static_cast<double>(size)));
  }
}

TEST(HeadTransforms, BalancingReachesItsBound) {
  for (const Eigen::Index size : {8, 12}) {
    const auto n = static_cast<std::size_t>(size);
    const auto moment = [&](std::uint32_t seed) {
      const Matrix x = to_matrix(correlated_values(200, n, seed), 200);
      return Matrix(x.transpose() * x / 200.0);
    };
    const Matrix a = moment(8);
    const Matrix b = moment(9);
    const Matrix basis = balancing_basis(a, b);
    const Matrix inverse = basis.inverse();
    const auto cost = [&](const Matrix& g, const Matrix& g_inverse) {
      const Vector left = (g.transpose() * a * g).diagonal();
      const Vector right = (g_inverse * b * g_inverse.transpose()).diagonal();
      return left.dot(right);
    };
    // The sum of the singular values of a^(1/2) b^(1/2), which are the roots of the eigenvalues of
    // a b.
    const double nuclear = Eigen::EigenSolver<Eigen::MatrixXd>(a * b)
                               .eigenvalues()
                               .real()
                               .cwiseMax(0)
                               .cwiseSqrt()
                               .sum();
    const double bound = nuclear * nuclear / static_cast<double>(size);
    EXPECT_LE(cost(basis, inverse), (size == 8 ? 1.001 : 1.25) * bound) << size;
    EXPECT_LT(cost(basis, inverse),
              cost(Matrix::Identity(size, size), Matrix::Identity(size, size)));
  }
}

}  // namespace
}  // namespace bitlog2::calibration
