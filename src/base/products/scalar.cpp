// Plain C++: for CPUs without fused multiply-adds on vectors, and as the reference for the others.
#include <cmath>

#include "base/products/includes.h"

namespace bitlog2::products {
namespace {

#include "base/products/panels.h"

template <class Value>
struct One {
  using Real = Value;
  using Vector = Value;
  static constexpr std::size_t kWidth = 1;
  static constexpr std::size_t kRows = 4;
  static constexpr std::size_t kVectors = 2;

  static Vector load(const Value* values) { return *values; }
  static void store(Value* values, Vector v) { *values = v; }
  static Vector broadcast(Value value) { return value; }
  static Vector multiply_add(Vector a, Vector b, Vector c) { return std::fma(a, b, c); }
};

}  // namespace

constinit const ProductKernels<float> kScalarFloats = make_kernels<One<float>>();
constinit const ProductKernels<double> kScalarDoubles = make_kernels<One<double>>();

}  // namespace bitlog2::products
