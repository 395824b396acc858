// Keeps the smallest and the largest of values that come in parts: gives exact quantiles near both
// ends of any number of values, without keeping all of them.
#pragma once

#include <cstddef>
#include <limits>
#include <span>
#include <vector>

#include "bitlog2/parallel.h"

namespace bitlog2::quant {

class Tails {
 public:
  /// For `count` values in total, and quantiles up to `share` from either end.
  Tails(std::size_t count, double share);

  void add(std::span<const float> values, ThreadPool& pool);

  /// To be called after the last add() and before quantile().
  void finish();

  /// The same as bitlog2::quantile.
  float quantile(double p) const;
  float minimum() const { return low_.kept.front(); }
  float maximum() const { return high_.kept.front(); }

 private:
  /// The first values in an order.
  struct End {
    std::vector<float> kept;  // sorted by finish()
    float limit;              // values that do not come before it are not among the first
  };

  template <class Before>
  void add_to(End& end, std::span<const float> values, Before before, ThreadPool& pool) const;
  template <class Before>
  void cut(End& end, Before before) const;
  float at(std::size_t rank) const;

  std::size_t count_;
  std::size_t length_;  // of a tail
  End low_ = {{}, std::numeric_limits<float>::infinity()};
  End high_ = {{}, -std::numeric_limits<float>::infinity()};
};

}  // namespace bitlog2::quant
