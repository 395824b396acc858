// Elementary functions in double precision that give the same bits on every machine: they consist
// of sums, products and quotients in a fixed order, and call none of the C library's functions that
// differ between libraries or processors. Errors are below 4e-15: relative to the result for exp
// and exp2, relative to the larger of 1 and the result for the logarithms, and absolute for the
// others.
#pragma once

#include <cstddef>

namespace bitlog2::elementary {

double exp(double x);   ///< 0 below -745, infinite above 709.78
double exp2(double x);  ///< 2^x
double log(double x);   ///< for x > 0 that is finite and not denormal
double log2(double x);  ///< the same, exact for powers of two
double erf(double x);
double tanh(double x);

struct UnitVector {
  double cosine;
  double sine;
};

/// The cosine and sine of 2 pi `step` / `steps`, for step < steps.
UnitVector turn(std::size_t step, std::size_t steps);

}  // namespace bitlog2::elementary
