// Scale reparameterization and what else turns a model into a quantized one.
#include "bitlog2/quantized_model.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <numeric>

namespace bitlog2 {
namespace {

float mean(std::span<const float> values) {
  const double sum = std::accumulate(values.begin(), values.end(), 0.0);
  return static_cast<float>(sum / static_cast<double>(values.size()));
}

}  // namespace

std::string QuantizationSettings::name() const {
  return fmt::format("{}.w{}a{}", scheme.name, w_bits, a_bits);
}

std::optional<BitLog2Grid> QuantizationSettings::attention_grid() const {
  const bool more_levels = recipe.fine_attention && a_bits > 4;
  if (!scheme.is_bitlog2() || !(recipe.nearest_attention || more_levels)) {
    return std::nullopt;
  }
  BitLog2Grid grid = bitlog2_grid(scheme);
  grid.to_nearest = recipe.nearest_attention;
  if (more_levels) {
    // The 16 bits of probabilities that the integer engine has; 2^f levels in each of their
    // octaves are at most 32, 60, 116 and 116.
    grid.multiplier = 1 << 16;
    grid.fraction_bits = std::min(a_bits - 4, 3);
  }
  return grid;
}

QuantizerGroup input_group(std::string_view layer) {
  if (layer.starts_with("patch_embed.") || layer == "head") {
    return QuantizerGroup::embedding_head;
  }
  if (layer.ends_with(".attn.proj")) {
    return QuantizerGroup::contexts;
  }
  return layer.ends_with(".fc2") ? QuantizerGroup::gelu_outputs : QuantizerGroup::norm_outputs;
}

QuantizerGroup weight_group(std::string_view layer) {
  const QuantizerGroup group = input_group(layer);
  return group == QuantizerGroup::embedding_head ? group : QuantizerGroup::weights;
}

UniformQuantizer reparameterize(LayerNorm& norm, Linear& linear, const UniformQuantizer& input) {
  UniformQuantizer result = {input.bits, {mean(input.scale)}, {mean(input.zero_point)}};
  const float target_min = -result.zero_point[0] * result.scale[0];
  const std::size_t channels = input.scale.size();
  std::vector<float> ratio(channels);
  std::vector<float> shift(channels);
  for (std::size_t c = 0; c < channels; ++c) {
    ratio[c] = input.scale[c] / result.scale[0];
    shift[c] = -input.zero_point[c] * input.scale[c] / ratio[c] - target_min;
    norm.gamma[c] /= ratio[c];
    norm.beta[c] = norm.beta[c] / ratio[c] - shift[c];
  }
  if (linear.bias.empty()) {
    linear.has_bias = true;
    linear.bias.resize(linear.out_features);
  }
  for (std::size_t row = 0; row < linear.out_features; ++row) {
    double correction = 0;
    for (std::size_t c = 0; c < channels; ++c) {
      float& weight = linear.weight[row * channels + c];
      weight *= ratio[c];
      correction += static_cast<double>(weight) * shift[c];
    }
    linear.bias[row] += static_cast<float>(correction);
  }
  return result;
}

Model with_quantized_weights(const QuantizedModel& quantized) {
  Model model = quantized.model;
  for_each_linear(model, [&](Linear& linear) {
    const auto quantizer = quantized.quantizers.uniform.find(linear.name + ".weight_quantizer");
    if (quantizer != quantized.quantizers.uniform.end()) {
      fake_quantize_rows(quantizer->second, linear.weight);
    }
  });
  return model;
}

std::string quantizers_to_json(const Quantizers& quantizers) {
  nlohmann::ordered_json object = nlohmann::ordered_json::object();
  for (const auto& [name, quantizer] : quantizers.uniform) {
    object[name] = {{"delta", quantizer.scale},
                    {"zero_point", quantizer.zero_point},
                    {"n_bits", quantizer.bits}};
  }
  for (const auto& [name, quantizer] : quantizers.grids) {
    object[name] = {{"delta", quantizer.scale}, {"levels", quantizer.levels}};
    if (!quantizer.begins.empty()) {
      object[name]["begins"] = quantizer.begins;
    }
  }
  for (const auto& [name, heads] : quantizers.attention_maps) {
    nlohmann::ordered_json entry = {{"delta", heads.front().delta},
                                    {"n_bits", heads.front().bits},
                                    {"scheme", heads.front().scheme.name}};
    if (heads.size() > 1) {
      entry["delta"] = nlohmann::ordered_json::array();
      for (const AttentionQuantizer& quantizer : heads) {
        entry["delta"].push_back(quantizer.delta);
      }
    }
    object[name] = entry;
  }
  return object.dump();
}

}  // namespace bitlog2
