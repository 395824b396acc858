// What calibration makes of a model: its reparameterized weights and the parameters of
// every quantizer, as plain data.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "bitlog2/model.h"
#include "bitlog2/parallel.h"
#include "bitlog2/quantizers.h"
#include "bitlog2/recipe.h"

namespace bitlog2 {

inline constexpr int kMinBits = 2;
inline constexpr int kMaxBits = 8;
inline constexpr int kPatchEmbeddingInputBits = 8;  ///< whatever a_bits says

/// Quantizers that are looked at together when one asks where accuracy goes.
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

/// The group of a layer's input quantizer.
QuantizerGroup input_group(std::string_view layer);

/// The group of a layer's weight quantizer.
QuantizerGroup weight_group(std::string_view layer);

struct QuantizationSettings {
  int w_bits = 4;
  int a_bits = 4;
  AttentionScheme scheme = kAttentionSchemes[1];  ///< Sqrt2_17
  Recipe recipe = {};
  std::optional<QuantizerGroup> skipped = {};  ///< stays in float32; simulated only

  bool quantizes(QuantizerGroup group) const { return skipped != group; }

  /// As the recipe says, where a byte has room for other than even steps.
  bool has_code_books() const { return recipe.code_books && a_bits < 8; }

  /// "BitLog2_Half_17.w4a4"
  std::string name() const;

  /// How BitLog2 cuts attention maps; nothing for the scheme's own grid or for Sqrt2.
  std::optional<BitLog2Grid> attention_grid() const;
};

/// Every quantizer of a model by timm's module name ("blocks.0.attn.qkv.input_quantizer"). What
/// has none is not quantized.
struct Quantizers {
  std::map<std::string, UniformQuantizer> uniform;
  /// In place of a uniform one. Those of q, k and v have the same levels.
  std::map<std::string, GridQuantizer> grids;
  /// One for all heads, or one per head, alike but for delta.
  std::map<std::string, std::vector<AttentionQuantizer>> attention_maps;
};

/// A model together with its quantizers. `model` holds float weights, reparameterized but
/// not yet rounded; the weight quantizers say how they round.
struct QuantizedModel {
  Model model;
  QuantizationSettings settings;
  Quantizers quantizers;
};

/// Scale reparameterization of one LayerNorm and the linear layer behind it (RepQ-ViT;
/// SPEC 4.2): per-channel `input` becomes one scale and zero point for all channels, which
/// is returned, and norm and layer absorb the difference. A missing bias is created.
UniformQuantizer reparameterize(LayerNorm& norm, Linear& linear, const UniformQuantizer& input);

/// A copy of the model whose weights are what their quantizers make of them.
Model with_quantized_weights(const QuantizedModel& quantized);

/// The quantizers as JSON: {module name: {delta, zero_point, n_bits}}, one entry per channel.
std::string quantizers_to_json(const Quantizers& quantizers);

}  // namespace bitlog2
