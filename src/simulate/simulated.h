// The policy of the simulated engine: every quantizer's effect, in float32.
#pragma once

#include <span>
#include <string>

#include "bitlog2/model.h"
#include "bitlog2/quantized_model.h"
#include "simulate/tensor.h"

namespace bitlog2::simulate {

/// Fake-quantizes `values` over the pool's threads.
template <class Quantizer>
void fake_quantize_parallel(const Quantizer& quantizer, std::span<float> values, ThreadPool& pool) {
  constexpr std::size_t kGrain = 1 << 16;
  pool.parallel_for(values.size(), kGrain, [&](std::size_t begin, std::size_t end) {
    fake_quantize(quantizer, values.subspan(begin, end - begin));
  });
}

/// Fake-quantizes `values` [.., heads, head_size], each head with its own quantizer.
template <class Quantize>
void for_heads(std::span<float> values, std::size_t heads, std::size_t head_size, ThreadPool& pool,
               Quantize quantize) {
  pool.parallel_for(values.size() / head_size, 1, [&](std::size_t begin, std::size_t end) {
    for (std::size_t i = begin; i < end; ++i) {
      quantize(i % heads, values.subspan(i * head_size, head_size));
    }
  });
}

/// q, k or v, [.., heads, tokens, head_dim], with one quantizer or one per head.
inline void fake_quantize_operand(const Attention& attn, const UniformQuantizer& quantizer,
                                  std::span<float> values, ThreadPool& pool) {
  if (!quantizer.per_channel()) {
    fake_quantize_parallel(quantizer, values, pool);
    return;
  }
  const std::size_t head_size = attn.groups.tokens * (attn.proj.in_features / attn.num_heads);
  for_heads(values, attn.num_heads, head_size, pool, [&](std::size_t head, std::span<float> part) {
    fake_quantize_channel(quantizer, head, part);
  });
}

/// The attention map, [.., heads, tokens, tokens], with one quantizer or one per head.
inline void fake_quantize_map(const Attention& attn, std::span<const AttentionQuantizer> quantizers,
                              std::span<float> values, ThreadPool& pool) {
  if (quantizers.size() == 1) {
    fake_quantize_parallel(quantizers.front(), values, pool);
    return;
  }
  for_heads(
      values, attn.num_heads, attn.groups.tokens * attn.groups.tokens, pool,
      [&](std::size_t head, std::span<float> part) { fake_quantize(quantizers[head], part); });
}

class Simulated {
 public:
  static constexpr bool kDropsUnreadTokens = true;

  Simulated(const Quantizers& quantizers, ThreadPool& pool)
      : quantizers_(quantizers), pool_(pool) {}

  void input(const Linear& layer, Tensor& x) {
    const std::string name = layer.name + ".input_quantizer";
    if (const auto grid = quantizers_.grids.find(name); grid != quantizers_.grids.end()) {
      fake_quantize_parallel(grid->second, x.values(), pool_);
      return;
    }
    const auto quantizer = quantizers_.uniform.find(name);
    if (quantizer != quantizers_.uniform.end()) {
      fake_quantize_parallel(quantizer->second, x.values(), pool_);
    }
  }

  /// Weights are quantized already, by with_quantized_weights.
  std::span<const float> weight(const Linear& layer) { return layer.weight; }

  void query(const Attention& attn, std::span<float> x) {
    operand(attn, attn.name + ".matmul1.quantizer_A", x);
  }
  void key(const Attention& attn, std::span<float> x) {
    operand(attn, attn.name + ".matmul1.quantizer_B", x);
  }
  void value(const Attention& attn, std::span<float> x) {
    operand(attn, attn.name + ".matmul2.quantizer_B", x);
  }
  void attention_map(const Attention& attn, std::span<float> x) {
    const auto quantizers = quantizers_.attention_maps.find(attn.name + ".matmul2.quantizer_A");
    if (quantizers != quantizers_.attention_maps.end()) {
      fake_quantize_map(attn, quantizers->second, x, pool_);
    }
  }

 private:
  void operand(const Attention& attn, const std::string& name, std::span<float> x) {
    if (const auto grid = quantizers_.grids.find(name); grid != quantizers_.grids.end()) {
      fake_quantize_parallel(grid->second, x, pool_);
      return;
    }
    const auto quantizer = quantizers_.uniform.find(name);
    if (quantizer != quantizers_.uniform.end()) {
      fake_quantize_operand(attn, quantizer->second, x, pool_);
    }
  }

  const Quantizers& quantizers_;
  ThreadPool& pool_;
};

}  // namespace bitlog2::simulate
