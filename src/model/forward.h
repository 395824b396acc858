// The forward pass of all families, written once over an arithmetic `Ops`: plain float32, observing
// (calibration), simulated quantization, or lowering to integers. The Ops defines what each layer
// does; only this file defines which layers there are, and in which order.
//
// An Ops has a movable type Tensor ([batch, tokens, channels], whatever it is made of) and
//   Tensor embed_patches(const Linear& projection)         of the images it was made for
//   Tensor add_positions(prefix_tokens, pos_embed, Tensor) prepends the prefix tokens, adds
//   Tensor layer_norm(const LayerNorm&, const Tensor&)
//   Tensor linear(const Linear&, Tensor)
//   Tensor attention(const Attention&, Tensor qkv)         [.., 3C] to [.., C]
//   Tensor activation(Activation, Tensor)                  [.., C], or of a gated one [.., C / 2]
//   Tensor add(Tensor, const Tensor&)                      the residual connection
//   Tensor merge_patches(std::size_t grid, const Tensor&)  [.., g*g, C] to [.., g*g/4, 4C]
//   Tensor first_tokens(std::size_t n, const Tensor&)      [.., T, C] to [.., n, C]
//   Tensor mean_of_tokens(std::size_t n, const Tensor&)    [.., T, C] to [.., 1, C], without the
//                                                          first n
//   Tensor join_tokens(Tensor)                             [.., T, C] to [.., 1, T*C]
//   Tensor first_and_mean(std::size_t n, const Tensor&)    [.., T, C] to [.., 1, 2C]: the first,
//                                                          and the mean without the first n
// and, optionally,
//   bool drops_unread_tokens() const                       whether to compute nothing of those
//                                                          tokens that no later layer reads
//   void begin_block(const Block&, const Tensor&)          the residual stream before a block
//   void end_block(const Block&, const Tensor&)            and behind it
#pragma once

#include <cstddef>
#include <utility>

#include "bitlog2/model.h"

namespace bitlog2 {

template <class Ops>
bool drops_unread_tokens(const Ops& ops) {
  if constexpr (requires { ops.drops_unread_tokens(); }) {
    return ops.drops_unread_tokens();
  }
  return false;
}

template <class Ops>
typename Ops::Tensor forward_mlp(const LayerNorm& norm, const Linear& fc1, Activation activation,
                                 const Linear& fc2, Ops& ops, typename Ops::Tensor x) {
  auto y = ops.linear(fc1, ops.layer_norm(norm, x));
  y = ops.linear(fc2, ops.activation(activation, std::move(y)));
  return ops.add(std::move(x), y);
}

/// The result holds the first `tokens_read` tokens alone, or all where that is 0.
template <class Ops>
typename Ops::Tensor forward_block(const Block& block, Activation activation, Ops& ops,
                                   typename Ops::Tensor x, std::size_t tokens_read = 0) {
  if constexpr (requires { ops.begin_block(block, x); }) {
    ops.begin_block(block, x);
  }
  auto y = ops.linear(block.attn.qkv, ops.layer_norm(block.norm1, x));
  y = ops.attention(block.attn, std::move(y));
  if (tokens_read > 0) {  // from here on, each token is computed by itself
    x = ops.first_tokens(tokens_read, x);
    y = ops.first_tokens(tokens_read, y);
  }
  y = ops.linear(block.attn.proj, std::move(y));
  x = ops.add(std::move(x), y);
  x = forward_mlp(block.norm2, block.fc1, activation, block.fc2, ops, std::move(x));
  if constexpr (requires { ops.end_block(block, x); }) {
    ops.end_block(block, x);
  }
  return x;
}

/// The tokens behind the last block, or only the first ones if no others are read.
template <class Ops>
typename Ops::Tensor forward_blocks(const Model& model, Ops& ops) {
  auto x = ops.embed_patches(model.patch_embed);
  if (!model.pos_embed.empty()) {
    x = ops.add_positions(model.prefix_tokens, model.pos_embed, std::move(x));
  }
  if (model.embed_norm) {
    x = ops.layer_norm(*model.embed_norm, x);
  }
  const Block* last = drops_unread_tokens(ops) ? &model.stages.back().blocks.back() : nullptr;
  for (const Stage& stage : model.stages) {
    for (const Block& block : stage.blocks) {
      x = forward_block(block, model.config.activation, ops, std::move(x),
                        &block == last ? tokens_read(model.config.pooling) : 0);
    }
    for (const PatchMerging& merging : stage.downsample) {
      x = ops.layer_norm(merging.norm, ops.merge_patches(stage.grid, x));
      x = ops.linear(merging.reduction, std::move(x));
    }
  }
  return x;
}

/// The input of the head: one row for each image.
template <class Ops>
typename Ops::Tensor forward_pooling(const Model& model, Ops& ops, typename Ops::Tensor x) {
  const std::size_t prefix = model.config.prefix_tokens;
  switch (model.config.pooling) {
    case Pooling::class_token:
      return ops.layer_norm(model.norm, ops.first_tokens(1, x));
    case Pooling::class_tokens:
      return ops.join_tokens(ops.layer_norm(model.norm, ops.first_tokens(2, x)));
    case Pooling::mean:
      return ops.mean_of_tokens(prefix, ops.layer_norm(model.norm, x));
    case Pooling::mean_then_norm:
      return ops.layer_norm(model.norm, ops.mean_of_tokens(prefix, x));
    case Pooling::class_and_mean:
      return ops.first_and_mean(prefix, ops.layer_norm(model.norm, x));
    case Pooling::map:
      break;
  }
  const AttentionPooling& pooling = *model.attention_pooling;
  x = ops.attention(pooling.attn, ops.linear(pooling.attn.qkv, ops.layer_norm(model.norm, x)));
  x = ops.linear(pooling.attn.proj, ops.first_tokens(1, x));
  return forward_mlp(pooling.norm, pooling.fc1, model.config.activation, pooling.fc2, ops,
                     std::move(x));
}

/// The logits, or the embedding of an encoder, [batch, 1, output_size].
template <class Ops>
typename Ops::Tensor forward(const Model& model, Ops& ops) {
  auto x = forward_pooling(model, ops, forward_blocks(model, ops));
  if (model.pre_logits) {
    x = ops.activation(Activation::tanh, ops.linear(*model.pre_logits, std::move(x)));
  }
  return ops.linear(model.head, std::move(x));
}

}  // namespace bitlog2
