// Tiles of 8 rows by two vectors: 16 of NEON's 32 registers hold sums.
#if defined(__aarch64__)

#include <arm_neon.h>

#include "base/products/includes.h"

namespace bitlog2::products {
namespace {

#include "base/products/panels.h"

struct Floats {
  using Real = float;
  using Vector = float32x4_t;
  static constexpr std::size_t kWidth = 4;
  static constexpr std::size_t kRows = 8;
  static constexpr std::size_t kVectors = 2;

  static Vector load(const float* values) { return vld1q_f32(values); }
  static void store(float* values, Vector v) { vst1q_f32(values, v); }
  static Vector broadcast(float value) { return vdupq_n_f32(value); }
  static Vector multiply_add(Vector a, Vector b, Vector c) { return vfmaq_f32(c, a, b); }
};

struct Doubles {
  using Real = double;
  using Vector = float64x2_t;
  static constexpr std::size_t kWidth = 2;
  static constexpr std::size_t kRows = 8;
  static constexpr std::size_t kVectors = 2;

  static Vector load(const double* values) { return vld1q_f64(values); }
  static void store(double* values, Vector v) { vst1q_f64(values, v); }
  static Vector broadcast(double value) { return vdupq_n_f64(value); }
  static Vector multiply_add(Vector a, Vector b, Vector c) { return vfmaq_f64(c, a, b); }
};

}  // namespace

constinit const ProductKernels<float> kNeonFloats = make_kernels<Floats>();
constinit const ProductKernels<double> kNeonDoubles = make_kernels<Doubles>();

}  // namespace bitlog2::products

#endif
