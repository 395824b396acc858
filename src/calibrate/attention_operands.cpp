#include "calibrate/attention_operands.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

#include "quant/range_search.h"
#include "simulate/simulated.h"

namespace bitlog2::calibration {
namespace {

constexpr std::array kQkv = {Slot::query, Slot::key, Slot::value};  // in the order of qkv's outputs

/// How far apart the levels of q, k and v may be: so that two products of a q and a k, or of a byte
/// and a v, add up in 16 bits, and that at few bits several such sums do.
int operand_span(int bits) {
  return std::min(127, (4 << bits) - 1);
}

/// A head's values of [.., heads, size], one after the other.
std::vector<float> values_of_head(std::span<const float> x, std::size_t head, std::size_t heads,
                                  std::size_t size) {
  std::vector<float> gathered;
  for (std::size_t i = head * size; i < x.size(); i += heads * size) {
    const auto part = x.subspan(i, size);
    gathered.insert(gathered.end(), part.begin(), part.end());
  }
  return gathered;
}

Affine find_affine(const QuantizationSettings& settings, std::span<const float> values,
                   ThreadPool& pool) {
  const float one = 1.0F;
  return settings.recipe.scale_search_output
             ? quant::affine_of(quant::search_range(values, std::span(&one, 1), settings.a_bits),
                                settings.a_bits)
             : calibrate_affine(values, settings.a_bits, pool);
}

}  // namespace

Quantizer find_operand_quantizer(const QuantizationSettings& settings, const Attention& attn,
                                 Slot slot, std::span<const float> x, ThreadPool& pool) {
  AttentionQuantizers attention_map;
  Affine affine = {settings.a_bits, {}, {}};
  const std::size_t heads = settings.recipe.attention_quantizers_head ? attn.num_heads : 1;
  std::vector<float> gathered;
  for (std::size_t head = 0; head < heads; ++head) {
    std::span<const float> values = x;
    if (heads > 1) {
      gathered = values_of_head(x, head, heads, simulate::head_size(attn, slot));
      values = gathered;
    }
    if (slot == Slot::attention_map) {
      attention_map.push_back(calibrate_attention(settings.scheme, settings.a_bits, values, pool,
                                                  settings.attention_options()));
    } else {
      const Affine found = find_affine(settings, values, pool);
      affine.scale.push_back(found.scale[0]);
      affine.zero_point.push_back(found.zero_point[0]);
    }
  }
  return slot == Slot::attention_map ? Quantizer(std::move(attention_map))
                                     : Quantizer(std::move(affine));
}

void find_operand_codebooks(const QuantizationSettings& settings, const Attention& attn,
                            const simulate::Tensor& qkv, Quantizers& quantizers) {
  const std::size_t channels = qkv.channels() / kQkv.size();
  std::array<double, kQkv.size()> squares = {};
  for (std::size_t row = 0; row < qkv.rows(); ++row) {
    for (std::size_t c = 0; c < qkv.channels(); ++c) {
      squares.at(c / channels) += static_cast<double>(qkv.row(row)[c]) * qkv.row(row)[c];
    }
  }
  std::array<float, kQkv.size()> root_mean_squares = {};
  for (std::size_t part = 0; part < kQkv.size(); ++part) {
    const double mean = squares.at(part) / static_cast<double>(qkv.rows() * channels);
    root_mean_squares.at(part) = static_cast<float>(std::sqrt(std::max(mean, 1e-30)));
  }
  simulate::Tensor pooled = simulate::copy(qkv);
  for (std::size_t row = 0; row < qkv.rows(); ++row) {
    for (std::size_t c = 0; c < qkv.channels(); ++c) {
      pooled.row(row)[c] /= root_mean_squares.at(c / channels);
    }
  }
  const float one = 1.0F;
  const Codebook shared = calibrate_codebook(pooled.values(), std::span(&one, 1), settings.a_bits,
                                             operand_span(settings.a_bits));
  for (std::size_t part = 0; part < kQkv.size(); ++part) {
    const Slot slot = kQkv.at(part);
    if (!settings.quantizes(group_of(slot))) {
      continue;
    }
    Codebook codebook = shared;
    codebook.scale *= root_mean_squares.at(part);
    if (slot == Slot::query && attn.scale_query) {
      const std::size_t head_dim = channels / attn.num_heads;
      codebook.scale /= std::sqrt(static_cast<float>(head_dim));
    }
    quantizers[{attn.name, slot}] = std::move(codebook);
  }
}

void FindingOperands::operand(const Attention& attn, Slot slot, std::span<float> x) {
  if (!settings_.quantizes(group_of(slot))) {
    return;
  }
  const auto [place, is_new] = quantizers_.try_emplace({attn.name, slot});
  if (is_new) {
    place->second = find_operand_quantizer(settings_, attn, slot, x, pool_);
  }
  simulate::fake_quantize_heads(place->second, attn, slot, x, pool_);
}

}  // namespace bitlog2::calibration
