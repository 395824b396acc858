// A linear layer as a least-squares problem: the weights that bring its output, from quantized
// input, closest to a target.
#pragma once

#include <span>
#include <vector>

#include "bitlog2/model.h"
#include "bitlog2/parallel.h"
#include "calibrate/matrix.h"

namespace bitlog2::calibration {

/// Weighted second moments of inputs x [rows, in] and targets y [rows, out], about their
/// weighted means; they determine |y - x W^T - b|^2 for any W with the best b.
struct Moments {
  Matrix gram;   ///< [in, in], x^T x
  Matrix cross;  ///< [in, out], x^T y
  Vector input_mean;
  Vector target_mean;
};

/// Sums up moments on rows that come in parts. Results do not depend on the number of threads.
class MomentSums {
 public:
  /// `row_weights` [period] is repeated along the rows; every part begins at the start of a period.
  MomentSums(std::size_t inputs, std::size_t targets, std::span<const float> row_weights);

  /// `x` [rows, in], `y` [rows, out].
  void add(std::span<const float> x, std::span<const float> y, ThreadPool& pool);

  /// The moments, divided by the sum of the weights; from a temporary, without a copy of its sums.
  Moments moments() const& { return MomentSums(*this).moments(); }
  Moments moments() &&;

 private:
  /// Values minus a fixed point near their mean.
  struct Side {
    explicit Side(std::size_t columns) : columns(columns) {}

    std::vector<float> centred(std::span<const float> values, std::span<const float> row_weights,
                               ThreadPool& pool);

    std::size_t columns;
    std::vector<float> shift = {};  // that point
    Vector sum = {};                // weighted, of values - shift
  };

  std::span<const float> row_weights_;
  Side x_;
  Side y_;
  double total_ = 0;  // of weights
  Matrix gram_;       // above the diagonal
  Matrix cross_;
};

/// The same for rows that are all in memory.
Moments find_moments(std::span<const float> inputs, std::span<const float> targets,
                     std::size_t rows, std::span<const float> row_weights, ThreadPool& pool);

/// From moments with target z [rows, k], the moments with target z W^T + b.
Moments through(const Linear& layer, Moments moments, ThreadPool& pool);

/// The [out, in] weights V with the lowest |y - x V^T|^2 + damping |V - W|^2.
Matrix ridge(const Moments& moments, const Matrix& weights, double damping, ThreadPool& pool);

}  // namespace bitlog2::calibration
