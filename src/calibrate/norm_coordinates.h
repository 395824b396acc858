// Changes of coordinates for the channels between a LayerNorm and the linear layer behind it. Norm
// and layer absorb the change, so that their function stays the same, and one quantizer suits all
// channels of the tensor between them.
#pragma once

#include <span>
#include <vector>

#include "bitlog2/model.h"
#include "bitlog2/parallel.h"

namespace bitlog2::calibration {

/// x' = (x - origin) / unit.
struct Coordinate {
  float origin;
  float unit;
};

/// Gives every channel of the norm's output another coordinate.
void change_coordinates(LayerNorm& norm, Linear& layer, std::span<const Coordinate> coordinates);

struct Spread {
  double mean;
  double deviation;
};

/// Sums up the spreads of channels, on values that come in parts.
class SpreadSums {
 public:
  explicit SpreadSums(std::size_t channels) : sums_(channels), squares_(channels) {}

  /// `x` [.., channels].
  void add(std::span<const float> x, ThreadPool& pool);

  std::vector<Spread> spreads() const;

 private:
  double rows_ = 0;
  std::vector<double> sums_;
  std::vector<double> squares_;
};

/// Gives all channels mean 0 and the same standard deviation; `spreads` are those of the channels.
void standardize(LayerNorm& norm, Linear& layer, std::span<const Spread> spreads);

}  // namespace bitlog2::calibration
