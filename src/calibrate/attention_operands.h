// The quantizers of what attention multiplies: q, k, v and the attention map.
#pragma once

#include <span>

#include "bitlog2/quantized_model.h"
#include "simulate/tensor.h"

namespace bitlog2::calibration {

/// The quantizer at `slot` of `attn` for values x [.., heads, head_size]: one for all heads or one
/// per head, as the recipe says.
Quantizer find_operand_quantizer(const QuantizationSettings& settings, const Attention& attn,
                                 Slot slot, std::span<const float> x, ThreadPool& pool);

/// One codebook for q, k and v, each with its own scale, found on qkv's outputs.
void find_operand_codebooks(const QuantizationSettings& settings, const Attention& attn,
                            const simulate::Tensor& qkv, Quantizers& quantizers);

/// A float arithmetic's policy (simulate/float_ops.h) whose attention quantizers find their
/// parameters on the first values that reach them. Those that are there already stay.
class FindingOperands {
 public:
  FindingOperands(const QuantizationSettings& settings, Quantizers& quantizers, ThreadPool& pool)
      : settings_(settings), quantizers_(quantizers), pool_(pool) {}

  void input(const Linear&, simulate::Tensor&) {}
  std::span<const float> weight(const Linear& layer) { return layer.weight; }
  void operand(const Attention& attn, Slot slot, std::span<float> x);

 private:
  const QuantizationSettings& settings_;
  Quantizers& quantizers_;
  ThreadPool& pool_;
};

}  // namespace bitlog2::calibration
