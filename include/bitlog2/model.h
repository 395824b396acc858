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

/// The function between fc1 and fc2. `tanh` stands only behind pre_logits. `swiglu` halves the
/// channels, all others keep them.
enum class Activation : std::uint8_t {
  gelu,        ///< x Phi(x)
  gelu_tanh,   ///< GELU's approximation, x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))
  quick_gelu,  ///< x sigmoid(1.702 x), with which CLIP was trained
  tanh,
  swiglu,  ///< SiLU(first half) * second half, channel by channel; SiLU(x) = x sigmoid(x)
};

/// How many of fc1's channels the function makes one channel of fc2's input of.
constexpr std::size_t branches(Activation function) {
  return function == Activation::swiglu ? 2 : 1;
}

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

/// How many tokens of the last block the head reads, if it reads only the first ones; else 0.
constexpr std::size_t tokens_read(Pooling pooling) {
  return pooling == Pooling::class_token ? 1 : pooling == Pooling::class_tokens ? 2 : 0;
}

/// The architecture of a model, and how its input is prepared.
struct ModelConfig {
  std::string name = "custom";  ///< a published name such as "deit_tiny", or what the user says
  Family family = Family::vit;
  std::size_t img_size = 224;                ///< side of the square input, pixels
  std::size_t patch_size = 16;               ///< divides img_size
  std::size_t embed_dim = 192;               ///< channels (of Swin's first stage)
  std::vector<std::size_t> depths = {12};    ///< blocks per stage; a ViT is one stage
  std::vector<std::size_t> num_heads = {3};  ///< per stage
  std::size_t window_size = 7;               ///< Swin only, tokens
  double mlp_ratio = 4;                      ///< fc2's inputs to fc1's; the product is rounded
  std::size_t num_classes = 1000;            ///< 0: an encoder, whose output is an embedding
  float layer_norm_eps = 1e-6F;
  Activation activation = Activation::gelu;
  Pooling pooling = Pooling::class_token;
  // ViT only:
  std::size_t prefix_tokens = 1;  ///< tokens before the patches': class, distillation, registers
  bool embed_norm = false;        ///< a LayerNorm before the first block (CLIP)
  bool relative_position_bias = false;  ///< on the scores, class token included (BEiT)
  /// Rotary positions: the base of the frequencies; 0: none.
  double rope_theta = 0;
  /// The number of rows and columns, whatever the image's size, by which angles are counted
  /// (EVA-02); 0: angles are of places from -1 to 1 (DINOv3).
  std::size_t rope_grid = 0;
  std::size_t pre_logits = 0;  ///< width of a layer with tanh before the head; 0: none
  /// Encoders: width of the embedding that a projection makes; 0: that of what is pooled.
  std::size_t projection = 0;
  Preprocessing preprocessing;
};

/// A config with the features that most models of a family have; the caller sets the sizes.
ModelConfig config_of(Family family);

/// A published model.
struct NamedModel {
  ModelConfig config;
  std::string repository;  ///< with its weights, on the Hugging Face hub
};

/// The published models, in the order in which they are listed to users.
const std::vector<NamedModel>& named_models();

/// Their names, separated by commas.
std::string model_names();

/// The published model called `name`, here or by timm: "deit_tiny", "deit_tiny_patch16_224", with
/// or without timm's tag, "timm/" and "hf_hub:", in upper or lower case, with hyphens for
/// underscores. Throws Error that lists the choices and suggests the nearest one if there is no
/// such model.
const NamedModel& find_named_model(std::string_view name);

/// A config from JSON text; `where` is for messages. docs/datasets-and-configs.md lists the keys:
/// family, img_size, patch_size, embed_dim, depth or depths, num_heads, num_classes, layer_norm_eps
/// and, for Swin, window_size are required. Keys that begin with _ are comments. Throws Error for
/// keys that are missing or unknown and for values of the wrong type, out of range or inconsistent.
ModelConfig parse_config(std::string_view json_text, const std::string& where);

/// The config as JSON text that parse_config reads.
std::string config_to_json(const ModelConfig& config);

/// What a linear layer is for.
enum class Role : std::uint8_t {
  patch_embed,
  qkv,
  proj,
  fc1,
  fc2,
  reduction,
  pool_proj,  ///< behind attention pooling; its output replaces the residual stream
  pre_logits,
  head,
  projection,  ///< an encoder's output layer, in a head's place
};

/// Whether a LayerNorm stands before every layer of this role, so that scales can be moved from it
/// into the layer.
constexpr bool follows_norm(Role role) {
  return role == Role::qkv || role == Role::fc1 || role == Role::reduction;
}

