// Quantizers by place, scale reparameterization and rounding of weights.
#include "bitlog2/quantized_model.h"

#include <fmt/format.h>

#include <array>
#include <map>
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

QuantizerGroup group_of(Slot slot, Role role) {
  switch (role) {
    case Role::patch_embed:
    case Role::pre_logits:
    case Role::head:
    case Role::projection:
      return QuantizerGroup::embedding_head;
    default:
      break;
  }
  if (slot == Slot::weight) {
    return QuantizerGroup::weights;
  }
  switch (role) {
    case Role::proj:
    case Role::pool_proj:
      return QuantizerGroup::contexts;
    case Role::fc2:
      return QuantizerGroup::gelu_outputs;
    default:
      return QuantizerGroup::norm_outputs;
  }
}

int QuantizationSettings::weight_bits(Role role) const {
  return role == Role::projection ? kMaxBits : w_bits;
}

int QuantizationSettings::activation_bits(Role role) const {
  return role == Role::patch_embed  ? kPatchEmbeddingInputBits
         : role == Role::projection ? kMaxBits
                                    : a_bits;
}

QuantizerGroup group_of(Slot slot) {
  return slot == Slot::attention_map ? QuantizerGroup::attention_maps
         : slot == Slot::value       ? QuantizerGroup::values
                                     : QuantizerGroup::queries_keys;
}

std::size_t channel_count(const Quantizer& quantizer) {
  if (const auto* affine = std::get_if<Affine>(&quantizer)) {
    return affine->scale.size();
  }
  const auto* heads = std::get_if<AttentionQuantizers>(&quantizer);
  return heads != nullptr ? heads->size() : 1;
}

void fake_quantize(const Quantizer& quantizer, std::span<float> values, std::size_t channel) {
  if (const auto* affine = std::get_if<Affine>(&quantizer)) {
    fake_quantize(*affine, values, channel);
  } else if (const auto* codebook = std::get_if<Codebook>(&quantizer)) {
    fake_quantize(*codebook, values);
  } else {
    fake_quantize(std::get<AttentionQuantizers>(quantizer)[channel], values);
  }
}

const Quantizer* find_quantizer(const Quantizers& quantizers, const std::string& layer, Slot slot) {
  const auto found = quantizers.find({layer, slot});
  return found == quantizers.end() ? nullptr : &found->second;
}

std::string published_name(const QuantizerKey& key) {
  constexpr std::array<std::string_view, 6> kNames = {"input_quantizer",     "weight_quantizer",
                                                      "matmul1.quantizer_A", "matmul1.quantizer_B",
                                                      "matmul2.quantizer_A", "matmul2.quantizer_B"};
  return fmt::format("{}.{}", key.layer, kNames.at(static_cast<std::size_t>(key.slot)));
}

Affine reparameterize(LayerNorm& norm, Linear& linear, const Affine& input) {
  Affine result = {input.bits, {mean(input.scale)}, {mean(input.zero_point)}};
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
    if (const Quantizer* quantizer =
            find_quantizer(quantized.quantizers, linear.name, Slot::weight)) {
      fake_quantize_rows(std::get<Affine>(*quantizer), linear.weight);
    }
  });
  return model;
}

std::string quantizers_to_json(const Quantizers& quantizers) {
  using nlohmann::ordered_json;
  // Affine ones first, then codebooks, then attention maps, each sorted by name.
  std::array<std::map<std::string, ordered_json>, std::variant_size_v<Quantizer>> kinds;
  for (const auto& [key, quantizer] : quantizers) {
    ordered_json& entry = kinds.at(quantizer.index())[published_name(key)];
    if (const auto* affine = std::get_if<Affine>(&quantizer)) {
      entry = {
          {"delta", affine->scale}, {"zero_point", affine->zero_point}, {"n_bits", affine->bits}};
    } else if (const auto* codebook = std::get_if<Codebook>(&quantizer)) {
      entry = {{"delta", codebook->scale}, {"levels", codebook->levels}};
      if (!codebook->begins.empty()) {
        entry["begins"] = codebook->begins;
      }
    } else {
      const auto& heads = std::get<AttentionQuantizers>(quantizer);
      entry = {{"delta", heads.front().delta},
               {"n_bits", heads.front().bits},
               {"scheme", heads.front().scheme.name}};
      if (heads.size() > 1) {
        entry["delta"] = ordered_json::array();
        for (const AttentionQuantizer& head : heads) {
          entry["delta"].push_back(head.delta);
        }
      }
    }
  }
  ordered_json object = ordered_json::object();
  for (const auto& kind : kinds) {
    for (const auto& [name, entry] : kind) {
      object[name] = entry;
    }
  }
  return object.dump();
}

}  // namespace bitlog2
