#include "simulate/gemm.h"

#include <cblas.h>

#include "simulate/blas.h"

namespace bitlog2::simulate {
namespace {

blasint dimension(std::size_t size) {
  return static_cast<blasint>(size);
}

}  // namespace

void multiply_transposed(const MatrixView& a, const MatrixView& b, float* c, std::size_t c_stride,
                         bool accumulate) {
  call_blas<&cblas_sgemm>("cblas_sgemm", CblasRowMajor, CblasNoTrans, CblasTrans, dimension(a.rows),
                          dimension(b.rows), dimension(a.columns), 1.0F, a.values,
                          dimension(a.stride), b.values, dimension(b.stride),
                          accumulate ? 1.0F : 0.0F, c, dimension(c_stride));
}

void multiply(const MatrixView& a, const MatrixView& b, float* c, std::size_t c_stride) {
  call_blas<&cblas_sgemm>("cblas_sgemm", CblasRowMajor, CblasNoTrans, CblasNoTrans,
                          dimension(a.rows), dimension(b.columns), dimension(a.columns), 1.0F,
                          a.values, dimension(a.stride), b.values, dimension(b.stride), 0.0F, c,
                          dimension(c_stride));
}

void multiply_gram(const MatrixView& a, const MatrixView& b, float* c, std::size_t c_stride) {
  call_blas<&cblas_sgemm>("cblas_sgemm", CblasRowMajor, CblasTrans, CblasNoTrans,
                          dimension(a.columns), dimension(b.columns), dimension(a.rows), 1.0F,
                          a.values, dimension(a.stride), b.values, dimension(b.stride), 0.0F, c,
                          dimension(c_stride));
}

}  // namespace bitlog2::simulate
