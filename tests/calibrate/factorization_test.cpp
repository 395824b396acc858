#include "calibrate/factorization.h"

#include <gtest/gtest.h>

#include <random>

namespace bitlog2::calibration {
namespace {

Matrix random_matrix(Eigen::Index rows, Eigen::Index columns, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<double> normal;
  Matrix result(rows, columns);
  for (double& value : result.reshaped()) {
    value = normal(random);
  }
  return result;
}

Matrix positive_matrix(Eigen::Index size) {
  const Matrix factor = random_matrix(size, size + 5, 1);
  return factor * factor.transpose() / static_cast<double>(size) +
         0.1 * Matrix::Identity(size, size);
}

class Factorization : public testing::TestWithParam<Eigen::Index> {
 protected:
  ThreadPool pool{2};
  Matrix matrix = positive_matrix(GetParam());
  Matrix identity = Matrix::Identity(GetParam(), GetParam());
};

INSTANTIATE_TEST_SUITE_P(Sizes, Factorization, testing::Values(1, 5, 63, 64, 65, 200, 333),
                         testing::PrintToStringParamName());

TEST_P(Factorization, CholeskyIsTriangularAndMultipliesBack) {
  const Matrix lower = cholesky(matrix, pool);
  EXPECT_TRUE(lower.isLowerTriangular(0));
  EXPECT_LT((lower * lower.transpose() - matrix).cwiseAbs().maxCoeff(), 1e-12);
}

TEST_P(Factorization, ReadsTheLowerTriangleAlone) {
  Matrix half = matrix;
  half.triangularView<Eigen::StrictlyUpper>().setConstant(1e9);
  EXPECT_TRUE(cholesky(half, pool) == cholesky(matrix, pool));
}

TEST_P(Factorization, InverseAndSolutionAreThose) {
  const Matrix lower = cholesky(matrix, pool);
  EXPECT_LT((lower * invert_lower(lower, pool) - identity).cwiseAbs().maxCoeff(), 1e-11);
  const Matrix right = random_matrix(GetParam(), 9, 2);
  EXPECT_LT((matrix * solve_positive(matrix, right, pool) - right).cwiseAbs().maxCoeff(), 1e-11);
}

TEST_P(Factorization, CholeskyOfTheInverseIsUpperTriangular) {
  const Matrix upper = cholesky_of_inverse(matrix, pool);
  EXPECT_TRUE(upper.isUpperTriangular(0));
  EXPECT_LT((upper.transpose() * upper * matrix - identity).cwiseAbs().maxCoeff(), 1e-10);
}

TEST_P(Factorization, DoesNotDependOnThreads) {
  ThreadPool one(1);
  ThreadPool three(3);
  EXPECT_TRUE(cholesky_of_inverse(matrix, one) == cholesky_of_inverse(matrix, three));
}

}  // namespace
}  // namespace bitlog2::calibration
