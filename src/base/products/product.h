// A matrix product with the kernels of one instruction set.
#pragma once

#include "base/matrix_product.h"
#include "base/products/kernels.h"

namespace bitlog2::products {

/// How many rows of the left matrix are packed together: a product of fewer rows packs all of the
/// right one for these alone.
inline constexpr std::size_t kRowsPacked = 240;

constexpr std::size_t divide_up(std::size_t value, std::size_t by) {
  return (value + by - 1) / by;
}

/// multiply() of base/matrix_product.h with these kernels, which the machine must be able to run.
template <class Real>
void multiply_with(const ProductKernels<Real>& kernels, const MatrixView<Real>& a,
                   const MatrixView<Real>& b, Real* c, std::size_t c_step, Onto onto);

}  // namespace bitlog2::products