/// Whether the output of a layer of this role is added to the residual stream.
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

/// How tokens are grouped for attention: tokens attend within their group. A ViT has one group of
/// all tokens; in a Swin block the (shifted) windows are the groups.
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
  /// Whether q is multiplied by 1 / sqrt(head_dim) before it is quantized (Swin). ViT scales the
  /// scores instead.
  bool scale_query = false;
  Linear qkv;  ///< [3 * C, C]: q, k, v, each [num_heads, head_dim]
  Linear proj;
  AttentionGroups groups;
  /// Relative position bias [bias_rows, num_heads]; empty where there is none. Swin has
  /// (2w - 1)^2 rows, w tokens per side; BEiT three more: of the class token to patches, of
  /// patches to it, and of it to itself.
  std::vector<float> bias_table;
  std::size_t bias_rows = 0;
  /// [tokens, tokens]: the row of bias_table for each pair of a group's tokens.
  std::vector<std::uint32_t> bias_index;
  /// Rotary positions: (cosine, sine) [grid, head_dim / 4, 2]; empty where there are none. The
  /// patches, grid x grid, are the last tokens. Channels i and i + head_dim / 2 of their q and k
  /// are turned: the first quarter of a head's channels by the patch's row, the second by its
  /// column.
  std::vector<float> rotation;
};

/// x + proj(attention(qkv(norm1(x)))), then x + fc2(activation(fc1(norm2(x)))).
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

/// Blocks of one width. A ViT has one stage.
struct Stage {
  std::size_t grid = 0;  ///< tokens per side
  std::size_t channels = 0;
  std::vector<Block> blocks;
  std::vector<PatchMerging> downsample;  ///< none or one, after the blocks
};

/// A configuration with its weights.
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

/// The size of a model's output for one image: its classes, or the width of its embedding.
std::size_t output_size(const ModelConfig& config);

/// A model of this config with all names, sizes and indices set, and no weights yet.
Model make_model(const ModelConfig& config);

/// make_model with random weights, as a new network is initialised; the same for the same seed.
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
void for_each_linear(const Model& model, const std::function<void(const Linear&)>& visit);

/// How position embeddings are resized for another image size: the arguments with which the library
/// calls torch.nn.functional.interpolate, always bicubic.
enum class PositionResize : std::uint8_t {
  antialias,      ///< timm; transformers' DINOv2 with registers
  plain,          ///< transformers
  offset,         ///< the original DINOv2: the scale is that of 0.1 tokens more per side
  align_corners,  ///< torchvision
};

/// How well a checkpoint fits a model. Current and older timm names both fit, with or without
/// the prefixes that wrappers put before them ("module."); buffers that the model computes
/// itself, and counters, are ignored.
struct CheckpointFit {
  /// Why it fits no model at all, in one phrase, for example another library's names; else empty.
  std::string obstacle;
  /// Why it does not fit this model, one phrase per tensor ("'head.weight' is [10, 192],
  /// not [1000, 192]").
  std::vector<std::string> misfits;
  /// What to do about the misfits, if they have one known cause.
  std::string advice;
  /// What a user may want to know even if it fits: prefixes and tensors that were ignored.
  std::vector<std::string> notes;

  bool fits() const { return obstacle.empty() && misfits.empty(); }
};

/// Compares the names and shapes of a checkpoint's tensors with those of a model.
CheckpointFit fit_checkpoint(const TensorFile& file, const ModelConfig& config);

/// A model with its weights, and CheckpointFit's notes, each with the file's name.
struct LoadedCheckpoint {
  Model model;
  std::vector<std::string> notes;
};

/// Loads a checkpoint. Position embeddings are resized by `position_resize`; without it they must
/// be for the config's image size. Throws Error that says what to do, or names the first tensors
/// that do not fit.
LoadedCheckpoint load_checkpoint(const TensorFile& file, const ModelConfig& config,
                                 std::optional<PositionResize> position_resize = {});

/// load_checkpoint without the notes.
Model load_model(const TensorFile& file, const ModelConfig& config);

/// Whether a file's metadata names the classes.
bool names_classes(const TensorFile& file);

/// The class names in a file's metadata (`class_names` or `label_names`, a JSON array, or
/// `id2label`, a JSON object from class index to name), else ImageNet's if `config` is called
/// like a published model, else none. Throws Error for names that are not one for each class.
std::vector<std::string> class_names(const TensorFile& file, const ModelConfig& config);

}  // namespace bitlog2
#pragma GCC visibility pop
