// The cost of every operation of a run.
#pragma once

#include <chrono>
#include <cstddef>
#include <string>
#include <vector>

#include "bitlog2/integer.h"
#include "integer/runtime/network.h"

namespace bitlog2::integer {

/// Measures the time of each operation of one run on one thread.
class Profiler {
 public:
  /// `layers` has one name for each operation and must outlive this. Time starts now.
  explicit Profiler(const std::vector<std::string>& layers)
      : layers_(layers), last_(Clock::now()) {}

  /// The observer for the run; valid as long as this object.
  runtime::Observer observer();

  const std::vector<OperationCost>& costs() const { return costs_; }

 private:
  using Clock = std::chrono::steady_clock;

  void after(std::size_t index, const runtime::Op& op);

  const std::vector<std::string>& layers_;
  std::vector<OperationCost> costs_;
  Clock::time_point last_;
};

}  // namespace bitlog2::integer
