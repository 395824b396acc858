// L-BFGS (Liu and Nocedal, 1989): minimizes a smooth convex function of many variables.
#pragma once

#include <cstddef>
#include <functional>
#include <span>
#include <vector>

namespace bitlog2 {

/// The value at a point; writes the gradient there.
using Objective = std::function<double(std::span<const double> at, std::span<double> gradient)>;

struct MinimizeOptions {
  std::size_t max_iterations = 300;
  double tolerance = 1e-6;  ///< for the magnitude of the gradient's largest element
  std::function<bool()> stop =
      {};  ///< called in every iteration; true ends the search; may be empty
};

/// Moves `point` to a minimum. Returns whether the gradient is within the tolerance there.
bool minimize(const Objective& objective, std::vector<double>& point,
              const MinimizeOptions& options);

}  // namespace bitlog2
