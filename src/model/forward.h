// The forward pass of both families, written once over an arithmetic `Ops`: plain float32,
// observing (calibration), simulated quantization, or lowering to integers. What an Ops
// does with a layer is its own affair; which layers there are, and in which order, is said
// only here.
//
// An Ops has a movable type Tensor ([batch, tokens, channels], whatever it is made of) and
//   Tensor embed_patches(const Linear& projection)         of the images it was made for
//   Tensor add_positions(cls_token, pos_embed, Tensor)     prepends the class token, adds
//   Tensor layer_norm(const LayerNorm&, const Tensor&)
//   Tensor linear(const Linear&, Tensor)
//   Tensor attention(const Attention&, Tensor qkv)         [.., 3C] to [.., C]
//   Tensor gelu(Tensor)
//   Tensor add(Tensor, const Tensor&)                      the residual connection
//   Tensor merge_patches(std::size_t grid, const Tensor&)  [.., g*g, C] to [.., g*g/4, 4C]
//   Tensor class_token(const Tensor&)                      [.., T, C] to [.., 1, C]
//   Tensor mean_of_tokens(const Tensor&)                   [.., T, C] to [.., 1, C]
// and, if it likes,
//   bool drops_unread_tokens() const                       whether to compute nothing of those
//                                                          tokens that no later layer reads
//   void begin_block(const Block&, const Tensor&)          the residual stream before a block
//   void end_block(const Block&, const Tensor&)            and behind it
#pragma once

#include <utility>
#include <vector>

#include "bitlog2/model.h"

namespace bitlog2 {

template <class Ops>
bool drops_unread_tokens(const Ops& ops) {
  if constexpr (requires { ops.drops_unread_tokens(); }) {
    return ops.drops_unread_tokens();
  }
  return false;
}

/// The result holds the class token alone if no other is needed of it.
template <class Ops>
typename Ops::Tensor forward_block(const Block& block, Ops& ops, typename Ops::Tensor x,
                                   bool only_class_token = false) {
  if constexpr (requires { ops.begin_block(block, x); }) {
    ops.begin_block(block, x);
  }
  auto y = ops.linear(block.attn.qkv, ops.layer_norm(block.norm1, x));
  y = ops.attention(block.attn, std::move(y));
  if (only_class_token) {  // from here on a token sees no other
    x = ops.class_token(x);
    y = ops.class_token(y);
  }
  y = ops.linear(block.attn.proj, std::move(y));
  x = ops.add(std::move(x), y);
  y = ops.linear(block.fc1, ops.layer_norm(block.norm2, x));
  y = ops.linear(block.fc2, ops.gelu(std::move(y)));
  x = ops.add(std::move(x), y);
  if constexpr (requires { ops.end_block(block, x); }) {
    ops.end_block(block, x);
  }
  return x;
}

template <class Ops>
typename Ops::Tensor forward_vit(const Model& model, Ops& ops) {
  auto x =
      ops.add_positions(model.cls_token, model.pos_embed, ops.embed_patches(model.patch_embed));
  // Of the last block only the class token is read: the others change nothing.
  const std::vector<Block>& blocks = model.stages.front().blocks;
  const bool drops_others = drops_unread_tokens(ops);
  for (const Block& block : blocks) {
    x = forward_block(block, ops, std::move(x), drops_others && &block == &blocks.back());
  }
  return ops.linear(model.head, ops.layer_norm(model.norm, ops.class_token(x)));
}

template <class Ops>
typename Ops::Tensor forward_swin(const Model& model, Ops& ops) {
  auto x = ops.embed_patches(model.patch_embed);
  for (const LayerNorm& norm : model.patch_norm) {
    x = ops.layer_norm(norm, x);
  }
  for (const Stage& stage : model.stages) {
    for (const Block& block : stage.blocks) {
      x = forward_block(block, ops, std::move(x));
    }
    for (const PatchMerging& merging : stage.downsample) {
      x = ops.layer_norm(merging.norm, ops.merge_patches(stage.grid, x));
      x = ops.linear(merging.reduction, std::move(x));
    }
  }
  return ops.linear(model.head, ops.mean_of_tokens(ops.layer_norm(model.norm, x)));
}

/// The logits, [batch, 1, num_classes].
template <class Ops>
typename Ops::Tensor forward(const Model& model, Ops& ops) {
  return model.config.family == Family::vit ? forward_vit(model, ops) : forward_swin(model, ops);
}

}  // namespace bitlog2
