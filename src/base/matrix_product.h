// Matrix products in float32 and float64 that give the same bits on every CPU.
//
// Each element of a product is one chain of fused multiply-adds over k in ascending order, in its
// own type. So no element depends on the instruction set, on the number of threads, or on which
// other rows and columns are computed with it. Vectors run along the columns of the product;
// matrices are packed into panels (products/panels.h) and multiplied tile by tile, as in Goto and
// van de Geijn, "Anatomy of High-Performance Matrix Multiplication", 2008.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "bitlog2/parallel.h"

namespace bitlog2 {

/// A matrix in memory: element (i, j) is values[i * row_step + j * column_step].
template <class Real>
struct MatrixView {
  const Real* values;
  std::size_t rows;
  std::size_t columns;
  std::size_t row_step;
  std::size_t column_step = 1;

  MatrixView transposed() const { return {values, columns, rows, column_step, row_step}; }

  /// Rows [first, first + count).
  MatrixView middle_rows(std::size_t first, std::size_t count) const {
    return {values + first * row_step, count, columns, row_step, column_step};
  }

  MatrixView middle_columns(std::size_t first, std::size_t count) const {
    return {values + first * column_step, rows, count, row_step, column_step};
  }
};

/// What a product does with the previous elements of its result.
enum class Onto {
  nothing,  ///< replaces them
  sums,     ///< adds to them: the chains of multiply-adds begin with them
};

/// c [a.rows, b.columns] = a b, in the calling thread. The rows of c stand `c_step` apart. Real is
/// float or double.
template <class Real>
void multiply(const MatrixView<Real>& a, const MatrixView<Real>& b, Real* c, std::size_t c_step,
              Onto onto = Onto::nothing);

/// The same on all threads of the pool.
template <class Real>
void multiply(const MatrixView<Real>& a, const MatrixView<Real>& b, Real* c, std::size_t c_step,
              Onto onto, ThreadPool& pool);

namespace products {
template <class Real>
class PackedRight;
}

/// A right matrix that is packed once, for many products. The matrix must outlive it: products of
/// one row read it.
template <class Real>
class PackedMatrix {
 public:
  PackedMatrix(const MatrixView<Real>& matrix, ThreadPool& pool);

  const MatrixView<Real>& view() const { return view_; }
  const products::PackedRight<Real>& packed() const { return *packed_; }

 private:
  MatrixView<Real> view_;
  std::shared_ptr<const products::PackedRight<Real>> packed_;
};

/// multiply(a, b.view(), ...): the same bits.
template <class Real>
void multiply(const MatrixView<Real>& a, const PackedMatrix<Real>& b, Real* c, std::size_t c_step,
              Onto onto, ThreadPool& pool);

/// The instruction sets whose product kernels this machine can run, the fastest first; the last one
/// is "scalar".
std::vector<std::string> available_product_isas();

/// The one in use: the fastest that the environment variable BITLOG2_ISA allows.
std::string product_isa();

}  // namespace bitlog2
