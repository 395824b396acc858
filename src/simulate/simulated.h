// The policy of the simulated engine: applies every quantizer in float32.
#pragma once

#include <span>
#include <string>

#include "bitlog2/engine.h"
#include "bitlog2/model.h"
#include "bitlog2/quantized_model.h"
#include "simulate/tensor.h"

namespace bitlog2::simulate {

/// Fake-quantizes `values` over the pool's threads, by one set of parameters.
inline void fake_quantize_parallel(const Quantizer& quantizer, std::span<float> values,
                                   ThreadPool& pool) {
  constexpr std::size_t kGrain = 1 << 16;
  pool.parallel_for(values.size(), kGrain, [&](std::size_t begin, std::size_t end) {
    fake_quantize(quantizer, values.subspan(begin, end - begin));
  });
}

/// How many consecutive values belong to one head in the operand of attention at `slot`.
inline std::size_t head_size(const Attention& attn, Slot slot) {
  const std::size_t columns =
      slot == Slot::attention_map ? attn.groups.tokens : attn.proj.in_features / attn.num_heads;
  return attn.groups.tokens * columns;
}

/// Fake-quantizes an operand of attention, [.., heads, head_size], by one quantizer for all heads
/// or one per head; attention maps row by row.
inline void fake_quantize_heads(const Quantizer& quantizer, const Attention& attn, Slot slot,
                                std::span<float> values, ThreadPool& pool) {
  const bool is_shared = channel_count(quantizer) == 1;
  if (is_shared && slot != Slot::attention_map) {
    fake_quantize_parallel(quantizer, values, pool);
    return;
  }
  const std::size_t rows = slot == Slot::attention_map ? attn.groups.tokens : 1;  // of a head
  const std::size_t size = head_size(attn, slot) / rows;
  pool.parallel_for(values.size() / size, rows, [&](std::size_t begin, std::size_t end) {
    for (std::size_t i = begin; i < end; ++i) {
      fake_quantize(quantizer, values.subspan(i * size, size),
                    is_shared ? 0 : i / rows % attn.num_heads);
    }
  });
}

class Simulated {
 public:
  static constexpr bool kDropsUnreadTokens = true;

  Simulated(const Quantizers& quantizers, ThreadPool& pool, ActivationObserver observer = {})
      : quantizers_(quantizers), pool_(pool), observer_(std::move(observer)) {}

  void input(const Linear& layer, Tensor& x) {
    if (const Quantizer* quantizer = find_quantizer(quantizers_, layer.name, Slot::input)) {
      show({layer.name, Slot::input}, x.values());
      fake_quantize_parallel(*quantizer, x.values(), pool_);
    }
  }

  /// Weights are quantized already, by with_quantized_weights.
  std::span<const float> weight(const Linear& layer) { return layer.weight; }

  void operand(const Attention& attn, Slot slot, std::span<float> x) {
    if (const Quantizer* quantizer = find_quantizer(quantizers_, attn.name, slot)) {
      show({attn.name, slot}, x);
      fake_quantize_heads(*quantizer, attn, slot, x, pool_);
    }
  }

 private:
  void show(const QuantizerKey& place, std::span<const float> values) const {
    if (observer_) {
      observer_(place, values);
    }
  }

  const Quantizers& quantizers_;
  ThreadPool& pool_;
  ActivationObserver observer_;
};

}  // namespace bitlog2::simulate
