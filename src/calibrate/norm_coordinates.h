// Other coordinates for the channels between a LayerNorm and the linear layer behind it, which
// norm and layer absorb: the same function, with a tensor between them that one quantizer suits.
#pragma once

#include <span>
#include <vector>

#include "bitlog2/model.h"
#include "simulate/tensor.h"

namespace bitlog2::calibration {

/// x' = (x - origin) / unit.
struct Coordinate {
  float origin;
  float unit;
};

/// Gives every channel of x, an output of `norm`, another coordinate.
void change_coordinates(LayerNorm& norm, Linear& layer, std::span<const Coordinate> coordinates,
                        simulate::Tensor& x);

/// x, an output of `before`, becomes that of `after`, which differs in its affine only.
void move_affine(const LayerNorm& before, const LayerNorm& after, simulate::Tensor& x);

struct Spread {
  double mean;
  double deviation;
};

std::vector<Spread> spreads_of_channels(const simulate::Tensor& x);

/// Gives all channels mean 0 and the same deviation.
void standardize(LayerNorm& norm, Linear& layer, simulate::Tensor& x);

}  // namespace bitlog2::calibration
