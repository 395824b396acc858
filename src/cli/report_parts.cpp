#include "cli/report_parts.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <string>

#include "bitlog2/distance.h"
#include "bitlog2/engine.h"
#include "bitlog2/quantizers.h"
#include "cli/base64.h"
#include "quant/attention/scheme.h"

namespace bitlog2::cli {
namespace {

using nlohmann::ordered_json;

constexpr int kThumbnailSide = 112;       // pixels
constexpr std::size_t kShownBlock = 5;    // whose attention map is shown
constexpr int kOctaves = 16;              // of probabilities, from 2^-16 to 1
constexpr std::size_t kBinsAnOctave = 4;  // of probabilities
constexpr std::size_t kBins = 61;         // of weights and activations

/// Of values within [first, last]; those outside count at the ends.
ordered_json histogram(std::span<const float> values, double first, double last, std::size_t bins) {
  std::vector<std::size_t> counts(bins);
  for (const float value : values) {
    const double at = (value - first) / (last - first) * static_cast<double>(bins);
    const auto bin = static_cast<std::size_t>(std::max(at, 0.0));
    ++counts[std::min(bin, bins - 1)];
  }
  return {{"first", first}, {"last", last}, {"counts", counts}};
}

/// From the smallest value to the largest.
ordered_json histogram(std::span<const float> values) {
  constexpr double kLeastWidth = 1e-30;
  const auto [low, high] = std::ranges::minmax(values);
  return histogram(values, low, std::max(double{high}, low + kLeastWidth), kBins);
}

/// Rows of one attention map, one row of each head.
struct ShownRow {
  std::size_t block = 0;  // from 0
  std::size_t blocks = 0;
  std::size_t heads = 0;
  std::string query;                 // the token that attends
  std::vector<float> probabilities;  // [heads, tokens]
};

std::optional<ShownRow> row_of_windows(const QuantizedModel& quantized, const RgbImage& crop,
                                       ThreadPool& pool) {
  const std::vector<Stage>& stages = quantized.model.stages;
  const Attention& attn = stages.back().blocks.front().attn;
  if (attn.groups.count != 1) {
    return std::nullopt;
  }
  ShownRow row = {0, 0, attn.num_heads, "the patch in the middle", {}};
  for (const Stage& stage : stages) {
    row.blocks += stage.blocks.size();
  }
  row.block = row.blocks - stages.back().blocks.size();
  const std::size_t tokens = attn.groups.tokens;
  run_simulated(
      with_quantized_weights(quantized), quantized.quantizers,
      normalised_batch(std::span(&crop, 1), quantized.model.config.preprocessing), pool, {},
      [&](const QuantizerKey& place, std::span<const float> values) {
        if (place == QuantizerKey{attn.name, Slot::attention_map}) {
          for (std::size_t head = 0; head < attn.num_heads; ++head) {
            const auto middle = values.subspan((head * tokens + tokens / 2) * tokens, tokens);
            row.probabilities.insert(row.probabilities.end(), middle.begin(), middle.end());
          }
        }
      });
  return row.probabilities.empty() ? std::nullopt : std::optional(row);
}

std::optional<ShownRow> row_to_show(const QuantizedModel& quantized, const IntegerEngine& engine,
                                    const RgbImage& crop, ThreadPool& pool) {
  const ModelConfig& config = quantized.model.config;
  if (config.family == Family::swin) {
    return row_of_windows(quantized, crop, pool);
  }
  const std::optional<AttentionRow> row = engine.attention_row(crop, kShownBlock);
  if (!row) {
    return std::nullopt;
  }
  return ShownRow{std::min(kShownBlock, row->attentions - 1), row->attentions, row->heads,
                  config.prefix_tokens > 0 ? "the class token" : "the first patch", row->exact};
}

/// Whether the map's codes are relative to the largest value of a row.
bool is_relative(const AttentionQuantizer& quantizer) {
  return !quantizer.scheme.method->has_delta(quantizer.bits, quantizer.options);
}

/// The values that codes stand for, and the probabilities at which the code changes, both
/// ascending; or both relative to the largest of a row.
struct Codes {
  std::vector<float> levels;
  std::vector<float> edges;
};

Codes codes_of(const AttentionQuantizer& quantizer) {
  constexpr int kSteps = 1 << 14;
  std::vector<float> probabilities;
  for (int i = kSteps; i >= 0; --i) {
    probabilities.push_back(std::exp2f(-static_cast<float>(kOctaves * i) / kSteps));
  }
  std::vector<float> values = probabilities;
  fake_quantize(quantizer, values);
  if (is_relative(quantizer)) {
    const float largest = values.back();
    for (float& value : values) {
      value /= largest;
    }
  }
  Codes codes = {{values.front()}, {}};
  for (std::size_t i = 1; i < values.size(); ++i) {
    if (values[i] != values[i - 1]) {
      codes.edges.push_back(std::sqrt(probabilities[i - 1] * probabilities[i]));
      codes.levels.push_back(values[i]);
    }
  }
  std::ranges::sort(codes.levels);
  return codes;
}

/// Logarithms to base 2, at least -kOctaves.
std::vector<float> octaves_of(std::span<const float> probabilities) {
  std::vector<float> octaves;
  octaves.reserve(probabilities.size());
  for (const float probability : probabilities) {
    octaves.push_back(std::log2(std::max(probability, std::exp2f(-float{kOctaves}))));
  }
  return octaves;
}

/// Every row of `probabilities` [.., row], divided by its largest value.
std::vector<float> relative_rows(std::span<const float> probabilities, std::size_t row) {
  std::vector<float> relative(probabilities.begin(), probabilities.end());
  for (std::size_t first = 0; first < relative.size(); first += row) {
    const auto part = std::span(relative).subspan(first, row);
    const float largest = std::ranges::max(part);
    for (float& value : part) {
      value /= largest;
    }
  }
  return relative;
}

/// What a scheme, as published and calibrated on all heads' rows, makes of the first head's.
ordered_json under(const AttentionScheme& scheme, int bits, std::span<const float> all_heads,
                   std::span<const float> probabilities, ThreadPool& pool) {
  const AttentionQuantizer quantizer = calibrate_attention(scheme, bits, all_heads, pool);
  std::vector<float> values(probabilities.begin(), probabilities.end());
  fake_quantize(quantizer, values);
  const Codes codes = codes_of(quantizer);
  std::vector<std::size_t> ranks;
  ranks.reserve(values.size());
  for (const float value : values) {
    ranks.push_back(static_cast<std::size_t>(
        std::ranges::count_if(codes.levels, [&](float level) { return level > value; })));
  }
  Distance distance;
  distance.add(probabilities, values);
  return {{"name", scheme.name}, {"levels", codes.levels}, {"edges", codes.edges},
          {"weights", values},   {"codes", ranks},         {"decibels", distance.decibels()}};
}

}  // namespace

ordered_json thumbnail(const RgbImage& crop) {
  const int side = std::min(crop.width, kThumbnailSide);
  Preprocessing preparation;
  preparation.resize = side;
  preparation.crop = side;
  const RgbImage small = resize_and_crop(crop, preparation);
  return {{"side", side}, {"rgb", base64(std::as_bytes(std::span(small.pixels)))}};
}

ordered_json attention_of(const QuantizedModel& quantized, const IntegerEngine& engine,
                          const RgbImage& crop, ThreadPool& pool) {
  const std::optional<ShownRow> row = row_to_show(quantized, engine, crop, pool);
  if (!row) {
    return nullptr;
  }
  const std::span all_heads(row->probabilities);
  const std::span first_head = all_heads.first(all_heads.size() / row->heads);
  ordered_json schemes = ordered_json::array();
  for (const AttentionScheme& scheme : kAttentionSchemes) {
    schemes.push_back(under(scheme, quantized.settings.a_bits, all_heads, first_head, pool));
  }
  return {{"block", row->block + 1},
          {"blocks", row->blocks},
          {"head", 1},
          {"heads", row->heads},
          {"query", row->query},
          {"picture", thumbnail(crop)},
          {"probabilities", std::vector<float>(first_head.begin(), first_head.end())},
          {"log2", histogram(octaves_of(first_head), -kOctaves, 0, kOctaves * kBinsAnOctave)},
          {"schemes", schemes}};
}

ordered_json quantizers_of(const QuantizedModel& quantized, std::span<const RgbImage> crops,
                           ThreadPool& pool) {
  ordered_json all = ordered_json::parse(quantizers_to_json(quantized.quantizers));
  const auto add = [&](const QuantizerKey& place, std::span<const float> values) {
    const auto found = all.find(published_name(place));
    if (found != all.end() && !values.empty()) {
      (*found)["values"] = histogram(values);
    }
  };
  Model model = quantized.model;
  for_each_linear(model, [&](Linear& layer) { add({layer.name, Slot::weight}, layer.weight); });
  std::map<std::string, std::size_t> tokens;  // of every attention whose map is relative
  const auto see = [&](const Attention& attn) {
    const Quantizer* maps = find_quantizer(quantized.quantizers, attn.name, Slot::attention_map);
    if (maps != nullptr && is_relative(std::get<AttentionQuantizers>(*maps).front())) {
      tokens[attn.name] = attn.groups.tokens;
    }
  };
  for (const Stage& stage : model.stages) {
    for (const Block& block : stage.blocks) {
      see(block.attn);
    }
  }
  if (model.attention_pooling) {
    see(model.attention_pooling->attn);
  }
  run_simulated(with_quantized_weights(quantized), quantized.quantizers,
                normalised_batch(crops, model.config.preprocessing), pool, {},
                [&](const QuantizerKey& place, std::span<const float> values) {
                  if (place.slot == Slot::attention_map) {
                    const auto row = tokens.find(place.layer);
                    add(place, row == tokens.end()
                                   ? octaves_of(values)
                                   : octaves_of(relative_rows(values, row->second)));
                  } else {
                    add(place, values);
                  }
                });
  for (const auto& [place, quantizer] : quantized.quantizers) {
    if (const auto* maps = std::get_if<AttentionQuantizers>(&quantizer)) {
      ordered_json& shown = all[published_name(place)];
      shown["map_levels"] = codes_of(maps->front()).levels;
      shown["relative_to_row"] = is_relative(maps->front());
    }
  }
  return all;
}

}  // namespace bitlog2::cli
