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

class Simulated {
 public:
  static constexpr bool kDropsUnreadTokens = true;

  Simulated(const Quantizers& quantizers, ThreadPool& pool)
      : quantizers_(quantizers), pool_(pool) {}

  void input(const Linear& layer, Tensor& x) { quantize(layer.name + ".input_quantizer", x); }

  /// Weights are quantized already, by with_quantized_weights.
  std::span<const float> weight(const Linear& layer) { return layer.weight; }

  void query(const Attention& attn, std::span<float> x) {
    quantize(attn.name + ".matmul1.quantizer_A", x);
  }
  void key(const Attention& attn, std::span<float> x) {
    quantize(attn.name + ".matmul1.quantizer_B", x);
  }
  void value(const Attention& attn, std::span<float> x) {
    quantize(attn.name + ".matmul2.quantizer_B", x);
  }
  void attention_map(const Attention& attn, std::span<float> x) {
    fake_quantize_parallel(quantizers_.attention_maps.at(attn.name + ".matmul2.quantizer_A"), x,
                           pool_);
  }

 private:
  void quantize(const std::string& name, Tensor& x) {
    const UniformQuantizer& quantizer = quantizers_.uniform.at(name);
    if (quantizer.per_channel()) {
      fake_quantize_columns(quantizer, x.values());
    } else {
      fake_quantize_parallel(quantizer, x.values(), pool_);
    }
  }
  void quantize(const std::string& name, std::span<float> x) {
    fake_quantize_parallel(quantizers_.uniform.at(name), x, pool_);
  }

  const Quantizers& quantizers_;
  ThreadPool& pool_;
};

}  // namespace bitlog2::simulate
