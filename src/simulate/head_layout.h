// Where attention's matrices lie in the tensors around it.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <span>

#include "bitlog2/model.h"
#include "simulate/tensor.h"

namespace bitlog2::simulate {

/// The operands of attention, each [images * groups * heads, tokens, head_dim].
struct Heads {
  std::size_t images = 0;
  Tensor query;
  Tensor key;
  Tensor value;
};

/// (image, group, head) matrices of [tokens, head_dim] in sequences [images, T, heads * head_dim].
struct HeadLayout {
  /// `attn` is kept by reference.
  HeadLayout(const Attention& attn, std::size_t batch)
      : groups(attn.groups),
        heads(attn.num_heads),
        tokens(attn.groups.tokens),
        head_dim(attn.proj.in_features / attn.num_heads),
        images(batch) {}

  /// The factor of the scores.
  float scale() const { return 1.0F / std::sqrt(static_cast<float>(head_dim)); }
  std::size_t matrices() const { return images * groups.count * heads; }
  std::size_t head(std::size_t matrix) const { return matrix % heads; }
  std::size_t group(std::size_t matrix) const { return matrix / heads % groups.count; }
  /// Row of the sequence tensor that holds token i of this matrix.
  std::size_t row(std::size_t matrix, std::size_t i) const {
    const std::size_t image = matrix / heads / groups.count;
    return image * groups.count * tokens + groups.token_indices[group(matrix) * tokens + i];
  }

  /// One matrix of a sequence's `part`-th heads * head_dim channels (of qkv: q, k, v), to `target`
  /// [matrices, tokens, head_dim].
  void gather(const Tensor& sequence, std::size_t matrix, std::size_t part, Tensor& target) const {
    const std::size_t column = (part * heads + head(matrix)) * head_dim;
    for (std::size_t i = 0; i < tokens; ++i) {
      std::copy_n(sequence.row(row(matrix, i)).data() + column, head_dim,
                  target.row(matrix * tokens + i).data());
    }
  }

  /// The reverse: copies `rows` [tokens, head_dim] to the place of that matrix in a sequence.
  void scatter(const float* rows, std::size_t matrix, std::size_t part, Tensor& sequence) const {
    const std::size_t column = (part * heads + head(matrix)) * head_dim;
    for (std::size_t i = 0; i < tokens; ++i) {
      std::copy_n(rows + i * head_dim, head_dim, sequence.row(row(matrix, i)).data() + column);
    }
  }

  /// Turns the patches' rows of q or k [matrices, tokens, head_dim] by rotary positions, or back.
  void rotate(const Attention& attn, std::size_t matrix, bool back, Tensor& x) const {
    const std::size_t half = head_dim / 2;
    const std::size_t grid = attn.rotation.size() / half;
    const std::size_t first = tokens - grid * grid;
    const float direction = back ? -1.0F : 1.0F;
    for (std::size_t patch = 0; patch < grid * grid; ++patch) {
      const std::span<float> row = x.row(matrix * tokens + first + patch);
      const float* by_row = attn.rotation.data() + patch / grid * half;
      const float* by_column = attn.rotation.data() + patch % grid * half;
      for (std::size_t i = 0; i < half; ++i) {
        const float* turn = i < half / 2 ? by_row + 2 * i : by_column + 2 * i - half;
        const float a = row[i];
        const float b = row[i + half];
        row[i] = a * turn[0] - direction * b * turn[1];
        row[i + half] = b * turn[0] + direction * a * turn[1];
      }
    }
  }

  const AttentionGroups& groups;
  std::size_t heads;
  std::size_t tokens;
  std::size_t head_dim;
  std::size_t images;
};

}  // namespace bitlog2::simulate
