// The names of a vision transformer's tensors in each library: the tables of CheckpointNames.
#pragma once

#include <array>
#include <span>
#include <string_view>

#include "model/names/checkpoint_names.h"

namespace bitlog2 {

/// `from` is what a library calls a tensor, `to` its name here. In both, # is a number, and * at
/// the end is the rest. In `from`, % is a number n that becomes the # of (n - 1) / 2, and ~ a
/// number that is left out. `to` is empty for tensors that an image model does not need.
struct Rule {
  std::string_view from;
  std::string_view to;
};

struct Naming {
  Library library;
  std::span<const Rule> blocks;  ///< how a block's names begin
  std::span<const Rule> parts;   ///< how they go on
  std::span<const Rule> others;
  std::span<const std::string_view> prefixes;  ///< the library's own, which need no note
};

inline constexpr auto kTimmBlocks =
    std::to_array<Rule>({{"blocks.#.", "blocks.#."},
                         {"blocks.~.#.", "blocks.#."},
                         {"layers.#.blocks.#.", "layers.#.blocks.#."}});

inline constexpr auto kTimmParts = std::to_array<Rule>({
    {"norm1.*", "norm1.*"},
    {"attn.qkv.*", "attn.qkv.*"},
    {"attn.q_bias", "attn.q.bias"},
    {"attn.v_bias", "attn.v.bias"},
    {"attn.proj.*", "attn.proj.*"},
    {"attn.relative_position_bias_table", "attn.relative_position_bias_table"},
    {"attn.relative_position_index", ""},
    {"attn_mask", ""},
    {"ls1.gamma", "ls1.gamma"},
    {"gamma_1", "ls1.gamma"},
    {"norm2.*", "norm2.*"},
    {"mlp.fc1.*", "mlp.fc1.*"},
    {"mlp.fc2.*", "mlp.fc2.*"},
    {"mlp.w12.*", "mlp.fc1.*"},  // the original DINOv2's SwiGLU
    {"mlp.w3.*", "mlp.fc2.*"},
    {"ls2.gamma", "ls2.gamma"},
    {"gamma_2", "ls2.gamma"},
});

inline constexpr auto kTimmOthers = std::to_array<Rule>({
    {"patch_embed.proj.*", "patch_embed.proj.*"},
    {"patch_embed.norm.*", "patch_embed.norm.*"},
    {"cls_token", "cls_token"},
    {"dist_token", "dist_token"},
    {"reg_token", "reg_token"},
    {"register_tokens", "reg_token"},
    {"pos_embed", "pos_embed"},
    {"norm_pre.*", "norm_pre.*"},
    {"layers.#.downsample.*", "layers.#.downsample.*"},
    {"rel_pos_bias.relative_position_bias_table", "relative_position_bias_table"},
    {"norm.*", "norm.*"},
    {"fc_norm.*", "fc_norm.*"},
    {"attn_pool.latent", "attn_pool.latent"},
    {"attn_pool.q.*", "attn_pool.q.*"},
    {"attn_pool.kv.*", "attn_pool.kv.*"},
    {"attn_pool.proj.*", "attn_pool.proj.*"},
    {"attn_pool.norm.*", "attn_pool.norm.*"},
    {"attn_pool.mlp.fc1.*", "attn_pool.mlp.fc1.*"},
    {"attn_pool.mlp.fc2.*", "attn_pool.mlp.fc2.*"},
    {"pre_logits.fc.*", "pre_logits.fc.*"},
    {"head.weight", "head.weight"},
    {"head.bias", "head.bias"},
    {"head.fc.*", "head.*"},
    {"head_dist.*", "head_dist.*"},
    {"mask_token", ""},
    {"head.mlp.*", ""},         // DINO's projection
    {"head.last_layer.*", ""},  // and its prototypes
    {"rel_pos_bias.relative_position_index", ""},
});

inline constexpr auto kTransformersBlocks =
    std::to_array<Rule>({{"encoder.layer.#.", "blocks.#."},
                         {"encoder.layers.#.blocks.#.", "layers.#.blocks.#."},
                         {"encoder.layers.#.", "blocks.#."},
                         {"layer.#.", "blocks.#."}});  // DINOv3

inline constexpr auto kTransformersParts = std::to_array<Rule>({
    {"layernorm_before.*", "norm1.*"},
    {"layer_norm1.*", "norm1.*"},
    {"norm1.*", "norm1.*"},
    {"attention.attention.query.*", "attn.q.*"},
    {"attention.attention.key.*", "attn.k.*"},
    {"attention.attention.value.*", "attn.v.*"},
    {"attention.self.query.*", "attn.q.*"},
    {"attention.self.key.*", "attn.k.*"},
    {"attention.self.value.*", "attn.v.*"},
    {"self_attn.q_proj.*", "attn.q.*"},
    {"self_attn.k_proj.*", "attn.k.*"},
    {"self_attn.v_proj.*", "attn.v.*"},
    {"attention.q_proj.*", "attn.q.*"},
    {"attention.k_proj.*", "attn.k.*"},
    {"attention.v_proj.*", "attn.v.*"},
    {"attention.o_proj.*", "attn.proj.*"},
    {"attention.output.dense.*", "attn.proj.*"},
    {"self_attn.out_proj.*", "attn.proj.*"},
    {"attention.attention.relative_position_bias.relative_position_bias_table",
     "attn.relative_position_bias_table"},
    {"attention.self.relative_position_bias_table", "attn.relative_position_bias_table"},
    {"attention.attention.relative_position_bias.relative_position_index", ""},
    {"attention.self.relative_position_index", ""},
    {"layer_scale1.lambda1", "ls1.gamma"},
    {"lambda_1", "ls1.gamma"},
    {"layernorm_after.*", "norm2.*"},
    {"layer_norm2.*", "norm2.*"},
    {"norm2.*", "norm2.*"},
    {"intermediate.dense.*", "mlp.fc1.*"},
    {"output.dense.*", "mlp.fc2.*"},
    {"mlp.fc1.*", "mlp.fc1.*"},
    {"mlp.fc2.*", "mlp.fc2.*"},
    {"mlp.up_proj.*", "mlp.fc1.*"},
    {"mlp.down_proj.*", "mlp.fc2.*"},
    {"mlp.weights_in.*", "mlp.fc1.*"},
    {"mlp.weights_out.*", "mlp.fc2.*"},
    {"layer_scale2.lambda1", "ls2.gamma"},
    {"lambda_2", "ls2.gamma"},
});

inline constexpr auto kTransformersOthers = std::to_array<Rule>({
    {"embeddings.patch_embeddings.projection.*", "patch_embed.proj.*"},
    {"embeddings.patch_embedding.*", "patch_embed.proj.*"},
    {"embeddings.patch_embeddings.*", "patch_embed.proj.*"},
    {"embeddings.norm.*", "patch_embed.norm.*"},
    {"embeddings.cls_token", "cls_token"},
    {"embeddings.class_embedding", "cls_token"},
    {"embeddings.distillation_token", "dist_token"},
    {"embeddings.register_tokens", "reg_token"},
    {"embeddings.position_embeddings", "pos_embed"},
    {"embeddings.position_embedding.weight", "pos_embed"},
    {"embeddings.position_ids", ""},
    {"embeddings.mask_token", ""},
    {"pre_layrnorm.*", "norm_pre.*"},  // transformers' spelling
    {"encoder.layers.#.downsample.*", "layers.#.downsample.*"},
    {"encoder.relative_position_bias.relative_position_bias_table", "relative_position_bias_table"},
    {"encoder.relative_position_bias.relative_position_index", ""},
    {"layernorm.*", "norm.*"},
    {"norm.*", "norm.*"},
    {"post_layernorm.*", "norm.*"},
    {"pooler.layernorm.*", "fc_norm.*"},
    {"pooler.dense.*", "pre_logits.fc.*"},
    {"head.probe", "attn_pool.latent"},
    {"head.attention.in_proj_weight", "attn_pool.qkv.weight"},
    {"head.attention.in_proj_bias", "attn_pool.qkv.bias"},
    {"head.attention.out_proj.*", "attn_pool.proj.*"},
    {"head.layernorm.*", "attn_pool.norm.*"},
    {"head.mlp.fc1.*", "attn_pool.mlp.fc1.*"},
    {"head.mlp.fc2.*", "attn_pool.mlp.fc2.*"},
    {"visual_projection.*", "projection.*"},
    {"classifier.*", "head.*"},
    {"cls_classifier.*", "head.*"},
    {"distillation_classifier.*", "head_dist.*"},
    {"text_model.*", ""},
    {"text_projection.*", ""},
    {"logit_scale", ""},
    {"logit_bias", ""},
});

inline constexpr auto kTorchvisionBlocks = std::to_array<Rule>(
    {{"encoder.layers.encoder_layer_#.", "blocks.#."}, {"features.%.#.", "layers.#.blocks.#."}});

inline constexpr auto kTorchvisionParts = std::to_array<Rule>({
    {"ln_1.*", "norm1.*"},
    {"norm1.*", "norm1.*"},
    {"self_attention.in_proj_weight", "attn.qkv.weight"},
    {"self_attention.in_proj_bias", "attn.qkv.bias"},
    {"self_attention.out_proj.*", "attn.proj.*"},
    {"attn.qkv.*", "attn.qkv.*"},
    {"attn.proj.*", "attn.proj.*"},
    {"attn.relative_position_bias_table", "attn.relative_position_bias_table"},
    {"attn.relative_position_index", ""},
    {"ln_2.*", "norm2.*"},
    {"norm2.*", "norm2.*"},
    {"mlp.0.*", "mlp.fc1.*"},
    {"mlp.3.*", "mlp.fc2.*"},
    {"mlp.linear_1.*", "mlp.fc1.*"},
    {"mlp.linear_2.*", "mlp.fc2.*"},
});

inline constexpr auto kTorchvisionOthers = std::to_array<Rule>({
    {"conv_proj.*", "patch_embed.proj.*"},
    {"features.0.0.*", "patch_embed.proj.*"},
    {"features.0.2.*", "patch_embed.norm.*"},
    {"class_token", "cls_token"},
    {"encoder.pos_embedding", "pos_embed"},
    {"features.%.norm.*", "layers.#.downsample.norm.*"},
    {"features.%.reduction.*", "layers.#.downsample.reduction.*"},
    {"encoder.ln.*", "norm.*"},
    {"norm.*", "norm.*"},
    {"heads.pre_logits.*", "pre_logits.fc.*"},
    {"heads.head.*", "head.*"},
    {"head.weight", "head.weight"},
    {"head.bias", "head.bias"},
});

inline constexpr auto kTransformersPrefixes = std::to_array<std::string_view>(
    {"vit.", "deit.", "beit.", "swin.", "dinov2.", "dinov2_with_registers.", "vision_model."});

inline constexpr auto kNamings = std::to_array<Naming>(
    {{Library::timm, kTimmBlocks, kTimmParts, kTimmOthers, {}},
     {Library::transformers, kTransformersBlocks, kTransformersParts, kTransformersOthers,
      kTransformersPrefixes},
     {Library::torchvision, kTorchvisionBlocks, kTorchvisionParts, kTorchvisionOthers, {}}});

}  // namespace bitlog2
