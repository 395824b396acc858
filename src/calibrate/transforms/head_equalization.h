// Equalization of attention heads: an invertible change of basis in each head leaves the
// network's function as it is and makes its tensors easier to quantize.
//
// Scores are q k^T: for any invertible G, q G and k G^-T give the same. The context is A v, and
// proj's part for the head W: v G and W G^-T give the same. So each head has two matrices to
// choose, which cost nothing at run time, since they go into the weights of qkv and proj.
// What quantization with 2^b codes per channel adds to the scores is proportional to
//   sum_i (G^T A G)_ii (G^-1 B G^-T)_ii,       A, B the second moments of q and k
// (to the context's projection alike, with A of v and the context, and B = W^T W), which is
// lowest, by Cauchy and Schwarz, at the square of the nuclear norm of A^(1/2) B^(1/2) over the
// dimension, and reaches it where both sides have the same second moments with a constant
// diagonal: G = A^(-1/2) U S^(1/2) H with A^(1/2) B^(1/2) = U S V^T, H orthogonal with entries
// of one magnitude.
//
// A constant added to every key changes a row of scores by a constant, which softmax ignores;
// a constant added to every value comes out of A v unchanged, since A's rows sum up to 1. So
// keys and values are also centred.
#pragma once

#include <span>

#include "bitlog2/model.h"
#include "bitlog2/parallel.h"
#include "calibrate/matrix.h"

namespace bitlog2::calibration {

/// G as above, [n, n], for positive semidefinite A and B.
Matrix balancing_basis(const Matrix& a, const Matrix& b);

/// Rewrites qkv and proj of `attn` in balanced bases. `qkv` [rows, 3C] is the float network's
/// output of qkv, `context` [rows, C] what its attention makes of it.
void equalize_heads(Attention& attn, std::span<const float> qkv, std::span<const float> context);

/// Rewrites every attention of `model`, in order of execution, for the float network's values on
/// `images` [batch, 3, S, S], normalised: the same function of an image.
void equalize_heads(Model& model, std::span<const float> images, ThreadPool& pool);

}  // namespace bitlog2::calibration
