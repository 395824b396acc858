// RepQ-ViT's calibration: a forward pass whose every quantizer finds its parameters on the data
// that reaches it first, then quantizes that data for the layers below.
#include "calibrate/repq.h"

#include <set>
#include <string>

#include "model/forward.h"
#include "simulate/float_ops.h"
#include "simulate/simulated.h"

namespace bitlog2 {
namespace {

using simulate::fake_quantize_parallel;
using simulate::Tensor;

class Observing {
 public:
  Observing(const QuantizationSettings& settings, std::set<std::string> behind_norm,
            std::size_t layers, ThreadPool& pool, const CalibrationProgress& progress)
      : settings_(settings),
        behind_norm_(std::move(behind_norm)),
        layers_(layers),
        pool_(pool),
        progress_(progress) {}

  void input(const Linear& layer, Tensor& x) {
    if (!settings_.quantizes(input_group(layer.name))) {
      return;
    }
    const bool is_patch_embedding = layers_done_ == 0;
    UniformQuantizer& quantizer = quantizers_.uniform[layer.name + ".input_quantizer"];
    if (behind_norm_.contains(layer.name)) {
      quantizer = calibrate_columns(x.values(), x.channels(), settings_.a_bits, pool_);
      fake_quantize_columns(quantizer, x.values());
    } else {
      const int bits = is_patch_embedding ? kPatchEmbeddingInputBits : settings_.a_bits;
      quantizer = calibrate_uniform(x.values(), bits, pool_);
      fake_quantize_parallel(quantizer, x.values(), pool_);
    }
  }

  std::span<const float> weight(const Linear& layer) {
    ++layers_done_;
    if (progress_) {
      progress_(layers_done_, layers_);
    }
    if (!settings_.quantizes(weight_group(layer.name))) {
      return layer.weight;
    }
    UniformQuantizer& quantizer = quantizers_.uniform[layer.name + ".weight_quantizer"];
    quantizer = calibrate_rows(layer.weight, layer.out_features, settings_.w_bits, pool_);
    weight_ = layer.weight;
    fake_quantize_rows(quantizer, weight_);
    return weight_;
  }

  void query(const Attention& attn, std::span<float> x) {
    observe(QuantizerGroup::queries_keys, attn.name + ".matmul1.quantizer_A", x);
  }
  void key(const Attention& attn, std::span<float> x) {
    observe(QuantizerGroup::queries_keys, attn.name + ".matmul1.quantizer_B", x);
  }
  void value(const Attention& attn, std::span<float> x) {
    observe(QuantizerGroup::values, attn.name + ".matmul2.quantizer_B", x);
  }

  void attention_map(const Attention& attn, std::span<float> x) {
    if (!settings_.quantizes(QuantizerGroup::attention_maps)) {
      return;
    }
    const AttentionQuantizer quantizer =
        calibrate_attention(settings_.scheme, settings_.a_bits, x, pool_);
    quantizers_.attention_maps[attn.name + ".matmul2.quantizer_A"] = {quantizer};
    fake_quantize_parallel(quantizer, x, pool_);
  }

  Quantizers take_quantizers() { return std::move(quantizers_); }

 private:
  void observe(QuantizerGroup group, const std::string& name, std::span<float> x) {
    if (!settings_.quantizes(group)) {
      return;
    }
    UniformQuantizer& quantizer = quantizers_.uniform[name];
    quantizer = calibrate_uniform(x, settings_.a_bits, pool_);
    fake_quantize_parallel(quantizer, x, pool_);
  }

  const QuantizationSettings& settings_;
  std::set<std::string> behind_norm_;  // linear layers whose input is reparameterized
  std::size_t layers_;
  std::size_t layers_done_ = 0;
  ThreadPool& pool_;
  const CalibrationProgress& progress_;
  Quantizers quantizers_;
  std::vector<float> weight_;
};

}  // namespace

Calibration calibrate_repq(Model model, const QuantizationSettings& settings,
                           std::span<const float> images, ThreadPool& pool,
                           const CalibrationProgress& progress) {
  std::set<std::string> behind_norm;
  for_each_norm_pair(model, [&](LayerNorm&, Linear& linear) { behind_norm.insert(linear.name); });
  std::size_t layers = 0;
  for_each_linear(model, [&](Linear&) { ++layers; });

  Observing observing(settings, std::move(behind_norm), layers, pool, progress);
  const LayerObserver nobody;
  simulate::FloatOps<Observing> ops(model.config, images, observing, pool, nobody);
  static_cast<void>(forward(model, ops));

  Calibration result;
  result.after_initial_calibration = observing.take_quantizers();
  Quantizers quantizers = result.after_initial_calibration;
  for_each_norm_pair(model, [&](LayerNorm& norm, Linear& linear) {
    const auto input = quantizers.uniform.find(linear.name + ".input_quantizer");
    if (input != quantizers.uniform.end()) {
      input->second = reparameterize(norm, linear, input->second);
    }
    // Weights do not depend on data: this is all that a second pass would find.
    const auto weights = quantizers.uniform.find(linear.name + ".weight_quantizer");
    if (weights != quantizers.uniform.end()) {
      weights->second = calibrate_rows(linear.weight, linear.out_features, settings.w_bits, pool);
    }
  });
  result.quantized = {std::move(model), settings, std::move(quantizers)};
  return result;
}

}  // namespace bitlog2
