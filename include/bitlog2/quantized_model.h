// What calibration makes of a model: its reparameterized weights and the parameters of
// every quantizer, as plain data.
#pragma once

#include <map>
#include <optional>
#include <span>
#include <string>

#include "bitlog2/model.h"
#include "bitlog2/parallel.h"
#include "bitlog2/quantizers.h"
#include "bitlog2/recipe.h"

namespace bitlog2 {

inline constexpr int kMinBits = 2;
inline constexpr int kMaxBits = 8;
inline constexpr int kPatchEmbeddingInputBits = 8;  ///< whatever a_bits says

struct QuantizationSettings {
  int w_bits = 4;
  int a_bits = 4;
  AttentionScheme scheme = kAttentionSchemes[1];  ///< Sqrt2_17
  Recipe recipe = {};

  /// "BitLog2_Half_17.w4a4"
  std::string name() const;

  /// How BitLog2 cuts attention maps; nothing for the scheme's own grid or for Sqrt2.
  std::optional<BitLog2Grid> attention_grid() const;
};

/// Every quantizer of a model by timm's module name ("blocks.0.attn.qkv.input_quantizer").
struct Quantizers {
  std::map<std::string, UniformQuantizer> uniform;
  std::map<std::string, GridQuantizer> grids;  ///< in place of a uniform one: fc2's input
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
