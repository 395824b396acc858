// The optimizer Adam: Kingma and Ba, "Adam: A Method for Stochastic Optimization", arXiv:1412.6980.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "bitlog2/parallel.h"

namespace bitlog2::calibration {

/// Values that are learned together, and their gradient; both are kept by reference.
class Adam {
 public:
  Adam(std::span<float> values, std::span<const float> gradient);

  /// Moves every value against its gradient by about `rate`, or, if `relative`, by about `rate`
  /// times the value.
  void step(float rate, bool relative, ThreadPool& pool);

 private:
  std::span<float> values_;
  std::span<const float> gradient_;
  std::vector<float> first_;  // running means of the gradient and of its square
  std::vector<float> second_;
  float first_rest_ = 1.0F;  // 1 minus the sum of the running mean's weights so far
  float second_rest_ = 1.0F;
};

}  // namespace bitlog2::calibration
