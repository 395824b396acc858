#include "calibrate/transforms/residual_rotation.h"

#include <algorithm>

#include "calibrate/transforms/hadamard.h"

namespace bitlog2::calibration {
namespace {

/// Moves the affine of `norm` into the layer that reads its outputs, of one token or of several
/// side by side.
void absorb_affine(LayerNorm& norm, Linear& layer) {
  layer.has_bias = true;
  layer.bias.resize(layer.out_features);
  Matrix weights = to_matrix(layer.weight, layer.out_features);
  const Eigen::Index copies = index(layer.in_features / norm.channels);
  const Vector beta = to_vector(norm.beta).replicate(copies, 1);
  const Vector gamma = to_vector(norm.gamma).replicate(copies, 1);
  copy_to(to_vector(layer.bias) + weights * beta, layer.bias);
  weights *= gamma.asDiagonal();
  copy_to(weights, layer.weight);
  std::ranges::fill(norm.gamma, 1.0F);
  std::ranges::fill(norm.beta, 0.0F);
}

/// Every row r of `values` [.., n] becomes r Q.
void rotate_rows(std::span<float> values, const Matrix& rotation, ThreadPool& pool) {
  const std::size_t rows = values.size() / static_cast<std::size_t>(rotation.rows());
  if (rows > 0) {
    const Matrix matrix = to_matrix(values, rows);
    copy_to(product(view(matrix), view(rotation), pool), values);
  }
}

/// `layer` writes to the stream: its outputs y become y Q.
void rotate_outputs(Linear& layer, const Matrix& rotation, ThreadPool& pool) {
  const Matrix weights = to_matrix(layer.weight, layer.out_features);
  copy_to(product(view(rotation).transposed(), view(weights), pool), layer.weight);
  rotate_rows(layer.bias, rotation, pool);
}

/// `layer` reads the stream, or several of its tokens side by side, through `norm`.
void rotate_inputs(LayerNorm& norm, Linear& layer, const Matrix& rotation, ThreadPool& pool) {
  absorb_affine(norm, layer);
  rotate_rows(layer.weight, rotation, pool);
}

/// What reads the stream behind the last block.
void rotate_pooling(Model& model, const Matrix& rotation, ThreadPool& pool) {
  if (!model.attention_pooling) {
    rotate_inputs(model.norm, model.pre_logits ? *model.pre_logits : model.head, rotation, pool);
    return;
  }
  AttentionPooling& pooling = *model.attention_pooling;
  rotate_inputs(model.norm, pooling.attn.qkv, rotation, pool);
  rotate_outputs(pooling.attn.proj, rotation, pool);
  rotate_inputs(pooling.norm, pooling.fc1, rotation, pool);
  rotate_outputs(pooling.fc2, rotation, pool);
  Linear& reader = model.pre_logits ? *model.pre_logits : model.head;
  rotate_rows(reader.weight, rotation, pool);
}

}  // namespace

void rotate_residual_stream(Model& model, ThreadPool& pool) {
  // A LayerNorm's own channels are the first ones of the stream that it writes.
  const std::size_t first = model.embed_norm ? 1 : 0;
  for (std::size_t s = first; s < model.stages.size(); ++s) {
    Stage& stage = model.stages[s];
    const Matrix rotation = random_hadamard(stage.channels);
    if (s == 0) {
      rotate_outputs(model.patch_embed, rotation, pool);
      rotate_rows(model.prefix_tokens, rotation, pool);
      rotate_rows(model.pos_embed, rotation, pool);
    } else {
      rotate_outputs(model.stages[s - 1].downsample.front().reduction, rotation, pool);
    }
    for (Block& block : stage.blocks) {
      rotate_inputs(block.norm1, block.attn.qkv, rotation, pool);
      rotate_outputs(block.attn.proj, rotation, pool);
      rotate_inputs(block.norm2, block.fc1, rotation, pool);
      rotate_outputs(block.fc2, rotation, pool);
    }
    for (PatchMerging& merging : stage.downsample) {
      rotate_inputs(merging.norm, merging.reduction, rotation, pool);
    }
  }
  if (model.stages.size() > first) {
    rotate_pooling(model, random_hadamard(model.stages.back().channels), pool);
  }
}

}  // namespace bitlog2::calibration
