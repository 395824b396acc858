// The operations that read the residual stream: LayerNorm, over single or merged tokens, and the
// mean over tokens.
#include "runner.h"

namespace bitlog2::runtime {
/// The four rows of the residual stream that Swin merges, as `row` [in].
void Runner::gather_row(const Op& op, std::size_t index, std::int32_t* row) const {
  const std::size_t grid = merge_grid(op);
  const std::size_t half = grid / 2;
  const std::size_t width = op.in_features / 4;
  for (std::size_t n = 0; n < 4; ++n) {  // (0,0), (1,0), (0,1), (1,1) as (row, column)
    const std::size_t y = 2 * (index / half) + n % 2;
    const std::size_t x = 2 * (index % half) + n / 2;
    for (std::size_t c = 0; c < width; ++c) {
      row[n * width + c] = residual_[(y * grid + x) * width + c];
    }
  }
}

void Runner::layer_norm(const Op& op, Range rows) {
  NormScratch scratch(scratch_, op);
  const RescaleArrays& arrays = scratch.rescale;
  for (std::size_t c = 0; c < scratch.width; ++c) {
    const bool exists = c < op.in_features;
    arrays.constants[c] = 0;
    arrays.multipliers[c] = exists ? tensor<std::int32_t>(op.multipliers)[c] : 0;
    arrays.offsets[c] =
        exists ? rounding_offset(tensor<std::int32_t>(op.bias)[c], op.bias_shift, op.shift) : 0;
  }
  const bool to_codes = writes_codes(op);
  const auto high = largest_output(op);
  const Rescale rescale =
      rescale_of(arrays, op.shift, to_codes ? 0 : kLowest, to_codes ? high : kHighest);
  const CodeTable table = code_table(op);
  const std::uint64_t epsilon = std::uint64_t{op.epsilon_high} << 32 | op.epsilon_low;
  for (std::size_t first = rows.begin; first < rows.end; first += kNormRows) {
    const std::size_t count = rows.end - first < kNormRows ? rows.end - first : kNormRows;
    const std::int32_t* x = residual_ + first * op.in_features;
    for (std::size_t i = 0; i < count && merge_grid(op) != 0; ++i) {
      gather_row(op, first + i, scratch.gathered + i * op.in_features);
      x = scratch.gathered;
    }
    kernels_.normalise(x, count, op.in_features, epsilon, scratch.normalised, scratch.width);
    const Sums sums = {scratch.normalised, scratch.width, nullptr, count, op.in_features};
    if (to_codes) {
      kernels_.rescale_to_codes(rescale, sums, table,
                                codes(op.destination) + first * op.in_features, op.in_features);
    } else {
      clear(residual_ + first * op.in_features, count * op.in_features);
      add_to_residual(op, first, 0, rescale, sums);
    }
  }
}

/// The last row is the mean over tokens, the one before it, if there is one, the first token.
void Runner::mean(const Op& op, Range rows) {
  for (std::size_t row = rows.begin; row < rows.end; ++row) {
    const std::size_t square = std::size_t{mean_grid(op)} * mean_grid(op);
    const bool is_mean = row + 1 == op.rows;
    mean_of(op, is_mean ? Range{op.prefix_tokens, op.prefix_tokens + square} : Range{0, 1}, row);
  }
}

void Runner::mean_of(const Op& op, Range tokens, std::size_t row) {
  const std::int64_t offset =
      rounding_offset(*tensor<std::int32_t>(op.bias), op.bias_shift, op.shift);
  const std::int32_t multiplier = *tensor<std::int32_t>(op.multipliers);
  const CodeTable table = code_table(op);
  const auto count = static_cast<std::int64_t>(tokens.size());
  for (std::size_t c = 0; c < op.in_features; ++c) {
    std::int64_t sum = 0;
    for (std::size_t t = tokens.begin; t < tokens.end; ++t) {
      sum += residual_[t * op.in_features + c];
    }
    const std::int64_t average = (2 * sum + (sum < 0 ? -count : count)) / (2 * count);
    const std::int64_t value =
        rescaled(static_cast<std::int32_t>(average), multiplier, offset, op.shift);
    if (!writes_codes(op)) {  // there is one row, whose channel c has been read already
      residual_[row * op.in_features + c] = saturate(value, statistics_.saturations);
      continue;
    }
    const auto code = static_cast<std::uint8_t>(clamp(value, 0, largest_output(op)));
    codes(op.destination)[row * op.in_features + c] =
        table.entries == nullptr ? code : table.entries[code];
  }
}

}  // namespace bitlog2::runtime
