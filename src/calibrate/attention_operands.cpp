#include "calibrate/attention_operands.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <utility>

#include "quant/codebook_fit.h"
#include "quant/histogram.h"
#include "simulate/simulated.h"

namespace bitlog2::calibration {
namespace {

constexpr std::array kQkv = {Slot::query, Slot::key, Slot::value};  // in the order of qkv's outputs

/// The span of the levels of q, k and v. It is so small that the sum of two products of q and k, or
/// of a byte and v, fits in 16 bits; with few bits, so do several such sums.
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

AttentionQuantizer unfitted_attention(const QuantizationSettings& settings) {
  return {settings.scheme, settings.a_bits, 1.0F, settings.attention_options()};
}

/// One codebook for q, k and v, on [.., 3C] outputs of qkv, which are first scaled to one size.
void find_shared_codebook(const QuantizationSettings& settings, const Attention& attn,
                          const Sequence& qkv, Quantizers& quantizers,
                          simulate::FloatOps<simulate::NoQuantization>& ops, ThreadPool& pool) {
  const std::size_t channels = qkv.channels() / kQkv.size();
  const float one = 1.0F;
  std::array<quant::Histogram, kQkv.size()> parts;
  for (std::size_t i = 0; i < qkv.chunks(); ++i) {
    simulate::Tensor x = qkv.chunk(i);
    if (!attn.rotation.empty()) {
      const auto heads = ops.split_heads(attn, x);
      parts[0].add(heads.query.values(), std::span(&one, 1), pool);
      parts[1].add(heads.key.values(), std::span(&one, 1), pool);
      parts[2].add(heads.value.values(), std::span(&one, 1), pool);
      continue;
    }
    for (std::size_t part = 0; part < kQkv.size(); ++part) {
      parts.at(part).add({x.values().data() + part * channels, x.rows(), channels, x.channels()},
                         std::span(&one, 1), pool);
    }
  }
  std::array<double, kQkv.size()> sizes = {};
  quant::Histogram pooled;
  for (std::size_t part = 0; part < kQkv.size(); ++part) {
    sizes.at(part) = std::max(parts.at(part).root_mean_square(), 1e-15);
    pooled.add_scaled(parts.at(part), 1.0 / sizes.at(part));
  }
  const Codebook shared =
      quant::fit_codebook(pooled, settings.a_bits, operand_span(settings.a_bits));
  for (std::size_t part = 0; part < kQkv.size(); ++part) {
    const Slot slot = kQkv.at(part);
    if (!settings.quantizes(group_of(slot))) {
      continue;
    }
    Codebook codebook = shared;
    codebook.scale *= static_cast<float>(sizes.at(part));
    if (slot == Slot::query && attn.scale_query) {
      const std::size_t head_dim = channels / attn.num_heads;
      codebook.scale /= std::sqrt(static_cast<float>(head_dim));
    }
    quantizers[{attn.name, slot}] = std::move(codebook);
  }
}

/// Gives all values to the searches in as many passes as they need: `show(chunk, see)` calls
/// see(slot, values).
template <class Show>
void search(std::map<Slot, OperandSearch>& searches, const Attention& attn, std::size_t chunks,
            Quantizers& quantizers, ThreadPool& pool, Show show) {
  bool again = !searches.empty();
  while (again) {
    for (std::size_t i = 0; i < chunks; ++i) {
      show(i, [&](Slot slot, std::span<const float> values) {
        if (const auto wanted = searches.find(slot); wanted != searches.end()) {
          wanted->second.add(values, pool);
        }
      });
    }
    again = false;
    for (auto& [slot, operand] : searches) {
      again = operand.next_pass() || again;
    }
  }
  for (const auto& [slot, operand] : searches) {
    quantizers[{attn.name, slot}] = operand.found();
  }
}

}  // namespace

OperandSearch::OperandSearch(const QuantizationSettings& settings, const Attention& attn, Slot slot,
                             std::size_t count)
    : settings_(settings), attn_(attn), slot_(slot) {
  const std::size_t heads = settings.recipe.attention_quantizers_head ? attn.num_heads : 1;
  const float one = 1.0F;
  for (std::size_t head = 0; head < heads; ++head) {
    if (slot == Slot::attention_map) {
      heads_.emplace_back(
          settings.scheme.method->search(unfitted_attention(settings), count / heads));
    } else if (settings.recipe.scale_search_output) {
      heads_.emplace_back(quant::RangeSearch(count / heads, std::span(&one, 1)));
    } else {
      heads_.emplace_back(quant::AffineSearch(count / heads, settings.a_bits));
    }
  }
}

void OperandSearch::add(std::span<const float> x, ThreadPool& pool) {
  std::vector<float> gathered;
  for (std::size_t head = 0; head < heads_.size(); ++head) {
    std::span<const float> values = x;
    if (heads_.size() > 1) {
      gathered = values_of_head(x, head, heads_.size(), simulate::head_size(attn_, slot_));
      values = gathered;
    }
    if (auto* const affine = std::get_if<quant::AffineSearch>(&heads_[head])) {
      affine->add(values, pool);
    } else if (auto* const range = std::get_if<quant::RangeSearch>(&heads_[head])) {
      range->add(values);
    } else {
      std::get<std::unique_ptr<AttentionSearch>>(heads_[head])->add(values, pool);
    }
  }
}

bool OperandSearch::next_pass() {
  bool wanted = false;
  for (HeadSearch& head : heads_) {
    if (auto* const affine = std::get_if<quant::AffineSearch>(&head)) {
      wanted = affine->next_pass() || wanted;
    } else if (auto* const map = std::get_if<std::unique_ptr<AttentionSearch>>(&head)) {
      wanted = (*map)->next_pass() || wanted;
    }
  }
  return wanted;
}

Quantizer OperandSearch::found() const {
  AttentionQuantizers attention_map;
  Affine affine = {settings_.a_bits, {}, {}};
  for (const HeadSearch& head : heads_) {
    if (const auto* const map = std::get_if<std::unique_ptr<AttentionSearch>>(&head)) {
      attention_map.push_back(unfitted_attention(settings_));
      attention_map.back().delta = (*map)->delta();
      continue;
    }
    const auto* const range = std::get_if<quant::RangeSearch>(&head);
    const Affine found = range != nullptr
                             ? quant::affine_of(range->range(settings_.a_bits), settings_.a_bits)
                             : std::get<quant::AffineSearch>(head).found();
    affine.scale.push_back(found.scale[0]);
    affine.zero_point.push_back(found.zero_point[0]);
  }
  return slot_ == Slot::attention_map ? Quantizer(std::move(attention_map))
                                      : Quantizer(std::move(affine));
}

Quantizer find_operand_quantizer(const QuantizationSettings& settings, const Attention& attn,
                                 Slot slot, std::span<const float> x, ThreadPool& pool) {
  OperandSearch search(settings, attn, slot, x.size());
  do {
    search.add(x, pool);
  } while (search.next_pass());
  return search.found();
}

void find_operand_quantizers(const QuantizationSettings& settings, const Attention& attn,
                             const Sequence& qkv, Quantizers& quantizers,
                             simulate::FloatOps<simulate::NoQuantization>& ops, ThreadPool& pool) {
  std::map<Slot, OperandSearch> searches;
  const auto look_for = [&](Slot slot, std::size_t count) {
    if (settings.quantizes(group_of(slot))) {
      searches.try_emplace(slot, settings, attn, slot, count);
    }
  };
  if (settings.has_codebooks()) {
    find_shared_codebook(settings, attn, qkv, quantizers, ops, pool);
  } else {
    for (const Slot slot : kQkv) {
      look_for(slot, qkv.size() / kQkv.size());
    }
  }
  search(searches, attn, qkv.chunks(), quantizers, pool, [&](std::size_t i, const auto& see) {
    const auto heads = ops.split_heads(attn, qkv.chunk(i));
    see(Slot::query, heads.query.values());
    see(Slot::key, heads.key.values());
    see(Slot::value, heads.value.values());
  });

  const AttentionQuantizer unfitted = unfitted_attention(settings);
  if (!unfitted.scheme.method->has_delta(unfitted.bits, unfitted.options)) {
    if (settings.quantizes(group_of(Slot::attention_map))) {
      quantizers[{attn.name, Slot::attention_map}] = AttentionQuantizers{unfitted};
    }
    return;
  }
  searches.clear();
  look_for(Slot::attention_map, qkv.images() * attn.groups.count * attn.num_heads *
                                    attn.groups.tokens * attn.groups.tokens);
  simulate::Simulated simulated(quantizers, pool);
  search(searches, attn, qkv.chunks(), quantizers, pool, [&](std::size_t i, const auto& see) {
    auto heads = ops.split_heads(attn, qkv.chunk(i));
    simulated.operand(attn, Slot::query, heads.query.values());
    simulated.operand(attn, Slot::key, heads.key.values());
    see(Slot::attention_map, ops.attention_map(attn, heads).values());
  });
}

}  // namespace bitlog2::calibration
