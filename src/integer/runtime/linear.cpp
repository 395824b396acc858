// Products of codes and weights: linear layers and the patch embedding.
#include "runner.h"

namespace bitlog2::runtime {
namespace {

/// The gate times its factor, in the gate's fraction bits.
std::int32_t gated(std::int32_t gate, const std::int32_t* table) {
  constexpr std::int32_t kReach = kGateReach << kGateFraction;
  constexpr unsigned kBetween = kGateFraction - kGateStepBits;
  const std::int32_t at = gate < -kReach ? 0 : gate >= kReach ? 2 * kReach - 1 : gate + kReach;
  const std::int32_t* entry = table + (at >> kBetween);
  const std::int32_t rest = at & ((1 << kBetween) - 1);
  const std::int32_t factor = entry[0] + (((entry[1] - entry[0]) * rest) >> kBetween);
  return static_cast<std::int32_t>(round_shift(std::int64_t{gate} * factor, kGateFactorFraction));
}

}  // namespace

/// A panel of weights for outputs from `first` on: the next one packed beforehand, or one packed
/// now.
WeightPanel Runner::weight_panel(const Op& op, const InputBytes& bytes, std::size_t first,
                                 const ProductScratch& scratch, Carver& packed) const {
  if (packed_ != nullptr) {
    return {packed, op};
  }
  fill_weight_panel(network_, op, bytes, first, kernels_, scratch.offsets, scratch.panel_sums,
                    scratch.weights);
  return scratch.weights;
}

/// Multiplies a share of input rows by all weights. `fill(row, count, inputs)` gives rows as bytes
/// [count, in], in `inputs` or in other memory that it returns; `finish(row, channel, rescale,
/// sums)` rescales and stores the sums from that row and channel on.
template <class Fill, class Finish>
void Runner::multiply(const Op& op, const ProductScratch& scratch, const InputBytes& bytes,
                      Range rows, std::byte* packed_panels, Fill fill, Finish finish) {
  const bool to_codes = writes_codes(op);
  const std::int32_t widest = is_gated(op) ? kLargestBranch : is_rotary(op) ? kLargestUnturned : 0;
  const std::int32_t low = widest != 0 ? -widest : to_codes ? 0 : kLowest;
  const std::int32_t high = widest != 0 ? widest : to_codes ? largest_output(op) : kHighest;
  const auto weight_count = static_cast<std::size_t>(weight_rows(op));
  for (std::size_t first = rows.begin; first < rows.end; first += scratch.row_group) {
    const std::size_t left_rows = rows.end - first;
    const std::size_t count = left_rows < scratch.row_group ? left_rows : scratch.row_group;
    const Inputs inputs = {fill(first, count, scratch.inputs), op.in_features, bytes.largest};
    bool has_row_sums = false;
    Carver packed(packed_panels);
    for (std::size_t c = 0; c < weight_count; c += kPanelWidth) {
      const WeightPanel weights = weight_panel(op, bytes, c, scratch, packed);
      const Panel panel = weights.panel(op, c);
      const std::size_t left = weight_count - c;
      Rescale rescale = rescale_of(weights.rescale, op.shift, low, high);
      rescale.fits = weights.summary->outputs_fit;
      if (weights.summary->has_zeros) {
        rescale.zeros = weights.rescale.zeros;
        if (!has_row_sums) {
          kernels_.sum_rows(inputs, count, op.in_features, scratch.row_sums);
          has_row_sums = true;
        }
      }
      for (std::size_t r = 0; r < count; r += kRowChunk) {
        const std::size_t chunk = count - r < kRowChunk ? count - r : kRowChunk;
        kernels_.multiply({inputs.row(r), inputs.stride, inputs.largest}, chunk, panel,
                          scratch.sums, panel.width);
        finish(first + r, c, rescale,
               Sums{scratch.sums, panel.width, scratch.row_sums + r, chunk,
                    left < kPanelWidth ? left : kPanelWidth});
      }
    }
  }
}

void Runner::embed(const Op& op, Range rows) {
  // Shares are of tokens, of which the first ones have no patch.
  const std::size_t skip = op.prefix_tokens;
  const Range patches = {rows.begin < skip ? 0 : rows.begin - skip,
                         rows.end < skip ? 0 : rows.end - skip};
  start_from_positions(op, rows);
  const InputBytes bytes(tensor<std::int16_t>(op.decode), op.decode_size);
  const auto unfold = [&](std::size_t first, std::size_t count, std::uint8_t* inputs) {
    unfold_patches(op, bytes, {first, first + count}, inputs);
    return inputs;
  };
  const ProductScratch scratch(scratch_, op, false);
  multiply(op, scratch, bytes, patches, packed_, unfold,
           [&](std::size_t row, std::size_t c, const Rescale& rescale, const Sums& sums) {
             add_to_residual(op, row + skip, c, rescale, sums);
           });
}

void Runner::start_from_positions(const Op& op, Range rows) {
  const std::size_t first = rows.begin * op.out_features;
  const std::size_t count = rows.size() * op.out_features;
  if (op.positions == 0) {
    return clear(residual_ + first, count);
  }
  const auto* positions = tensor<std::int16_t>(op.positions) + first;
  std::int32_t* values = residual_ + first;
  if (op.position_shift < 16) {  // 16 bits, shifted, fit
    for (std::size_t i = 0; i < count; ++i) {
      values[i] = std::int32_t{positions[i]} * (1 << op.position_shift);
    }
    return;
  }
  for (std::size_t i = 0; i < count; ++i) {
    values[i] = saturate(std::int64_t{positions[i]} << op.position_shift, statistics_.saturations);
  }
}

/// Patches as rows of bytes [patches, 3 * patch * patch].
void Runner::unfold_patches(const Op& op, const InputBytes& bytes, Range patches,
                            std::uint8_t* inputs) const {
  const std::size_t side = network_.header.image_size;
  const std::size_t patch = network_.header.patch_size;
  const std::size_t grid = side / patch;
  const auto* table = tensor<std::uint8_t>(op.table);
  std::uint8_t byte_of[3][256];
  for (std::size_t channel = 0; channel < 3; ++channel) {
    for (std::size_t pixel = 0; pixel < 256; ++pixel) {
      byte_of[channel][pixel] = bytes.table[table[channel * 256 + pixel]];
    }
  }
  for (std::size_t p = patches.begin; p < patches.end; ++p) {
    const std::uint8_t* corner = pixels_.data() + 3 * (p / grid * patch * side + p % grid * patch);
    for (std::size_t y = 0; y < patch; ++y) {
      kernels_.split_channels(corner + 3 * y * side, patch, byte_of, inputs + y * patch,
                              patch * patch);
    }
    inputs += 3 * patch * patch;
  }
}

/// Rescales rows of a panel's gates and branches and multiplies them: codes from `target` on.
void Runner::multiply_pairs(const Op& op, const PairScratch& scratch, const CodeTable& table,
                            const Rescale& rescale, const Sums& sums, std::uint8_t* target) const {
  constexpr unsigned kShift = kGateFraction + kBranchFraction;
  const std::size_t pairs = sums.channels / 2;
  const auto* factors = tensor<std::int32_t>(gate_table(op));
  const RescaleArrays& arrays = scratch.rescale;
  for (std::size_t c = 0; c < kGroupPairs; ++c) {
    arrays.constants[c] = 0;
    arrays.offsets[c] = rounding_offset(product_zero(op), kShift, kShift);
  }
  kernels_.rescale(rescale, sums);
  const Rescale product = rescale_of(arrays, kShift, 0, largest_output(op));
  for (std::size_t r = 0; r < sums.rows; ++r, target += op.out_features) {
    const std::int32_t* row = sums.values + r * sums.stride;
    for (std::size_t c = 0; c < pairs; ++c) {
      arrays.multipliers[c] = gated(row[c], factors);
      scratch.branches[c] = row[pairs + c];
    }
    for (std::size_t c = pairs; c < kGroupPairs; ++c) {
      arrays.multipliers[c] = 0;
      scratch.branches[c] = 0;
    }
    kernels_.rescale_to_codes(product, {scratch.branches, kGroupPairs, nullptr, 1, pairs}, table,
                              target, op.out_features);
  }
}

/// Rescales q, k and v of tokens from `row` on and of a panel from `channel` on, turns those of q
/// and k that are of patches, and writes their codes.
void Runner::turn_pairs(const Op& op, const PairScratch& scratch, const CodeTable& table,
                        const Rescale& rescale, const Sums& sums, std::size_t row,
                        std::size_t channel) const {
  constexpr unsigned kShift = 32;
  constexpr std::int32_t kWhole = 1 << (kShift - kUnturnedFraction);
  struct Turn {
    std::size_t at;  // in the turns of a row or column
    bool by_row;
  };
  const std::size_t channels = op.out_features / 3;
  const std::size_t head_dim = channels / op.heads;
  const std::size_t half = head_dim / 2;
  const auto* zeros = tensor<std::int32_t>(op.head_table);
  const RescaleArrays& arrays = scratch.rescale;
  Turn of_pair[kPanelWidth / 2];
  std::size_t pairs = 0;  // that are turned
  for (std::size_t c = 0; c < sums.channels; ++c) {
    const std::size_t at = channel + c;
    arrays.constants[c] = 0;
    arrays.multipliers[c] = kWhole;
    arrays.offsets[c] = rounding_offset(zeros[at / head_dim], kShift, kShift);
    if (at < 2 * channels && c % 2 == 0) {
      const std::size_t pair = at % head_dim / 2;
      const bool by_row = pair < half / 2;
      of_pair[pairs++] = {2 * pair - (by_row ? 0 : half), by_row};
    }
  }
  for (std::size_t c = sums.channels; c < kPanelWidth; ++c) {
    arrays.constants[c] = 0;
    arrays.multipliers[c] = 0;
    arrays.offsets[c] = 0;
  }
  kernels_.rescale(rescale, sums);
  const std::size_t grid = turned_grid(op);
  const std::size_t prefix = op.rows - grid * grid;
  for (std::size_t r = row < prefix ? prefix - row : 0; r < sums.rows; ++r) {
    const std::size_t patch = row + r - prefix;
    const auto* by_row = tensor<std::int32_t>(turns(op)) + patch / grid * half;
    const auto* by_column = tensor<std::int32_t>(turns(op)) + patch % grid * half;
    std::int32_t* values = sums.values + r * sums.stride;
    for (std::size_t i = 0; i < pairs; ++i, values += 2) {
      const std::int32_t* turn = (of_pair[i].by_row ? by_row : by_column) + of_pair[i].at;
      const std::int64_t a = values[0];
      const std::int64_t b = values[1];
      values[0] = static_cast<std::int32_t>(round_shift(a * turn[0] - b * turn[1], kTurnFraction));
      values[1] = static_cast<std::int32_t>(round_shift(b * turn[0] + a * turn[1], kTurnFraction));
    }
  }
  kernels_.rescale_to_codes(rescale_of(arrays, kShift, 0, largest_output(op)), sums, table,
                            codes(op.destination) + row * op.out_features + channel,
                            op.out_features);
}

void Runner::linear(const Op& op, std::size_t index, Range rows) {
  if (rows.empty()) {
    return;
  }
  const InputBytes bytes(tensor<std::int16_t>(op.decode), op.decode_size);
  std::uint8_t* source = codes(op.source);
  const ProductScratch scratch(scratch_, op, reads_alone(network_, index));
  const auto decode_rows = [&](std::size_t first, std::size_t count,
                               std::uint8_t* copy) -> const std::uint8_t* {
    std::uint8_t* encoded = source + first * op.in_features;
    if (bytes.is_identity) {
      return encoded;
    }
    std::uint8_t* inputs = scratch.copies ? copy : encoded;
    kernels_.decode(encoded, count * op.in_features, bytes.table, bytes.size, inputs);
    return inputs;
  };
  CodeTable table = code_table(op);
  std::byte* panels = packed_;
  if (packed_ != nullptr) {
    Carver carver(packed_);
    const PackedOp packed_op(carver, op);
    panels += static_cast<std::size_t>(carver.used());
    table.runs = has_wide_table(op) && *packed_op.has_runs ? packed_op.runs : nullptr;
  }
  const auto multiply_and = [&](auto finish) {
    multiply(op, scratch, bytes, rows, panels, decode_rows, finish);
  };
  if (writes_codes(op)) {
    std::uint8_t* target = codes(op.destination);
    if (is_gated(op)) {
      return multiply_and(
          [&](std::size_t row, std::size_t c, const Rescale& rescale, const Sums& sums) {
            multiply_pairs(op, scratch.pairs, table, rescale, sums,
                           target + row * op.out_features + c / 2);
          });
    }
    if (is_rotary(op)) {
      return multiply_and(
          [&](std::size_t row, std::size_t c, const Rescale& rescale, const Sums& sums) {
            turn_pairs(op, scratch.pairs, table, rescale, sums, row, c);
          });
    }
    return multiply_and(
        [&](std::size_t row, std::size_t c, const Rescale& rescale, const Sums& sums) {
          kernels_.rescale_to_codes(rescale, sums, table, target + row * op.out_features + c,
                                    op.out_features);
        });
  }
  const auto buffer = static_cast<Buffer>(op.destination);
  if (buffer == Buffer::logits) {
    clear(logits_.data(), op.out_features);
    return multiply_and([&](std::size_t, std::size_t c, const Rescale& rescale, const Sums& sums) {
      statistics_.saturations +=
          kernels_.rescale_and_add(rescale, sums, logits_.data() + c, op.out_features);
    });
  }
  if (buffer == Buffer::residual) {
    clear(residual_ + rows.begin * op.out_features, rows.size() * op.out_features);
  }
  multiply_and([&](std::size_t row, std::size_t c, const Rescale& rescale, const Sums& sums) {
    add_to_residual(op, row, c, rescale, sums);
  });
}

}  // namespace bitlog2::runtime
