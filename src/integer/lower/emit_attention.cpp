// Attention's operations: q, k and v as codes, and the attention of each head.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numbers>

#include "base/elementary.h"
#include "bitlog2/error.h"
#include "integer/lower/emit.h"
#include "integer/lower/factors.h"
#include "quant/attention/scheme.h"

namespace bitlog2::integer {
namespace {

using runtime::Buffer;
using runtime::HeadRecord;
using runtime::Op;

// The runtime checks these limits, too.
constexpr double kLargestZeroPoint = 4096;
constexpr double kLargestValueZeroPoint = 512;
constexpr double kLargestScoreBias = 0x1p28;  // 4096 powers of two

constexpr double kMask = 100.0;  // what timm subtracts from a masked score

/// e^x = 2^(x log2(e)), in the fraction bits of scores.
double score_scale() {
  return std::ldexp(std::numbers::log2e, runtime::kScoreFraction);
}

/// Fraction bits of attention times V in the runtime.
int context_fraction(IntegerAttention::Kind kind) {
  switch (kind) {
    case IntegerAttention::Kind::sqrt2:
      return runtime::kSqrt2ContextFraction;
    case IntegerAttention::Kind::relative_bitlog2:
      return runtime::kRelativeContextFraction;
    case IntegerAttention::Kind::bitlog2:
      break;
  }
  return 0;
}

/// Relative BitLog2's weights may all be as large as the largest of their row.
void check_relative_sums(const Attention& attention, const IntegerAttention& rule,
                         const ActivationCodes& value) {
  if (rule.kind != IntegerAttention::Kind::relative_bitlog2) {
    return;
  }
  const double farthest = std::max(std::fabs(value.zero_point),
                                   std::fabs(static_cast<double>(value.qmax) - value.zero_point));
  if (static_cast<double>(attention.groups.tokens) * farthest * rule.multiplier >
      static_cast<double>(runtime::kMaxRelativeSum)) {
    throw Error(
        fmt::format("{}: {} tokens are too many for --attention-normalization last; choose "
                    "first",
                    attention.name, attention.groups.tokens));
  }
}

}  // namespace

std::size_t side_of_square(std::size_t tokens) {
  std::size_t side = 0;
  while ((side + 1) * (side + 1) <= tokens) {
    ++side;
  }
  return side;
}

bool has_windows(const Attention& attention) {
  const std::size_t side = side_of_square(attention.groups.tokens);
  return attention.bias_rows == (2 * side - 1) * (2 * side - 1) &&
         side * side == attention.groups.tokens;
}

/// The codes of q, k and v of one head. They share one table.
Emitter::OperandCodes Emitter::operand_codes(const Attention& attention, std::size_t head) const {
  return {codes_at(attention.name, Slot::query, head), codes_at(attention.name, Slot::key, head),
          codes_at(attention.name, Slot::value, head)};
}

/// The cosines and sines of rotary positions, of all layers.
std::uint32_t Emitter::turn_table(const Attention& attention) {
  if (turn_table_ == 0) {
    std::vector<std::int32_t> turns;
    turns.reserve(attention.rotation.size());
    for (const float value : attention.rotation) {
      turns.push_back(static_cast<std::int32_t>(
          std::nearbyint(std::ldexp(static_cast<double>(value), runtime::kTurnFraction))));
    }
    turn_table_ = program_.add("rotary", turns);
  }
  return turn_table_;
}

/// q, k and v are counted in steps of their codes; zero points are added behind the turn. Channels
/// that are turned together become neighbours, in q and k alike, so that scores stay as they are.
void Emitter::rotary_qkv(const LinearStep& step, const Attention& attention) {
  const Linear& layer = *step.layer;
  const std::size_t channels = layer.out_features / 3;
  const std::size_t head_dim = channels / attention.num_heads;
  const std::size_t half = head_dim / 2;
  std::vector<OutputForm> forms(layer.out_features);
  std::vector<std::int32_t> zeros(3 * attention.num_heads);
  std::vector<std::size_t> order(layer.out_features);
  for (std::size_t head = 0; head < attention.num_heads; ++head) {
    const OperandCodes operands = operand_codes(attention, head);
    const ActivationCodes* parts[] = {&operands.query, &operands.key, &operands.value};
    for (std::size_t part = 0; part < 3; ++part) {
      const std::size_t first = part * channels + head * head_dim;
      zeros[part * attention.num_heads + head] =
          to_bounded(parts[part]->zero_point, kLargestZeroPoint, attention.name, "a zero point is");
      for (std::size_t i = 0; i < head_dim; ++i) {
        forms[first + i] = {std::ldexp(1 / parts[part]->scale, runtime::kUnturnedFraction), 0};
        order[first + i] = first + (part == 2 ? i : i / 2 + i % 2 * half);
      }
    }
  }
  Op op = {};
  op.kind = static_cast<std::uint32_t>(runtime::OpKind::rotary_linear);
  op.source = word(step.source);
  op.destination = word(Buffer::codes_b);
  op.rows = word(step.rows);
  set_weights(op, layer, step.input, forms, order);
  set_output(op, operand_codes(attention, 0).query, layer.name);
  op.positions = turn_table(attention);
  op.extent = word(model_.config.img_size / model_.config.patch_size);
  op.heads = word(attention.num_heads);
  op.head_table = program_.add(layer.name + ".zeros", zeros);
  program_.add_op(op, layer.name);
}

/// q's factor includes Swin's scale of q.
void Emitter::qkv(const LinearStep& step, const Attention& attention) {
  if (!attention.rotation.empty()) {
    rotary_qkv(step, attention);
    return;
  }
  const std::size_t channels = step.layer->out_features / 3;
  const std::size_t head_dim = channels / attention.num_heads;
  const double query_scale =
      attention.scale_query ? 1 / std::sqrt(static_cast<double>(head_dim)) : 1.0;
  std::vector<OutputForm> forms(step.layer->out_features);
  for (std::size_t head = 0; head < attention.num_heads; ++head) {
    const OperandCodes operands = operand_codes(attention, head);
    const ActivationCodes* parts[] = {&operands.query, &operands.key, &operands.value};
    for (std::size_t part = 0; part < 3; ++part) {
      const double factor = (part == 0 ? query_scale : 1.0) / parts[part]->scale;
      const std::size_t first = part * channels + head * head_dim;
      std::fill_n(forms.begin() + static_cast<std::ptrdiff_t>(first), head_dim,
                  OutputForm{factor, parts[part]->zero_point});
    }
  }
  Op op = linear_op(step, Buffer::codes_b, forms);
  set_output(op, operand_codes(attention, 0).query, step.layer->name);
  program_.add_op(op, step.layer->name);
}

void Emitter::attention(const AttentionStep& step, const ActivationCodes& output) {
  const Attention& attention = *step.attention;
  const std::size_t channels = attention.qkv.out_features / 3;
  Op op = {};
  op.kind = static_cast<std::uint32_t>(runtime::OpKind::attention);
  op.source = static_cast<std::uint32_t>(Buffer::codes_b);
  op.destination = static_cast<std::uint32_t>(Buffer::codes_a);
  op.rows = word(step.rows);
  op.in_features = word(3 * channels);
  op.out_features = word(channels);
  op.input_qmax = operand_codes(attention, 0).query.qmax;
  op.extent = word(step.attended);
  set_heads(op, attention, output);
  set_score_bias(op, attention);
  program_.add_op(op, attention.name);
}

/// A record for each head, and the shifts that they share.
void Emitter::set_heads(Op& op, const Attention& attention, const ActivationCodes& output) {
  const auto& maps =
      std::get<AttentionQuantizers>(quantizers_.at({attention.name, Slot::attention_map}));
  const std::size_t head_dim = op.out_features / attention.num_heads;
  constexpr std::string_view kZeroPoint = "a zero point is";
  std::vector<double> scores;
  std::vector<double> contexts;
  std::vector<HeadRecord> heads(attention.num_heads, HeadRecord{});
  for (std::size_t h = 0; h < attention.num_heads; ++h) {
    const AttentionQuantizer& attention_map = maps[maps.size() > 1 ? h : 0];
    const auto [q, k, v] = operand_codes(attention, h);
    scores.push_back(q.scale * k.scale * score_scale() /
                     (attention.scale_query ? 1.0 : std::sqrt(static_cast<double>(head_dim))));
    const AttentionMethod& method = *attention_map.scheme.method;
    const IntegerAttention rule = method.in_integers(attention_map.bits, attention_map.options);
    check_relative_sums(attention, rule, v);
    const double weight =
        std::ldexp(method.unit(attention_map.delta), -context_fraction(rule.kind));
    contexts.push_back(weight * v.scale / output.scale);
    heads[h].query_zero = to_bounded(q.zero_point, kLargestZeroPoint, attention.name, kZeroPoint);
    heads[h].key_zero = to_bounded(k.zero_point, kLargestZeroPoint, attention.name, kZeroPoint);
    heads[h].value_zero =
        to_bounded(v.zero_point, kLargestValueZeroPoint, attention.name, kZeroPoint);
    heads[h].log2_delta = to_bounded(
        std::ldexp(elementary::log2(static_cast<double>(attention_map.delta)),
                   runtime::kScoreFraction),
        std::ldexp(64, runtime::kScoreFraction), attention.name, "the range of its scale is");
  }
  const FixedFactors score_factors = fix_factors(scores, attention.name);
  const FixedFactors context_factors = fix_factors(contexts, attention.name);
  const FixedOffsets context_offset =
      fix_offsets(std::span(&output.zero_point, 1), context_factors.shift, attention.name);
  for (std::size_t h = 0; h < attention.num_heads; ++h) {
    heads[h].score_multiplier = score_factors.integers[h];
    heads[h].context_bias = context_offset.integers[0];
    heads[h].context_multiplier = context_factors.integers[h];
  }
  set_output(op, output, attention.name);
  op.heads = word(attention.num_heads);
  op.head_table = program_.add_heads(attention.name + ".heads", heads);
  op.bias_shift = context_offset.bias_shift;
  op.score_shift = score_factors.shift;
  op.shift = context_factors.shift;
}

/// The relative position bias, as a table of distances; and Swin's windows, with their mask.
void Emitter::set_score_bias(Op& op, const Attention& attention) {
  if (attention.bias_index.empty()) {
    return;
  }
  std::vector<std::int32_t> bias;
  for (std::size_t head = 0; head < attention.num_heads; ++head) {
    for (std::size_t row = 0; row < attention.bias_rows; ++row) {
      const double value = attention.bias_table[row * attention.num_heads + head] * score_scale();
      bias.push_back(
          to_bounded(value, kLargestScoreBias, attention.name, "its relative position bias is"));
    }
  }
  op.score_bias = program_.add(attention.name + ".score_bias", bias);
  if (has_windows(attention)) {
    const std::size_t window = side_of_square(attention.groups.tokens);
    op.window = word(window);
    op.window_shift = attention.groups.regions.empty() ? 0 : word(window / 2);
    op.extent = word(window * side_of_square(attention.groups.count));
    op.mask = static_cast<std::uint32_t>(kMask * score_scale());
  }
}

}  // namespace bitlog2::integer
