// A change of basis of the residual stream that leaves the network's function as it is and
// makes what reads the stream easier to quantize.
//
// Of a trained network's channels some carry far more than others, and their values have long
// tails. An orthogonal Q spreads them: every channel of x Q is a sum over all channels of x,
// nearly normally distributed, and so are the weights that read it. It costs nothing at run
// time, since it goes into the weights of the layers around the stream: with the affine of each
// LayerNorm moved into the linear layer behind it, LayerNorm(x Q) = LayerNorm(x) Q for every
// orthogonal Q that keeps the mean of the channels, Q 1 = 1.
#pragma once

#include "bitlog2/model.h"
#include "calibrate/matrix.h"

namespace bitlog2::fitting {

/// A symmetric orthogonal [n, n] matrix with Q 1 = 1 whose other entries look random.
Matrix spreading_rotation(std::size_t size);

/// Rewrites `model` with its residual stream in a spread basis. The stream of Swin's first
/// stage stays as it is: it begins with the output of a LayerNorm, whose affine nothing absorbs.
void spread_residual_stream(Model& model);

}  // namespace bitlog2::fitting
