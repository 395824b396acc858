// Tiles of 6 rows by two vectors: 12 of AVX2's 16 registers hold sums.
#if defined(__x86_64__)

#include <immintrin.h>

#include "base/products/includes.h"

BITLOG2_BEGIN_TARGET("avx2,fma")

namespace bitlog2::products {
namespace {

#include "base/products/panels.h"

struct Floats {
  using Real = float;
  using Vector = __m256;
  static constexpr std::size_t kWidth = 8;
  static constexpr std::size_t kRows = 6;
  static constexpr std::size_t kVectors = 2;

  static Vector load(const float* values) { return _mm256_loadu_ps(values); }
  static void store(float* values, Vector v) { _mm256_storeu_ps(values, v); }
  static Vector broadcast(float value) { return _mm256_set1_ps(value); }
  static Vector multiply_add(Vector a, Vector b, Vector c) { return _mm256_fmadd_ps(a, b, c); }
};

struct Doubles {
  using Real = double;
  using Vector = __m256d;
  static constexpr std::size_t kWidth = 4;
  static constexpr std::size_t kRows = 6;
  static constexpr std::size_t kVectors = 2;

  static Vector load(const double* values) { return _mm256_loadu_pd(values); }
  static void store(double* values, Vector v) { _mm256_storeu_pd(values, v); }
  static Vector broadcast(double value) { return _mm256_set1_pd(value); }
  static Vector multiply_add(Vector a, Vector b, Vector c) { return _mm256_fmadd_pd(a, b, c); }
};

}  // namespace

constinit const ProductKernels<float> kAvx2Floats = make_kernels<Floats>();
constinit const ProductKernels<double> kAvx2Doubles = make_kernels<Doubles>();

}  // namespace bitlog2::products

BITLOG2_END_TARGET

#endif
