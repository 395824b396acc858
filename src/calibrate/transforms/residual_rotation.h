// Rotation of the residual stream by a randomized Hadamard (or Hartley) matrix, as in QuaRot
// (Ashkboos et al. 2024) and SpinQuant (Liu et al. 2024): the network's function stays the same,
// and the inputs of the layers that read the stream are easier to quantize.
//
// In a trained network some channels carry far more than others, and their values have long
// tails. An orthogonal Q spreads them: every channel of x Q is a sum over all channels of x,
// nearly normally distributed, and so are the weights that read it. It costs nothing at run
// time, since it goes into the weights of the layers around the stream: with the affine of each
// LayerNorm moved into the linear layer behind it, LayerNorm(x Q) = LayerNorm(x) Q for every
// orthogonal Q that keeps the mean of the channels, Q 1 = 1.
#pragma once

#include "bitlog2/model.h"
#include "bitlog2/parallel.h"

namespace bitlog2::calibration {

/// Rewrites `model` with a rotated residual stream. The stream of Swin's first stage stays as it
/// is: it begins with the output of a LayerNorm whose affine no other layer can absorb.
void rotate_residual_stream(Model& model, ThreadPool& pool);

}  // namespace bitlog2::calibration
