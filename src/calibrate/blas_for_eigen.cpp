// The BLAS functions to which Eigen hands its dense products (EIGEN_USE_BLAS), as calls of the
// OpenBLAS that is loaded on demand.
#include <Eigen/src/misc/blas.h>

#include "simulate/blas.h"

using bitlog2::simulate::call_blas;

extern "C" {

int daxpy_(const int* n, const double* alpha, const double* x, const int* incx, double* y,
           const int* incy) {
  return call_blas<&daxpy_>("daxpy_", n, alpha, x, incx, y, incy);
}

int dgemv_(const char* trans, const int* m, const int* n, const double* alpha, const double* a,
           const int* lda, const double* x, const int* incx, const double* beta, double* y,
           const int* incy) {
  return call_blas<&dgemv_>("dgemv_", trans, m, n, alpha, a, lda, x, incx, beta, y, incy);
}

int dtrmv_(const char* uplo, const char* trans, const char* diag, const int* n, const double* a,
           const int* lda, double* x, const int* incx) {
  return call_blas<&dtrmv_>("dtrmv_", uplo, trans, diag, n, a, lda, x, incx);
}

int dsymv_(const char* uplo, const int* n, const double* alpha, const double* a, const int* lda,
           const double* x, const int* incx, const double* beta, double* y, const int* incy) {
  return call_blas<&dsymv_>("dsymv_", uplo, n, alpha, a, lda, x, incx, beta, y, incy);
}

int dgemm_(const char* transa, const char* transb, const int* m, const int* n, const int* k,
           const double* alpha, const double* a, const int* lda, const double* b, const int* ldb,
           const double* beta, double* c, const int* ldc) {
  return call_blas<&dgemm_>("dgemm_", transa, transb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
}

int dtrsm_(const char* side, const char* uplo, const char* transa, const char* diag, const int* m,
           const int* n, const double* alpha, const double* a, const int* lda, double* b,
           const int* ldb) {
  return call_blas<&dtrsm_>("dtrsm_", side, uplo, transa, diag, m, n, alpha, a, lda, b, ldb);
}

int dtrmm_(const char* side, const char* uplo, const char* transa, const char* diag, const int* m,
           const int* n, const double* alpha, const double* a, const int* lda, double* b,
           const int* ldb) {
  return call_blas<&dtrmm_>("dtrmm_", side, uplo, transa, diag, m, n, alpha, a, lda, b, ldb);
}

int dsyrk_(const char* uplo, const char* trans, const int* n, const int* k, const double* alpha,
           const double* a, const int* lda, const double* beta, double* c, const int* ldc) {
  return call_blas<&dsyrk_>("dsyrk_", uplo, trans, n, k, alpha, a, lda, beta, c, ldc);
}

}  // extern "C"
