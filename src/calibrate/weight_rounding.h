// Weight rounding with a low error of a layer's output, row by row.
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
  bool second_order = true;  ///< GPTQ; else each weight to its nearest code
  bool search =
      true;  ///< for each row's range; else the range is from its smallest to its largest value
};

/// Rounds `weights` [out, in], each row with its own scale, so that (W - W^)^T H (W - W^) is low:
/// GPTQ (Frantar et al. 2023), with columns in descending order of H's diagonal, the range of each
/// row that has the lowest error, and then coordinate descent. `hessian` [in, in] is positive
/// definite.
RoundedWeights round_weights(const Matrix& weights, const Matrix& hessian,
                             const RoundingOptions& options, ThreadPool& pool);

}  // namespace bitlog2::calibration
