// Weight rounding against the error of a layer's output, row by row.
#pragma once

#include "bitlog2/parallel.h"
#include "bitlog2/quantizers.h"
#include "calibrate/matrix.h"

namespace bitlog2::calibration {

struct RoundedWeights {
  Matrix weights;    ///< [out, in], (code - zero point) * scale
  Affine quantizer;  ///< a scale and whole zero point per row
};

/// How weights are rounded; either part works without the other.
struct RoundingOptions {
  int bits = 4;
  bool second_order = true;  ///< GPTQ; else each to the nearest
  bool search = true;        ///< of each row's range; else its smallest and largest value
};

/// Rounds `weights` [out, in], each row with its own scale, so that (W - W^)^T H (W - W^) is
/// low: GPTQ (Frantar et al. 2023), columns in descending order of H's diagonal, of a row's ranges
/// the one with the lowest error, and from there coordinate descent. `hessian` [in, in] is positive
/// definite.
RoundedWeights round_weights(const Matrix& weights, const Matrix& hessian,
                             const RoundingOptions& options, ThreadPool& pool);

}  // namespace bitlog2::calibration
