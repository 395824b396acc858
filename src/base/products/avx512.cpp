// Tiles of 14 rows by two vectors: 28 of AVX-512's 32 registers hold sums.
#if defined(__x86_64__)

#include <immintrin.h>

#include "base/products/includes.h"

BITLOG2_BEGIN_TARGET("avx512f")

namespace bitlog2::products {
namespace {

#include "base/products/panels.h"

struct Floats {
  using Real = float;
  using Vector = __m512;
  static constexpr std::size_t kWidth = 16;
  static constexpr std::size_t kRows = 14;
  static constexpr std::size_t kVectors = 2;

  static Vector load(const float* values) { return _mm512_loadu_ps(values); }
  static void store(float* values, Vector v) { _mm512_storeu_ps(values, v); }
  static Vector broadcast(float value) { return _mm512_set1_ps(value); }
  static Vector multiply_add(Vector a, Vector b, Vector c) { return _mm512_fmadd_ps(a, b, c); }
};

struct Doubles {
  using Real = double;
  using Vector = __m512d;
  static constexpr std::size_t kWidth = 8;
  static constexpr std::size_t kRows = 14;
  static constexpr std::size_t kVectors = 2;

  static Vector load(const double* values) { return _mm512_loadu_pd(values); }
  static void store(double* values, Vector v) { _mm512_storeu_pd(values, v); }
  static Vector broadcast(double value) { return _mm512_set1_pd(value); }
  static Vector multiply_add(Vector a, Vector b, Vector c) { return _mm512_fmadd_pd(a, b, c); }
};

}  // namespace

constinit const ProductKernels<float> kAvx512Floats = make_kernels<Floats>();
constinit const ProductKernels<double> kAvx512Doubles = make_kernels<Doubles>();

}  // namespace bitlog2::products

BITLOG2_END_TARGET

#endif
