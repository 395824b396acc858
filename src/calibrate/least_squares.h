// A linear layer as a least-squares problem: which weights bring its quantized input closest to
// a target.
#pragma once

#include <span>

#include "bitlog2/parallel.h"
#include "calibrate/matrix.h"

namespace bitlog2::calibration {

/// Weighted second moments of inputs x [rows, in] and targets y [rows, out], about their
/// weighted means; enough to know |y - x W^T - b|^2 for any W and the best b.
struct Moments {
  Matrix gram;   ///< [in, in], x^T x
  Matrix cross;  ///< [in, out], x^T y
  Vector input_mean;
  Vector target_mean;
};

/// Moments per unit of weight. `row_weights` [period] repeats along the rows. Results do not
/// depend on the number of threads.
Moments find_moments(std::span<const float> inputs, std::span<const float> targets,
                     std::size_t rows, std::span<const float> row_weights, ThreadPool& pool);

/// The [out, in] weights V with the lowest |y - x V^T|^2 + damping |V - W|^2.
Matrix ridge(const Moments& moments, const Matrix& weights, double damping, ThreadPool& pool);

}  // namespace bitlog2::calibration
