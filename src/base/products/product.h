// A matrix product with the kernels of one instruction set.
#pragma once

#include <cstddef>
#include <memory>
#include <new>

#include "base/matrix_product.h"
#include "base/products/kernels.h"

namespace bitlog2::products {

/// How many rows of the left matrix are packed together. A product of fewer rows packs the whole
/// right matrix for these rows only.
inline constexpr std::size_t kRowsPacked = 240;

constexpr std::size_t divide_up(std::size_t value, std::size_t by) {
  return (value + by - 1) / by;
}

/// Uninitialised memory that is aligned to a cache line.
template <class Real>
class Buffer {
 public:
  explicit Buffer(std::size_t size)
      : values_(static_cast<Real*>(::operator new(size * sizeof(Real), kLine))) {}

  Real* get() const { return values_.get(); }

 private:
  static constexpr std::align_val_t kLine{64};
  struct Free {
    void operator()(Real* values) const { ::operator delete(values, kLine); }
  };
  std::unique_ptr<Real, Free> values_;
};

/// A right matrix packed for the kernels, for several products with it.
template <class Real>
class PackedRight {
 public:
  PackedRight(const ProductKernels<Real>& kernels, const MatrixView<Real>& b, ThreadPool& pool);

  /// The panels from `panel` on, with up to kDepth elements along k from `k` on.
  const Real* panels(std::size_t panel, std::size_t k) const;

 private:
  std::size_t panel_columns_;
  std::size_t block_;  // values of kDepth along k
  std::size_t rows_;
  Buffer<Real> values_;
};

/// A left matrix packed for the kernels, for several products with it.
template <class Real>
class PackedLeft {
 public:
  /// Whether a product packs all of this matrix at once, in the same panels.
  static bool holds(const ProductKernels<Real>& kernels, const MatrixView<Real>& a);

  PackedLeft(const ProductKernels<Real>& kernels, const MatrixView<Real>& a, ThreadPool& pool);

  /// All panels, with up to kDepth elements along k from `k` on.
  const Real* panels(std::size_t k) const;

 private:
  std::size_t block_;  // values of kDepth along k
  Buffer<Real> values_;
};

/// What is packed of a product's matrices; null: nothing.
template <class Real>
struct Packed {
  const PackedLeft<Real>* left = nullptr;
  const PackedRight<Real>* right = nullptr;
  std::size_t first_panel = 0;  ///< of `right`, from which on its panels are the right matrix's
};

/// multiply() of base/matrix_product.h with these kernels, which the machine must be able to run.
template <class Real>
void multiply_with(const ProductKernels<Real>& kernels, const MatrixView<Real>& a,
                   const MatrixView<Real>& b, Real* c, std::size_t c_step, Onto onto,
                   const Packed<Real>& packed = {});

}  // namespace bitlog2::products
