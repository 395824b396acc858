#include "base/matrix_product.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>

#include "base/products/product.h"

namespace bitlog2 {
namespace {

using products::ProductKernels;
using products::Table;

template <class Real>
const ProductKernels<Real>& kernels_of(const Table& table) {
  if constexpr (std::is_same_v<Real, float>) {
    return table.floats;
  } else {
    return table.doubles;
  }
}

/// A matrix with its own memory, stored by rows or by columns, with some space between them.
template <class Real>
struct TestMatrix {
  TestMatrix(std::size_t rows, std::size_t columns, bool by_columns, std::mt19937& random)
      : values((rows + 3) * (columns + 3)) {
    std::normal_distribution<Real> normal;
    for (Real& value : values) {
      value = normal(random);
    }
    view = by_columns ? MatrixView<Real>{values.data(), rows, columns, 1, rows + 3}
                      : MatrixView<Real>{values.data(), rows, columns, columns + 3};
  }

  std::vector<Real> values;
  MatrixView<Real> view = {};
};

template <class Real>
Real at(const MatrixView<Real>& matrix, std::size_t i, std::size_t j) {
  return matrix.values[i * matrix.row_step + j * matrix.column_step];
}

/// The result that the header promises: one chain of fused multiply-adds for each element.
template <class Real>
std::vector<Real> expected(const MatrixView<Real>& a, const MatrixView<Real>& b,
                           std::vector<Real> c, std::size_t c_step, Onto onto) {
  for (std::size_t i = 0; i < a.rows; ++i) {
    for (std::size_t j = 0; j < b.columns; ++j) {
      Real sum = onto == Onto::sums ? c[i * c_step + j] : Real{0};
      for (std::size_t k = 0; k < a.columns; ++k) {
        sum = std::fma(at(a, i, k), at(b, k, j), sum);
      }
      c[i * c_step + j] = sum;
    }
  }
  return c;
}

template <class Real>
bool same_bits(const std::vector<Real>& a, const std::vector<Real>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(Real)) == 0;
}

template <class Real>
void check(std::size_t rows, std::size_t columns, std::size_t depth, unsigned layout) {
  std::mt19937 random(7 * layout + 1);
  const TestMatrix<Real> a(rows, depth, (layout & 1U) != 0, random);
  const TestMatrix<Real> b(depth, columns, (layout & 2U) != 0, random);
  const Onto onto = (layout & 4U) != 0 ? Onto::sums : Onto::nothing;
  const std::size_t step = columns + 5;
  const std::vector<Real> before = TestMatrix<Real>(rows, columns + 2, false, random).values;
  const std::vector<Real> wanted = expected(a.view, b.view, before, step, onto);
  for (const Table& table : products::tables()) {
    if (table.runs_here()) {
      std::vector<Real> c = before;
      products::multiply_with(kernels_of<Real>(table), a.view, b.view, c.data(), step, onto);
      EXPECT_TRUE(same_bits(c, wanted))
          << table.name << " " << rows << "x" << columns << "x" << depth << " layout " << layout;
    }
  }
  for (const std::size_t threads : {1U, 2U, 3U}) {
    ThreadPool pool(threads);
    std::vector<Real> c = before;
    multiply(a.view, b.view, c.data(), step, onto, pool);
    EXPECT_TRUE(same_bits(c, wanted)) << threads << " threads";
    const PackedMatrix<Real> packed(b.view, pool);
    c = before;
    multiply(a.view, packed, c.data(), step, onto, pool);
    EXPECT_TRUE(same_bits(c, wanted)) << threads << " threads, packed";
  }
}

template <class Real>
class MatrixProduct : public testing::Test {};
using Reals = testing::Types<float, double>;
TYPED_TEST_SUITE(MatrixProduct, Reals);

TYPED_TEST(MatrixProduct, IsTheSameChainOfMultiplyAddsWithEveryTable) {
  for (unsigned layout = 0; layout < 8; ++layout) {
    for (const auto& [rows, columns, depth] : {std::array<std::size_t, 3>{1, 1, 1},
                                               {5, 3, 7},
                                               {14, 32, 16},
                                               {15, 33, 17},
                                               {29, 64, 100},
                                               {6, 16, 8},
                                               {13, 47, 259},
                                               {1, 300, 20},
                                               {1, 130, 37},
                                               {300, 1, 20}}) {
      check<TypeParam>(rows, columns, depth, layout);
    }
  }
}

TYPED_TEST(MatrixProduct, IsSoBeyondEveryBlock) {
  check<TypeParam>(260, 280, 270, 1);
  check<TypeParam>(250, 270, 300, 6);
  check<TypeParam>(17, 19, 4111, 4);
  check<TypeParam>(17, 19, 4111, 3);
  // Few rows, and enough work for several tasks, which share the packed left matrix.
  for (unsigned layout = 0; layout < 8; ++layout) {
    check<TypeParam>(197, 131, 530, layout);
    check<TypeParam>(3, 1200, 600, layout);
    // Around the number of rows that are packed at once.
    check<TypeParam>(layout % 2 == 0 ? 238 : 239, 150, 131, layout);
    check<TypeParam>(layout % 2 == 0 ? 240 : 241, 150, 131, layout);
  }
}

TYPED_TEST(MatrixProduct, OfEmptyMatricesIsZeroOrWhatWasThere) {
  check<TypeParam>(3, 4, 0, 0);
  check<TypeParam>(3, 4, 0, 4);
  check<TypeParam>(0, 4, 5, 0);
  check<TypeParam>(3, 0, 5, 0);
}

TYPED_TEST(MatrixProduct, KeepsInfinitiesAndNansInTheirRowsAndColumns) {
  constexpr std::size_t kSize = 37;
  std::mt19937 random(1);
  TestMatrix<TypeParam> a(kSize, kSize, false, random);
  TestMatrix<TypeParam> b(kSize, kSize, false, random);
  a.values[5 * a.view.row_step + 3] = std::numeric_limits<TypeParam>::infinity();
  b.values[3 * b.view.row_step + 36] = std::numeric_limits<TypeParam>::quiet_NaN();
  std::vector<TypeParam> c(kSize * kSize);
  multiply(a.view, b.view, c.data(), kSize);
  for (std::size_t i = 0; i < kSize; ++i) {
    for (std::size_t j = 0; j < kSize; ++j) {
      EXPECT_EQ(std::isfinite(c[i * kSize + j]), i != 5 && j != 36) << i << ", " << j;
    }
  }
}

RC_GTEST_PROP(MatrixProductProperty, HoldsForAnyShape, ()) {
  check<float>(*rc::gen::inRange<std::size_t>(1, 70), *rc::gen::inRange<std::size_t>(1, 90),
               *rc::gen::inRange<std::size_t>(0, 90), *rc::gen::inRange(0U, 8U));
}

TEST(ProductIsa, IsOneOfThoseThatRunHere) {
  const auto isas = available_product_isas();
  EXPECT_NE(std::ranges::find(isas, product_isa()), isas.end());
  EXPECT_EQ(isas.back(), "scalar");
}

}  // namespace
}  // namespace bitlog2
