// Equalization of attention heads: an invertible change of basis in each head leaves the
// network's function as it is and makes its tensors easier to quantize.
//
// Scores are q k^T: for any invertible G, q G and k G^-T give the same. The context is A v, and
// proj's part for the head W: v G and W G^-T give the same. So two matrices can be chosen for each
// head. They cost nothing at run time, since they go into the weights of qkv and proj. The error
// that quantization with 2^b codes per channel adds to the scores is proportional to
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

#include <cstddef>
#include <functional>
#include <span>
#include <vector>

#include "bitlog2/model.h"
#include "bitlog2/parallel.h"
#include "calibrate/images.h"
#include "calibrate/least_squares.h"
#include "calibrate/matrix.h"

namespace bitlog2::calibration {

/// G as above, [n, n], for positive semidefinite A and B.
Matrix balancing_basis(const Matrix& a, const Matrix& b);

/// The moments on which the equalization of one attention's heads depends, summed over values that
/// come in parts.
class HeadMoments {
 public:
  explicit HeadMoments(const Attention& attn);

  /// `qkv` [rows, 3C] is the float network's output of qkv, `context` [rows, C] the output of its
  /// attention.
  void add(std::span<const float> qkv, std::span<const float> context, ThreadPool& pool);

  /// Of one head; the order of kinds is theirs.
  enum Kind : std::size_t { query, key, value, context };
  Moments of(std::size_t head, Kind kind) const { return sums_[head * kKinds + kind].moments(); }

 private:
  static constexpr std::size_t kKinds = 4;
  std::size_t head_dim_;
  std::vector<MomentSums> sums_;
};

/// Rewrites qkv and proj of `attn` in balanced bases.
void equalize_heads(Attention& attn, const HeadMoments& moments);

/// Rewrites every attention of the blocks of `model`, with moments of the float network on the
/// images. The model's function stays the same. Calls `work_on` now and then.
void equalize_heads(Model& model, const Images& images, ThreadPool& pool,
                    const std::function<void()>& work_on);

}  // namespace bitlog2::calibration
