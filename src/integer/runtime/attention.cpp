// Attention: of each head, keys and values are packed, and queries take a few rows at a time
// through scores, softmax with its codes, and attention times V.
#include "kernels/portable.h"
#include "runner.h"

namespace bitlog2::runtime {
namespace {

/// The positions of a window's tokens, and their regions: in a shifted window, tokens from both
/// edges of the image do not attend to each other.
void find_window(const Op& op, std::size_t index, const AttentionScratch& scratch) {
  const std::size_t grid = window_grid(op);
  const std::size_t across = grid / op.window;
  const auto band = [&](std::size_t at) {
    return at < grid - op.window ? 0 : at < grid - op.window_shift ? 1 : 2;
  };
  std::size_t i = 0;
  for (std::size_t y = index / across * op.window; i < scratch.tokens; ++y) {
    for (std::size_t x = index % across * op.window; x < (index % across + 1) * op.window; ++x) {
      scratch.tokens_at[i] = static_cast<std::uint32_t>((y + op.window_shift) % grid * grid +
                                                        (x + op.window_shift) % grid);
      scratch.regions[i] = 3 * band(y) + band(x);
      ++i;
    }
  }
}

void add_bias_and_mask(const Op& op, std::size_t i, const AttentionScratch& scratch,
                       std::int32_t* __restrict scores) {
  const std::size_t biased = op.score_bias != 0 ? scratch.tokens : 0;
  const std::int32_t* bias = scratch.bias + i * scratch.tokens;
  for (std::size_t j = 0; j < biased; ++j) {
    scores[j] += bias[j];
  }
  const std::size_t masked = op.window_shift != 0 ? scratch.tokens : 0;
  const auto mask = static_cast<std::int32_t>(op.mask);
  const std::int32_t* regions = scratch.regions;
  const std::int32_t region = regions[i];
  for (std::size_t j = 0; j < masked; ++j) {
    scores[j] -= regions[j] != region ? mask : 0;
  }
}

/// The relative position bias of one query, token i of the class token and a square of patches.
/// It is read from the file: expanded to all pairs of tokens it could be a hundred times as large.
void add_bias_with_class(const std::int32_t* bias, std::size_t side, std::size_t i,
                         std::int32_t* __restrict scores) {
  const std::size_t across = 2 * side - 1;
  const std::int32_t* of_class = bias + across * across;  // to patches, of patches, of itself
  scores[0] += i == 0 ? of_class[2] : of_class[1];
  if (i == 0) {
    for (std::size_t j = 1; j <= side * side; ++j) {
      scores[j] += of_class[0];
    }
    return;
  }
  const std::size_t y = (i - 1) / side;
  const std::size_t x = (i - 1) % side;
  for (std::size_t key_y = 0; key_y < side; ++key_y) {
    const std::int32_t* row = bias + (y + side - 1 - key_y) * across + x + side - 1;
    std::int32_t* target = scores + 1 + key_y * side;
    for (std::size_t key_x = 0; key_x < side; ++key_x) {
      target[key_x] += *(row - key_x);
    }
  }
}

}  // namespace

/// Threads share the queries where all tokens attend to each other, else the windows.
void Runner::attention(const Op& op, std::size_t index) {
  const AttentionScratch scratch(scratch_, op);
  if (op.window == 0) {
    const Range queries = my_share(op.rows);
    for (std::size_t h = 0; h < op.heads && !queries.empty(); ++h) {
      attend_in_group(op, h, queries, scratch, view_ != nullptr && view_->op_index == index);
    }
    return;
  }
  const std::size_t across = window_grid(op) / op.window;
  const Range windows = my_share(across * across);
  for (std::size_t h = 0; h < op.heads; ++h) {
    spread_bias(op, h, scratch);
    for (std::size_t w = windows.begin; w < windows.end; ++w) {
      find_window(op, w, scratch);
      attend_in_group(op, h, {0, scratch.tokens}, scratch, false);
    }
  }
}

/// The relative position bias of a head for every pair of a window's tokens.
void Runner::spread_bias(const Op& op, std::size_t h, const AttentionScratch& scratch) const {
  if (op.score_bias == 0) {
    return;
  }
  const std::size_t side = op.window;
  const std::size_t offsets = 2 * side - 1;
  const auto* bias = tensor<std::int32_t>(op.score_bias) + h * offsets * offsets;
  std::int32_t* target = scratch.bias;
  for (std::size_t y = 0; y < side; ++y) {
    for (std::size_t x = 0; x < side; ++x) {
      for (std::size_t key_y = 0; key_y < side; ++key_y) {
        const std::int32_t* row = bias + (y + side - 1 - key_y) * offsets + x + side - 1;
        for (std::size_t key_x = 0; key_x < side; ++key_x) {
          *target++ = *(row - key_x);
        }
      }
    }
  }
}

Runner::HeadCodes Runner::head_codes(const Op& op, std::size_t h,
                                     const AttentionScratch& scratch) const {
  const std::size_t head_dim = scratch.head_dim;
  const auto qmax = static_cast<std::int32_t>(op.input_qmax);
  const std::uint8_t* first = codes(op.source) + h * head_dim;
  if (op.window == 0) {
    return {{first, first + op.out_features, first + std::size_t{2} * op.out_features},
            op.in_features,
            qmax};
  }
  HeadCodes result = {{}, head_dim, qmax};
  std::uint8_t* target = scratch.gathered;
  for (std::size_t part = 0; part < 3; ++part) {
    result.parts[part] = target;
    for (std::size_t i = 0; i < scratch.tokens; ++i, target += head_dim) {
      __builtin_memcpy(
          target,
          first + std::size_t{scratch.tokens_at[i]} * op.in_features + part * op.out_features,
          head_dim);
    }
  }
  return result;
}

/// Panels of keys, and how sums of products with queries become scores, with o the offset
/// and r = z_k - o what the offset leaves:
///   sum (q - z_q)(k - z_k) = sum q (k - o) - r sum q - z_q sum (k - o) + d z_q r
void Runner::pack_keys(const Op& op, const HeadCodes& codes, const HeadRecord& head,
                       const AttentionScratch& scratch) const {
  const auto depth = static_cast<std::uint32_t>(scratch.head_dim);
  const RescaleArrays& arrays = scratch.score_rescale;
  const std::int32_t offset = signed_offset(codes.qmax, head.key_zero);
  const std::int32_t rest = head.key_zero - offset;
  for (std::int32_t& each : std::span(scratch.key_offsets, kPanelWidth)) {
    each = offset;
  }
  for (std::size_t first = 0; first < scratch.tokens; first += kPanelWidth) {
    const std::size_t left = scratch.tokens - first;
    const std::size_t tokens = left < kPanelWidth ? left : kPanelWidth;
    kernels_.pack_rows({codes.parts[1] + first * codes.stride, codes.stride, false}, tokens,
                       scratch.key_offsets, key_panel(scratch, codes, head, first),
                       scratch.key_sums + first);
  }
  for (std::size_t j = 0; j < scratch.score_width; ++j) {
    arrays.zeros[j] = rest;
    arrays.constants[j] =
        static_cast<std::int32_t>(static_cast<std::uint32_t>(head.query_zero) *
                                  (depth * static_cast<std::uint32_t>(rest) -
                                   static_cast<std::uint32_t>(scratch.key_sums[j])));
    arrays.multipliers[j] = head.score_multiplier;
    arrays.offsets[j] = rounding_offset(0, 0, op.score_shift);
  }
}

Panel Runner::key_panel(const AttentionScratch& scratch, const HeadCodes& codes,
                        const HeadRecord& head, std::size_t first) {
  const std::size_t left = scratch.score_width - first;
  return {scratch.keys + first * round_up(scratch.head_dim, kDepthStep), scratch.head_dim,
          left < kPanelWidth ? left : kPanelWidth,
          signed_largest(codes.qmax, signed_offset(codes.qmax, head.key_zero))};
}

Panel Runner::value_panel(const AttentionScratch& scratch, const HeadCodes& codes,
                          const HeadRecord& head, std::size_t first) {
  const std::size_t left = scratch.context_width - first;
  return {scratch.values + first * round_up(scratch.tokens, kDepthStep), scratch.tokens,
          left < kPanelWidth ? left : kPanelWidth,
          signed_largest(codes.qmax, signed_offset(codes.qmax, head.value_zero))};
}

void Runner::pack_values(const HeadCodes& codes, const HeadRecord& head,
                         const AttentionScratch& scratch) const {
  for (std::size_t first = 0; first < scratch.head_dim; first += kPanelWidth) {
    const std::size_t left = scratch.head_dim - first;
    kernels_.pack_columns(
        {codes.parts[2] + first, codes.stride, false}, left < kPanelWidth ? left : kPanelWidth,
        signed_offset(codes.qmax, head.value_zero), value_panel(scratch, codes, head, first));
  }
}

/// Queries of the tokens that attend to each other: all, or a window's.
void Runner::attend_in_group(const Op& op, std::size_t h, Range queries,
                             const AttentionScratch& scratch, bool is_shown) {
  const HeadRecord head = tensor<HeadRecord>(op.head_table)[h];
  const HeadCodes parts = head_codes(op, h, scratch);
  pack_keys(op, parts, head, scratch);
  pack_values(parts, head, scratch);
  const RescaleArrays& arrays = scratch.context_rescale;
  for (std::size_t c = 0; c < kPanelWidth; ++c) {
    arrays.constants[c] = 0;
    arrays.multipliers[c] = head.context_multiplier;
    arrays.offsets[c] = rounding_offset(head.context_bias, op.bias_shift, op.shift);
  }
  for (std::size_t first = queries.begin; first < queries.end; first += kRowChunk) {
    const std::size_t left = queries.end - first;
    const Range chunk = {first, first + (left < kRowChunk ? left : kRowChunk)};
    score(op, head, parts, chunk, scratch);
    add_biases(op, h, chunk, scratch);
    if (is_shown && chunk.begin == 0) {
      show_first_row(head, h, scratch);
    }
    const Weights weights = {scratch.weights, chunk.size(), scratch.tokens};
    kernels_.softmax_codes(rule_, head.log2_delta, scratch.scores, scratch.score_width, weights);
    write_context(op, h, head, parts, chunk, weights, scratch);
  }
}

/// Scores [queries, score_width] in log2 units.
void Runner::score(const Op& op, const HeadRecord& head, const HeadCodes& parts, Range queries,
                   const AttentionScratch& scratch) const {
  const Inputs inputs = {parts.parts[0] + queries.begin * parts.stride, parts.stride, parts.qmax};
  for (std::size_t first = 0; first < scratch.tokens; first += kPanelWidth) {
    kernels_.multiply(inputs, queries.size(), key_panel(scratch, parts, head, first),
                      scratch.scores + first, scratch.score_width);
  }
  Rescale rescale = rescale_of(scratch.score_rescale, op.score_shift, kLowest, kHighest);
  rescale.fits = true;  // open() has checked that scores are below 2^29
  if (scratch.score_rescale.zeros[0] != 0) {
    rescale.zeros = scratch.score_rescale.zeros;
    kernels_.sum_rows(inputs, queries.size(), scratch.head_dim, scratch.query_sums);
  }
  kernels_.rescale(rescale, {scratch.scores, scratch.score_width, scratch.query_sums,
                             queries.size(), scratch.tokens});
}

void Runner::add_biases(const Op& op, std::size_t h, Range queries,
                        const AttentionScratch& scratch) const {
  std::int32_t* scores = scratch.scores;
  for (std::size_t i = queries.begin; i < queries.end; ++i, scores += scratch.score_width) {
    if (op.window != 0) {
      add_bias_and_mask(op, i, scratch, scores);
    } else if (op.score_bias != 0) {
      add_bias_with_class(tensor<std::int32_t>(op.score_bias) + h * score_biases(op),
                          biased_grid(op), i, scores);
    }
  }
}

void Runner::show_first_row(const HeadRecord& head, std::size_t h,
                            const AttentionScratch& scratch) const {
  // With all bits kept, BitLog2's weights are the probabilities of softmax.
  constexpr AttentionRule kExact = {AttentionKind::bitlog2, 1 << 16, 0, 16, false};
  const std::size_t first = h * scratch.tokens;
  portable::bitlog2_weights(kExact, scratch.scores, scratch.tokens, view_->exact + first);
  portable::weights_of_row(rule_, head.log2_delta, scratch.scores, scratch.tokens,
                           view_->quantized + first);
}

void Runner::write_context(const Op& op, std::size_t h, const HeadRecord& head,
                           const HeadCodes& parts, Range queries, const Weights& weights,
                           const AttentionScratch& scratch) {
  const Rescale rescale = rescale_of(scratch.context_rescale, op.shift, 0, largest_output(op));
  const CodeTable table = code_table(op);
  for (std::size_t first = 0; first < scratch.head_dim; first += kPanelWidth) {
    const Panel values = value_panel(scratch, parts, head, first);
    const std::size_t left = scratch.head_dim - first;
    const std::size_t channels = left < kPanelWidth ? left : kPanelWidth;
    kernels_.attend_values(rule_, weights, values,
                           head.value_zero - signed_offset(parts.qmax, head.value_zero),
                           scratch.context);
    // Tokens of a window do not follow each other.
    const std::size_t together = op.window == 0 ? queries.size() : 1;
    for (std::size_t i = 0; i < queries.size(); i += together) {
      const std::size_t query = queries.begin + i;
      const std::size_t token = op.window == 0 ? query : scratch.tokens_at[query];
      std::uint8_t* target =
          codes(op.destination) + token * op.out_features + h * scratch.head_dim + first;
      kernels_.rescale_to_codes(
          rescale, {scratch.context + i * values.width, values.width, nullptr, together, channels},
          table, target, op.out_features);
    }
  }
}

}  // namespace bitlog2::runtime
