// What a vision transformer is: its configuration and its weights, as plain data.
// Layers carry timm's module names (as of timm 0.4.12), by which quantizers, goldens
// and messages refer to them.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "bitlog2/image.h"
#include "bitlog2/safetensors.h"

#pragma GCC visibility push(default)
namespace bitlog2 {

enum class Family { vit, swin };

/// What stands between fc1 and fc2, and, `tanh` alone, behind pre_logits.
enum class Activation : std::uint8_t {
  gelu,        ///< x Phi(x)
  gelu_tanh,   ///< its approximation, x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))
  quick_gelu,  ///< x sigmoid(1.702 x), as CLIP was trained
  tanh,
};

/// What the head reads of the last block's tokens x. `norm` is the final LayerNorm; the mean is
/// over the patches' tokens.
enum class Pooling : std::uint8_t {
  class_token,     ///< norm(x)[0]
  class_tokens,    ///< [norm(x)[0]; norm(x)[1]], of a distilled DeiT
  mean,            ///< mean(norm(x))
  mean_then_norm,  ///< norm(mean(x))
  class_and_mean,  ///< [norm(x)[0]; mean(norm(x))]
  map,             ///< attention of one learned query to norm(x), and an MLP
};

/// How many tokens' channels the head reads side by side.
constexpr std::size_t pooled_tokens(Pooling pooling) {
  return pooling == Pooling::class_tokens || pooling == Pooling::class_and_mean ? 2 : 1;
}

/// How many tokens, the first ones, are all that is read of the last block; 0: others are, too.
constexpr std::size_t tokens_read(Pooling pooling) {
  return pooling == Pooling::class_token ? 1 : pooling == Pooling::class_tokens ? 2 : 0;
}

struct ModelConfig {
  std::string name = "custom";  ///< a published name such as "deit_tiny", or what the user says
  Family family = Family::vit;
  std::size_t img_size = 224;                ///< side of the square input, pixels
  std::size_t patch_size = 16;               ///< divides img_size
  std::size_t embed_dim = 192;               ///< channels (of Swin's first stage)
  std::vector<std::size_t> depths = {12};    ///< blocks per stage; a ViT is one stage
  std::vector<std::size_t> num_heads = {3};  ///< per stage
  std::size_t window_size = 7;               ///< Swin only, tokens
  double mlp_ratio = 4;            ///< fc1's outputs to its inputs; the product is rounded
  std::size_t num_classes = 1000;  ///< 0: an encoder, whose output is an embedding
  float layer_norm_eps = 1e-6F;
  Activation activation = Activation::gelu;
  Pooling pooling = Pooling::class_token;
  // ViT only:
  std::size_t prefix_tokens = 1;  ///< tokens before the patches': class, distillation, registers
  bool embed_norm = false;        ///< a LayerNorm before the first block (CLIP)
  bool relative_position_bias = false;  ///< on the scores, class token included (BEiT)
  std::size_t pre_logits = 0;           ///< width of a layer with tanh before the head; 0: none
  /// Encoders: width of the embedding that a projection makes; 0: that of what is pooled.
  std::size_t projection = 0;
  Preprocessing preprocessing;
};

/// A config with the parts that most models of a family have; sizes are for the caller to say.
ModelConfig config_of(Family family);

/// A model that can be asked for by name.
struct NamedModel {
  ModelConfig config;
  std::string repository;  ///< of its weights on the Hugging Face hub
};

/// The published models, in the order in which they are listed to users.
const std::vector<NamedModel>& named_models();

/// Their names, separated by commas.
std::string model_names();

/// The published model called `name`, here or by timm: "deit_tiny", "deit_tiny_patch16_224", with
/// or without timm's tag, "timm/" and "hf_hub:", in any case, hyphens for underscores. Throws Error
/// that lists the choices and suggests the nearest if there is no such model.
const NamedModel& find_named_model(std::string_view name);

/// A config from JSON text (`where` is for messages): keys family, img_size, patch_size,
/// embed_dim, depth or depths, num_heads, num_classes, layer_norm_eps, and optionally
/// name, window_size, mlp_ratio, mean, std, crop_pct. Keys that begin with _ are comments.
/// Throws Error for what is missing, not known, of the wrong type, inconsistent, or too large
/// to be meant.
ModelConfig parse_config(std::string_view json_text, const std::string& where);

/// The same keys, as parse_config reads them.
std::string config_to_json(const ModelConfig& config);

/// What a linear layer is for.
enum class Role : std::uint8_t {
  patch_embed,
  qkv,
  proj,
  fc1,
  fc2,
  reduction,
  pool_proj,  ///< behind attention pooling; its output becomes the stream
  pre_logits,
  head,
  projection,  ///< an encoder's output layer, in a head's place
};

/// Whether a LayerNorm stands before every such layer, whose scales the layer can take over.
constexpr bool follows_norm(Role role) {
  return role == Role::qkv || role == Role::fc1 || role == Role::reduction;
}

/// Whether such a layer's output is added to the residual stream.
constexpr bool adds_to_stream(Role role) {
  return role == Role::proj || role == Role::fc2;
}

/// y = x W^T + b.
struct Linear {
  std::string name;
  std::size_t in_features = 0;
  std::size_t out_features = 0;
  bool has_bias = true;
  std::vector<float> weight;  ///< [out_features, in_features]
  std::vector<float> bias;    ///< [out_features], or empty without one
  Role role = Role::patch_embed;
};

/// y = (x - mean) / sqrt(variance + eps) * gamma + beta, over the last axis.
struct LayerNorm {
  std::string name;
  std::size_t channels = 0;
  float eps = 1e-6F;
  std::vector<float> gamma;  ///< [channels]
  std::vector<float> beta;   ///< [channels]
};

/// How tokens are grouped for attention: every group attends within itself. A ViT has one
/// group of all tokens; a Swin block has its (shifted) windows.
struct AttentionGroups {
  std::size_t count = 1;
  std::size_t tokens = 0;                    ///< per group
  std::vector<std::uint32_t> token_indices;  ///< [count, tokens]: position in the sequence
  /// [count, tokens]: tokens of different regions in one group do not attend (Swin's shift
  /// mask, -100 on the score); empty if nothing is masked.
  std::vector<std::uint8_t> regions;
};

struct Attention {
  std::string name;
  std::size_t num_heads = 1;
  /// Swin scales q before it is quantized, ViT the scores after.
  bool scale_query = false;
  Linear qkv;  ///< [3 * C, C]: q, k, v, each [num_heads, head_dim]
  Linear proj;
  AttentionGroups groups;
  /// Relative position bias [bias_rows, num_heads]; empty where there is none. Swin has
  /// (2w - 1)^2 rows, w tokens per side; BEiT three more: of the class token to patches, of
  /// patches to it, and of it to itself.
  std::vector<float> bias_table;
  std::size_t bias_rows = 0;
  /// [tokens, tokens]: row of bias_table for each pair of a group's tokens.
  std::vector<std::uint32_t> bias_index;
};

struct Block {
  LayerNorm norm1;
  Attention attn;
  LayerNorm norm2;
  Linear fc1;
  Linear fc2;
};

/// Swin: 2x2 neighbouring tokens become one of twice the channels.
struct PatchMerging {
  LayerNorm norm;    ///< over 4 * C
  Linear reduction;  ///< [2 * C, 4 * C], no bias until reparameterized
};

/// Attention pooling: one query attends to all tokens, then an MLP. The query is constant: qkv's
/// weights of q are 0 and its bias is the query, the same for every token.
struct AttentionPooling {
  Attention attn;
  LayerNorm norm;
  Linear fc1;
  Linear fc2;
};

struct Stage {
  std::size_t grid = 0;  ///< tokens per side
  std::size_t channels = 0;
  std::vector<Block> blocks;
  std::vector<PatchMerging> downsample;  ///< none or one, after the blocks
};

struct Model {
  ModelConfig config;
  Linear patch_embed;                   ///< [embed_dim, 3 * patch * patch], a convolution's weights
  std::vector<float> prefix_tokens;     ///< ViT: [config.prefix_tokens, embed_dim]
  std::vector<float> pos_embed;         ///< ViT: [prefix_tokens + patches, embed_dim]
  std::optional<LayerNorm> embed_norm;  ///< Swin and CLIP: before the first block
  std::vector<Stage> stages;
  LayerNorm norm;
  std::optional<AttentionPooling> attention_pooling;
  std::optional<Linear> pre_logits;
  Linear head;  ///< an encoder's projection; the identity where it has none
};

/// Values per image of a model's output: its classes, or the width of its embedding.
std::size_t output_size(const ModelConfig& config);

/// A model of this config with all names, sizes and indices set, and no weights yet.
Model make_model(const ModelConfig& config);

/// make_model with weights drawn as a new network would be initialised.
Model make_random_model(const ModelConfig& config, std::uint64_t seed);

/// One trained tensor of a model, as a checkpoint holds it.
struct Parameter {
  std::string name;                  ///< timm's, e.g. "blocks.0.attn.qkv.weight"
  std::vector<std::uint64_t> shape;  ///< as in the checkpoint
  std::vector<float>& values;
};

/// Calls `visit` on every parameter of `model`, whether or not it has values yet.
void for_each_parameter(Model& model, const std::function<void(const Parameter&)>& visit);

/// Every (LayerNorm, Linear that follows it) pair whose scales can be reparameterized.
void for_each_norm_pair(Model& model, const std::function<void(LayerNorm&, Linear&)>& visit);

/// Every LayerNorm, in order of execution.
void for_each_norm(Model& model, const std::function<void(LayerNorm&)>& visit);

/// Every linear layer, the patch embedding included, in order of execution.
void for_each_linear(Model& model, const std::function<void(Linear&)>& visit);

/// How position embeddings become those of another image size: how
/// torch.nn.functional.interpolate is called, always bicubic.
enum class PositionResize : std::uint8_t {
  antialias,      ///< timm; transformers' DINOv2 with registers
  plain,          ///< transformers
  offset,         ///< the original DINOv2: the scale is of 0.1 tokens more a side
  align_corners,  ///< torchvision
};

/// How well a checkpoint fits a model. Current and older timm names both fit, with or without
/// the prefixes that wrappers put before them ("module."); buffers that the model computes
/// itself, and counters, are ignored.
struct CheckpointFit {
  /// What keeps it from being any model, in one phrase: another library's names, for one.
  std::string obstacle;
  /// What keeps it from being this model, one phrase per tensor ("'head.weight' is [10, 192],
  /// not [1000, 192]").
  std::vector<std::string> misfits;
  /// What to do about the misfits, if they have one known cause.
  std::string advice;
  /// What a user may want to know though it fits: prefixes and tensors that were ignored.
  std::vector<std::string> notes;

  bool fits() const { return obstacle.empty() && misfits.empty(); }
};

CheckpointFit fit_checkpoint(const TensorFile& file, const ModelConfig& config);

/// A model with its weights, and CheckpointFit's notes, each with the file's name.
struct LoadedCheckpoint {
  Model model;
  std::vector<std::string> notes;
};

/// Loads a checkpoint. Throws Error saying what to do, or naming the first tensors that do not
/// fit.
/// Positions are resized by `position_resize`; without it they must be for the config's image size.
LoadedCheckpoint load_checkpoint(const TensorFile& file, const ModelConfig& config,
                                 std::optional<PositionResize> position_resize = {});

/// load_checkpoint, for who wants no notes.
Model load_model(const TensorFile& file, const ModelConfig& config);

/// The class names in a file's metadata (`class_names` or `label_names`, a JSON array, or
/// `id2label`, a JSON object from class index to name), else ImageNet's if `config` is called
/// like a published model, else none. Throws Error for names that are not one for each class.
std::vector<std::string> class_names(const TensorFile& file, const ModelConfig& config);

}  // namespace bitlog2
#pragma GCC visibility pop
