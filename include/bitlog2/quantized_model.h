// A quantized model, the result of calibration: its weights and the parameters of every quantizer,
// as plain data.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <tuple>

#include "bitlog2/model.h"
#include "bitlog2/parallel.h"
#include "bitlog2/quantizers.h"
#include "bitlog2/recipe.h"

#pragma GCC visibility push(default)
namespace bitlog2 {

inline constexpr int kMinBits = 2;
inline constexpr int kMaxBits = 8;
inline constexpr int kPatchEmbeddingInputBits = 8;  ///< whatever a_bits says

/// Groups of quantizers that `bitlog2 ablate` switches off together.
enum class QuantizerGroup : std::uint8_t {
  weights,       ///< of all layers but the patch embedding and the head
  norm_outputs,  ///< inputs of qkv, fc1 and Swin's reduction
  queries_keys,
  values,
  attention_maps,
  contexts,        ///< inputs of proj
  gelu_outputs,    ///< inputs of fc2
  embedding_head,  ///< inputs and weights of the patch embedding and the head
};

struct NamedQuantizerGroup {
  QuantizerGroup group;
  std::string_view name;
};

inline constexpr std::array kQuantizerGroups = {
    NamedQuantizerGroup{QuantizerGroup::weights, "weights"},
    NamedQuantizerGroup{QuantizerGroup::norm_outputs, "LayerNorm's outputs (qkv, fc1)"},
    NamedQuantizerGroup{QuantizerGroup::queries_keys, "queries and keys"},
    NamedQuantizerGroup{QuantizerGroup::values, "values"},
    NamedQuantizerGroup{QuantizerGroup::attention_maps, "attention maps"},
    NamedQuantizerGroup{QuantizerGroup::contexts, "contexts (proj)"},
    NamedQuantizerGroup{QuantizerGroup::gelu_outputs, "GELU's outputs (fc2)"},
    NamedQuantizerGroup{QuantizerGroup::embedding_head, "patch embedding and head"},
};

/// Where a quantizer stands: at a linear layer (input, weight) or at attention (query, key,
/// attention_map, value: the operands of its two products).
enum class Slot : std::uint8_t { input, weight, query, key, attention_map, value };

/// The group of a linear layer's input or weight quantizer.
QuantizerGroup group_of(Slot slot, Role role);

/// The group of one of attention's quantizers.
QuantizerGroup group_of(Slot slot);

/// How a model is quantized.
struct QuantizationSettings {
  int w_bits = 4;
  int a_bits = 4;
  AttentionScheme scheme = find_attention_scheme("Sqrt2_17");
  Recipe recipe = {};
  std::optional<QuantizerGroup> skipped = {};  ///< stays in float32; for the simulated engine only

  bool quantizes(QuantizerGroup group) const { return skipped != group; }

  /// Whether activations have codebooks: where the recipe says so, up to 7 bits.
  bool has_codebooks() const { return recipe.activation_codes_codebook && a_bits < 8; }

  /// Bits of the weights and of the input of a layer of this role. An encoder's output layer has
  /// kMaxBits, since embeddings are compared by their values.
  int weight_bits(Role role) const;
  int activation_bits(Role role) const;

  /// "BitLog2_Half_17.w4a4"
  std::string name() const;

  /// What the recipe changes of the attention scheme.
  AttentionOptions attention_options() const {
    return {recipe.attention_rounding_nearest, recipe.attention_levels_by_bits,
            recipe.attention_normalization_last};
  }
};

/// A quantizer's place: the name of a Linear or of an Attention, and the slot there.
struct QuantizerKey {
  std::string layer;
  Slot slot = Slot::input;

  bool operator==(const QuantizerKey&) const = default;
  bool operator<(const QuantizerKey& other) const {
    return std::tie(layer, slot) < std::tie(other.layer, other.slot);
  }
};

/// Every quantizer of a model. A place that has none is not quantized.
using Quantizers = std::map<QuantizerKey, Quantizer>;

/// The quantizer at a place; null if there is none.
const Quantizer* find_quantizer(const Quantizers& quantizers, const std::string& layer, Slot slot);

/// The name of a place in the published system: "blocks.0.attn.matmul1.quantizer_A".
std::string published_name(const QuantizerKey& key);

/// A model together with its quantizers. The weights of `model` are in float32, reparameterized or
/// compensated; with_quantized_weights rounds them by the weight quantizers.
struct QuantizedModel {
  Model model;
  QuantizationSettings settings;
  Quantizers quantizers;
};

/// Scale reparameterization of one LayerNorm and the linear layer behind it (RepQ-ViT, Li et al.,
/// arXiv:2212.08254). The scales and zero points of `input`, one per channel, are replaced by one
/// scale and zero point, which are returned; norm and layer absorb the difference. A missing bias
/// is created.
Affine reparameterize(LayerNorm& norm, Linear& linear, const Affine& input);

/// A copy of the model whose weights are rounded by their quantizers.
Model with_quantized_weights(const QuantizedModel& quantized);

/// The quantizers as JSON text: {published name: {delta, zero_point, n_bits}}, delta and zero_point
/// one per channel; codebooks and attention maps have fields of their own.
std::string quantizers_to_json(const Quantizers& quantizers);

}  // namespace bitlog2
#pragma GCC visibility pop
