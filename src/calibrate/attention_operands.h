// The quantizers of attention's operands: q, k, v and the attention map.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <variant>
#include <vector>

#include "bitlog2/quantized_model.h"
#include "calibrate/sequence.h"
#include "quant/affine_search.h"
#include "quant/attention/scheme.h"
#include "quant/range_search.h"
#include "simulate/float_ops.h"

namespace bitlog2::calibration {

/// A search for the quantizer at one slot of attention, on values that come in parts: one quantizer
/// for all heads or one per head, as the recipe says.
class OperandSearch {
 public:
  /// For `count` values in total.
  OperandSearch(const QuantizationSettings& settings, const Attention& attn, Slot slot,
                std::size_t count);

  /// `x` [.., heads, head_size]; called with all values in every pass, in the same parts.
  void add(std::span<const float> x, ThreadPool& pool);

  /// Ends a pass. Returns whether another one is needed.
  bool next_pass();

  Quantizer found() const;

 private:
  using HeadSearch =
      std::variant<quant::AffineSearch, quant::RangeSearch, std::unique_ptr<AttentionSearch>>;

  const QuantizationSettings& settings_;
  const Attention& attn_;
  Slot slot_;
  std::vector<HeadSearch> heads_;
};

/// The quantizer at `slot` of `attn` for values x [.., heads, head_size] that are all in memory.
Quantizer find_operand_quantizer(const QuantizationSettings& settings, const Attention& attn,
                                 Slot slot, std::span<const float> x, ThreadPool& pool);

/// Finds the quantizers of all slots that the settings quantize, on qkv's outputs. Where the recipe
/// has codebooks, q, k and v share one, each with its own scale.
void find_operand_quantizers(const QuantizationSettings& settings, const Attention& attn,
                             const Sequence& qkv, Quantizers& quantizers,
                             simulate::FloatOps<simulate::NoQuantization>& ops, ThreadPool& pool);

}  // namespace bitlog2::calibration
