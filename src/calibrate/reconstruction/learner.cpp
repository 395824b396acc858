#include "calibrate/reconstruction/learner.h"

#include <algorithm>
#include <cmath>
#include <span>
#include <variant>

#include "simulate/gradients.h"

namespace bitlog2::calibration {
namespace {

// The largest steps, chosen on held-out photographs of one model, ViT-Ti.
constexpr float kWeightRate = 0.015F;  // in steps of the weight's scale
constexpr float kBiasRate = 3e-3F;     // in the root mean square of the layer's outputs
constexpr float kNormRate = 3e-3F;     // in that of gamma
constexpr float kScaleRate = 3e-3F;    // in the scale

constexpr std::size_t kRowsPerTask = 16;

float root_mean_square(std::span<const float> values) {
  return std::sqrt(simulate::dot(values, values) / static_cast<float>(values.size()));
}

std::span<float> scales_of(Quantizer& quantizer) {
  if (auto* affine = std::get_if<Affine>(&quantizer)) {
    return affine->scale;
  }
  return {&std::get<Codebook>(quantizer).scale, 1};
}

}  // namespace

std::span<float> Learner::Weights::row(std::size_t r) {
  return std::span(values).subspan(r * layer->in_features, layer->in_features);
}

Learner::Learner(QuantizedModel& quantized, ThreadPool& pool) : pool_(pool), gradients_(quantized) {
  Model& model = quantized.model;
  for_each_linear(model, [&](Linear& layer) {
    // The query of attention pooling is constant: its weights must stay 0.
    const bool is_constant =
        model.attention_pooling && &layer == &model.attention_pooling->attn.qkv;
    const auto quantizer = quantized.quantizers.find({layer.name, Slot::weight});
    if (quantizer != quantized.quantizers.end() && !is_constant) {
      add_weights(layer, std::get<Affine>(quantizer->second));
    } else if (quantizer != quantized.quantizers.end()) {
      fake_quantize_rows(std::get<Affine>(quantizer->second), layer.weight);
    }
    if (!layer.bias.empty()) {
      const Gradients::OfLinear& gradient = gradients_.linear.at(layer.name);
      learned_.push_back({Adam(layer.bias, gradient.bias), kBiasRate, false, &gradient});
    }
  });
  for_each_norm(model, [&](LayerNorm& norm) { add_norm(norm); });
  for (auto& [key, quantizer] : quantized.quantizers) {
    if (gradients_.scales.contains(key) && key.layer != model.patch_embed.name) {
      add_scales(key, quantizer);
    }
  }
}

void Learner::add_weights(Linear& layer, Affine& quantizer) {
  Weights& weights = weights_.emplace_back();
  weights.layer = &layer;
  weights.quantizer = &quantizer;
  weights.values = layer.weight;
  weights.scale_gradient.resize(layer.out_features);
  for (std::size_t r = 0; r < layer.out_features; ++r) {
    for (float& value : weights.row(r)) {
      value /= quantizer.scale[r];
    }
  }
  learned_.push_back(
      {Adam(weights.values, gradients_.linear.at(layer.name).weight), kWeightRate, false});
  learned_.push_back({Adam(quantizer.scale, weights.scale_gradient), kScaleRate, true});
  round_weights(weights);
}

void Learner::add_norm(LayerNorm& norm) {
  const Gradients::OfNorm& gradient = gradients_.norms.at(norm.name);
  const float rate = kNormRate * root_mean_square(norm.gamma);
  learned_.push_back({Adam(norm.gamma, gradient.gamma), rate, false});
  learned_.push_back({Adam(norm.beta, gradient.beta), rate, false});
}

void Learner::add_scales(const QuantizerKey& key, Quantizer& quantizer) {
  learned_.push_back({Adam(scales_of(quantizer), gradients_.scales.at(key)), kScaleRate, true});
}

void Learner::step(float share) {
  for (Weights& weights : weights_) {
    sum_scale_gradients(weights);
  }
  for (Learned& learned : learned_) {
    const float size = learned.layer == nullptr ? 1.0F : std::sqrt(learned.layer->output_square);
    learned.adam.step(learned.rate * size * share, learned.relative, pool_);
  }
  for (Weights& weights : weights_) {
    round_weights(weights);
  }
  gradients_.set_to_zero();
}

void Learner::sum_scale_gradients(Weights& weights) {
  const std::size_t columns = weights.layer->in_features;
  const std::span<const float> gradient = gradients_.linear.at(weights.layer->name).weight;
  const std::span<const float> rounded = weights.layer->weight;
  for (std::size_t r = 0; r < weights.layer->out_features; ++r) {
    weights.scale_gradient[r] = simulate::dot(gradient.subspan(r * columns, columns),
                                              rounded.subspan(r * columns, columns));
  }
}

void Learner::round_weights(Weights& weights) {
  const Affine& quantizer = *weights.quantizer;
  Linear& layer = *weights.layer;
  pool_.parallel_for(layer.out_features, kRowsPerTask, [&](std::size_t begin, std::size_t end) {
    for (std::size_t r = begin; r < end; ++r) {
      const float zero_point = quantizer.zero_point[r];
      const quant::AffineStep<> step = {1.0F, zero_point, quant::qmax_of(quantizer.bits)};
      float* rounded = layer.weight.data() + r * layer.in_features;
      for (float& value : weights.row(r)) {
        // Not beyond the outermost codes, where nothing can be learned.
        value = std::clamp(value, -zero_point - 0.5F, step.qmax - zero_point + 0.5F);
        *rounded++ = step(value) * quantizer.scale[r];
      }
    }
  });
}

}  // namespace bitlog2::calibration
