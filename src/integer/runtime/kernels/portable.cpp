// The portable kernels: the definition of every bit. Attention times V is shifts and adds.
#include "portable.h"

#include <limits>

#include "../fixed_point.h"

namespace bitlog2::runtime {
namespace portable {
namespace {

constexpr std::int32_t kLowest = std::numeric_limits<std::int32_t>::min();
constexpr std::int32_t kHighest = std::numeric_limits<std::int32_t>::max();
constexpr std::int32_t kNoWeight = -1;  // Sqrt2: the code of a weight of 0

std::uint8_t code_at(const Codes& codes, std::size_t row, std::size_t i) {
  const std::uint8_t* first = codes.first + row * codes.stride;
  if (!codes.nibbles) {
    return first[i];
  }
  return static_cast<std::uint8_t>(i % 2 == 0 ? first[i / 2] & 15 : first[i / 2] >> 4);
}

std::int8_t& value_at(const Panel& panel, std::size_t k, std::size_t c) {
  return panel.values[(k / kDepthStep * panel.width + c) * kDepthStep + k % kDepthStep];
}

void clear(const Panel& panel) {
  for (std::size_t i = 0; i < panel.steps() * panel.width * kDepthStep; ++i) {
    panel.values[i] = 0;
  }
}

std::uint32_t distance(std::int32_t from, std::int32_t to) {
  return static_cast<std::uint32_t>(from) - static_cast<std::uint32_t>(to);
}

std::int32_t largest_of(const std::int32_t* scores, std::size_t tokens) {
  std::int32_t result = scores[0];
  for (std::size_t j = 1; j < tokens; ++j) {
    result = scores[j] > result ? scores[j] : result;
  }
  return result;
}

/// A row of weights: m^ of BitLog2, the code of Sqrt2.
std::int32_t* weights_row(const Weights& weights, std::size_t row) {
  return reinterpret_cast<std::int32_t*>(weights.memory) + row * weights.tokens;
}

/// t = round(-2 log2(p / delta)) directly from the scores, without computing p.
void codes_of_sqrt2(const AttentionRule& rule, std::int32_t log2_delta, const std::int32_t* scores,
                    std::size_t tokens, std::int32_t* row) {
  const std::int32_t top_score = largest_of(scores, tokens);
  std::uint64_t sum = 0;
  for (std::size_t j = 0; j < tokens; ++j) {
    sum += power_of_two(distance(top_score, scores[j]));
  }
  const std::int64_t offset = std::int64_t{log2_of_sum(sum)} + log2_delta;
  for (std::size_t j = 0; j < tokens; ++j) {
    const std::int64_t exponent = 2 * (std::int64_t{distance(top_score, scores[j])} + offset);
    const std::int64_t t = round_shift(exponent, kScoreFraction);
    const std::int64_t code = clamp(t, 0, rule.top);
    const bool counts = t < std::int64_t{rule.multiplier} && (code + 1) >> 1 <= kSqrt2Fraction;
    row[j] = counts ? static_cast<std::int32_t>(code) : kNoWeight;
  }
}

/// sums += value << shift, one channel group of a panel at a time.
template <class Sum>
void add_shifted(const Panel& values, std::size_t token, std::size_t first, std::size_t count,
                 std::int32_t zero, unsigned shift, Sum* sums) {
  for (std::size_t c = 0; c < count; ++c) {
    sums[c] += static_cast<Sum>(value_at(values, token, first + c) - zero) << shift;
  }
}

/// A weight has few set bits; each adds a shifted value. The weights of a row add up to at most
/// twice M <= 2^16, so 32 bits hold every sum; open() has proven that of relative BitLog2.
void attend_bitlog2(const std::int32_t* row, const Panel& values, std::size_t first,
                    std::int32_t zero, std::int32_t* context) {
  std::int32_t sums[kLane] = {};
  for (std::size_t j = 0; j < values.depth; ++j) {
    auto rest = static_cast<std::uint32_t>(row[j]);
    while (rest != 0) {
      const auto shift = static_cast<unsigned>(bit_width(rest) - 1);
      add_shifted(values, j, first, kLane, zero, shift, sums);
      rest ^= 1U << shift;
    }
  }
  for (std::size_t c = 0; c < kLane; ++c) {
    assert_proven(sums[c] > -(1 << 30) && sums[c] < 1 << 30);
    context[first + c] = sums[c];
  }
}

/// Even codes are shifts. Odd ones are summed separately and multiplied by sqrt(2) once at the end.
void attend_sqrt2(const std::int32_t* row, const Panel& values, std::size_t first,
                  std::int32_t zero, std::int32_t* context) {
  // 16 bits: tokens < 2^16 of |values| < 2^10, shifted by 20, leave no more room.
  constexpr std::int64_t kSqrt2 = 46341;  // sqrt(2) * 2^15
  [[maybe_unused]] constexpr std::int64_t kLimit = std::int64_t{1} << 30;
  std::int64_t even[kLane] = {};
  std::int64_t odd[kLane] = {};
  for (std::size_t j = 0; j < values.depth; ++j) {
    if (row[j] != kNoWeight) {
      const auto shift = static_cast<unsigned>(kSqrt2Fraction - ((row[j] + 1) >> 1));
      add_shifted(values, j, first, kLane, zero, shift, (row[j] & 1) != 0 ? odd : even);
    }
  }
  for (std::size_t c = 0; c < kLane; ++c) {
    const std::int64_t sum = round_shift(even[c] + round_shift(odd[c] * kSqrt2, 15),
                                         kSqrt2Fraction - kSqrt2ContextFraction);
    assert_proven(sum >= -kLimit && sum <= kLimit);
    context[first + c] = static_cast<std::int32_t>(sum);
  }
}

}  // namespace

void pack_rows(const Codes& codes, std::size_t channels, const std::int32_t* offsets,
               const Panel& panel, std::int32_t* sums) {
  clear(panel);
  for (std::size_t c = 0; c < panel.width; ++c) {
    sums[c] = 0;
    for (std::size_t k = 0; c < channels && k < panel.depth; ++k) {
      const std::int32_t value = code_at(codes, c, k) - offsets[c];
      value_at(panel, k, c) = static_cast<std::int8_t>(value);
      sums[c] += value;
    }
  }
}

void pack_columns(const Codes& codes, std::size_t channels, std::int32_t offset,
                  const Panel& panel) {
  clear(panel);
  for (std::size_t k = 0; k < panel.depth; ++k) {
    for (std::size_t c = 0; c < channels; ++c) {
      value_at(panel, k, c) = static_cast<std::int8_t>(code_at(codes, k, c) - offset);
    }
  }
}

void multiply(const Inputs& inputs, std::size_t rows, const Panel& panel, std::int32_t* sums,
              std::size_t stride) {
  for (std::size_t r = 0; r < rows; ++r) {
    std::uint32_t totals[kPanelWidth] = {};  // wrap around
    const std::int8_t* values = panel.values;
    for (std::size_t k = 0; k < panel.depth; k += kDepthStep) {
      // Behind the last input there may be anything; the panel has zeros there.
      const std::uint8_t* four = inputs.row(r) + k;
      for (std::size_t c = 0; c < panel.width; ++c, values += kDepthStep) {
        const std::int32_t sum =
            four[0] * values[0] + four[1] * values[1] + four[2] * values[2] + four[3] * values[3];
        totals[c] += static_cast<std::uint32_t>(sum);
      }
    }
    for (std::size_t c = 0; c < panel.width; ++c) {
      sums[r * stride + c] = static_cast<std::int32_t>(totals[c]);
    }
  }
}

void sum_rows(const Inputs& inputs, std::size_t rows, std::size_t count, std::int32_t* sums) {
  for (std::size_t r = 0; r < rows; ++r) {
    std::int32_t sum = 0;
    for (std::size_t k = 0; k < count; ++k) {
      sum += inputs.row(r)[k];
    }
    sums[r] = sum;
  }
}

void rescale(const Rescale& how, const Sums& sums) {
  for (std::size_t r = 0; r < sums.rows; ++r) {
    for (std::size_t c = 0; c < sums.channels; ++c) {
      std::int32_t& sum = sums.values[r * sums.stride + c];
      const std::uint32_t zeros = how.zeros == nullptr
                                      ? 0
                                      : static_cast<std::uint32_t>(how.zeros[c]) *
                                            static_cast<std::uint32_t>(sums.row_sums[r]);
      const std::uint32_t corrected =
          static_cast<std::uint32_t>(sum) - zeros + static_cast<std::uint32_t>(how.constants[c]);
      const std::int64_t value = rescaled(static_cast<std::int32_t>(corrected), how.multipliers[c],
                                          how.offsets[c], how.shift);
      assert_proven(!how.fits || (value > kLowest && value < kHighest));
      sum = static_cast<std::int32_t>(clamp(value, how.low, how.high));
    }
  }
}

void store_codes(const Sums& values, const CodeTable& table, std::uint8_t* codes,
                 std::size_t stride) {
  for (std::size_t r = 0; r < values.rows; ++r) {
    const std::int32_t* row = values.values + r * values.stride;
    std::uint8_t* target = codes + r * stride;
    if (table.entries == nullptr) {
      for (std::size_t c = 0; c < values.channels; ++c) {
        target[c] = static_cast<std::uint8_t>(row[c]);
      }
      continue;
    }
#pragma GCC unroll 8
    for (std::size_t c = 0; c < values.channels; ++c) {
      target[c] = table.entries[static_cast<std::uint32_t>(row[c])];
    }
  }
}

void rescale_to_codes(const Rescale& how, const Sums& sums, const CodeTable& table,
                      std::uint8_t* codes, std::size_t stride) {
  rescale(how, sums);
  store_codes(sums, table, codes, stride);
}

std::uint64_t add(const Sums& values, std::int32_t* totals, std::size_t stride) {
  std::uint64_t saturations = 0;
  for (std::size_t r = 0; r < values.rows; ++r) {
    for (std::size_t c = 0; c < values.channels; ++c) {
      const std::int32_t value = values.values[r * values.stride + c];
      std::int32_t* total = totals + r * stride + c;
      const std::uint64_t before = saturations;
      *total = saturate(std::int64_t{*total} + value, saturations);
      const bool is_end = value == kLowest || value == kHighest;
      saturations += is_end && saturations == before ? 1 : 0;
    }
  }
  return saturations;
}

std::uint64_t rescale_and_add(const Rescale& how, const Sums& sums, std::int32_t* totals,
                              std::size_t stride) {
  rescale(how, sums);
  return add(sums, totals, stride);
}

void split_channels(const std::uint8_t* rgb, std::size_t count, const std::uint8_t (*tables)[256],
                    std::uint8_t* planes, std::size_t stride) {
  for (std::size_t channel = 0; channel < 3; ++channel) {
    for (std::size_t i = 0; i < count; ++i) {
      planes[channel * stride + i] = tables[channel][rgb[3 * i + channel]];
    }
  }
}

void decode(const std::uint8_t* codes, std::size_t count, const std::uint8_t* table, std::size_t,
            std::uint8_t* inputs) {
  for (std::size_t i = 0; i < count; ++i) {
    inputs[i] = table[codes[i]];
  }
}

Normalisation begin_normalisation(std::int64_t sum, std::int32_t smallest, std::int32_t largest,
                                  std::size_t count, std::uint64_t epsilon) {
  const auto size = static_cast<std::int64_t>(count);
  // open() refuses a network without features.
  // NOLINTNEXTLINE(clang-analyzer-core.DivideZero)
  const std::int64_t mean = (2 * sum + (sum < 0 ? -size : size)) / (2 * size);
  const std::int64_t above = largest - mean;
  const std::int64_t below = mean - smallest;
  const int width = bit_width(static_cast<std::uint64_t>(above < below ? below : above));
  const unsigned down = width > 22 ? static_cast<unsigned>(width - 22) : 0;
  return {mean, down, epsilon >> (2 * down)};
}

std::uint64_t root_of_count(std::size_t count) {
  const auto size = static_cast<std::uint64_t>(count);
  const unsigned up = static_cast<unsigned>(62 - bit_width(size)) / 2;
  return square_root_of_62_bits(size << (2 * up)) >> (up - 20);
}

NormalisationScale end_normalisation(std::uint64_t squares, std::uint64_t root_of_count) {
  // 2^16 sqrt(C) / sqrt(squares): with squares * 4^up in [2^60, 2^62), its root has 31 bits.
  squares = squares == 0 ? 1 : squares;
  const unsigned up = static_cast<unsigned>(62 - bit_width(squares)) / 2;
  const std::uint64_t root = square_root_of_62_bits(squares << (2 * up));
  assert_proven(squares < std::uint64_t{1} << 62 && up <= 30);
  // sqrt(C) / sqrt(squares) with 50 - up fraction bits; up is at most 30.
  return {static_cast<std::int64_t>((root_of_count << 30) / root), 50 - up - kNormFraction};
}

void normalise_row(const std::int32_t* row, std::size_t count, std::uint64_t epsilon,
                   std::uint64_t root_of_count, std::int32_t* normalised) {
  std::int64_t sum = 0;
  std::int32_t smallest = row[0];
  std::int32_t largest = row[0];
  for (std::size_t c = 0; c < count; ++c) {
    sum += row[c];
    smallest = row[c] < smallest ? row[c] : smallest;
    largest = row[c] > largest ? row[c] : largest;
  }
  const Normalisation begun = begin_normalisation(sum, smallest, largest, count, epsilon);
  std::uint64_t squares = begun.least;
  for (std::size_t c = 0; c < count; ++c) {
    const std::int64_t centred = row[c] - begun.mean;
    const std::int64_t shortened = begun.down == 0 ? centred : round_shift(centred, begun.down);
    normalised[c] = static_cast<std::int32_t>(shortened);
    squares += static_cast<std::uint64_t>(shortened * shortened);
  }
  const NormalisationScale scale = end_normalisation(squares, root_of_count);
  for (std::size_t c = 0; c < count; ++c) {
    normalised[c] =
        static_cast<std::int32_t>(round_shift(normalised[c] * scale.factor, scale.shift));
  }
}

void normalise(const std::int32_t* x, std::size_t rows, std::size_t count, std::uint64_t epsilon,
               std::int32_t* normalised, std::size_t stride) {
  const std::uint64_t root = root_of_count(count);
  for (std::size_t r = 0; r < rows; ++r) {
    normalise_row(x + r * count, count, epsilon, root, normalised + r * stride);
  }
}

std::uint64_t reciprocal_of(const AttentionRule& rule, std::uint64_t total) {
  constexpr std::uint64_t kLargest =
      0xFFFFFFFF;  // reached if M is 2^16 and one token has the probability 1
  const bool is_relative = rule.kind == AttentionKind::relative_bitlog2;
  const std::uint64_t whole = is_relative ? std::uint64_t{1} << 30 : total;
  // NOLINTNEXTLINE(clang-analyzer-core.DivideZero)
  const std::uint64_t reciprocal = (std::uint64_t{rule.multiplier} << 46) / whole;
  return reciprocal < kLargest ? reciprocal : kLargest;
}

ContextDivision::ContextDivision(std::uint32_t total)
    : shift(29 + static_cast<unsigned>(bit_width(total)) - kRelativeContextFraction),
      factor(static_cast<std::int32_t>((std::uint64_t{1} << (shift + kRelativeContextFraction)) /
                                       total)),
      half(std::int64_t{1} << (shift - 1)) {}

Rounding rounding_of(const AttentionRule& rule) {
  Rounding rounding = {rule.fraction_bits, false, rule.multiplier - 1};
  rounding.largest = rounded_weight(rounding, rule.multiplier - 1);
  rounding.nearest = rule.nearest;
  return rounding;
}

std::uint32_t rounded_weight(const Rounding& rounding, std::uint32_t m) {
  const int dropped = bit_width(m) - 1 - static_cast<int>(rounding.fraction_bits);
  if (dropped <= 0) {
    return m < rounding.largest ? m : rounding.largest;
  }
  // Half of the last kept bit may carry into the next power of two, which keeps fewer bits.
  const std::uint32_t half = rounding.nearest ? std::uint32_t{1} << (dropped - 1) : 0;
  const std::uint32_t kept = (m + half) >> dropped << dropped;
  return kept < rounding.largest ? kept : rounding.largest;
}

/// m = floor(p * M) by one reciprocal a row.
void bitlog2_weights(const AttentionRule& rule, const std::int32_t* scores, std::size_t tokens,
                     std::int32_t* weights) {
  const Rounding rounding = rounding_of(rule);
  const std::int32_t top_score = largest_of(scores, tokens);
  std::uint64_t sum = 0;
  for (std::size_t j = 0; j < tokens; ++j) {
    const std::uint32_t power = power_of_two(distance(top_score, scores[j]));
    weights[j] = static_cast<std::int32_t>(power);
    sum += power;
  }
  const std::uint64_t reciprocal = reciprocal_of(rule, sum);
  for (std::size_t j = 0; j < tokens; ++j) {
    const std::uint64_t exact = static_cast<std::uint64_t>(weights[j]) * reciprocal >> 46;
    const std::uint64_t m = exact < rule.multiplier ? exact : rule.multiplier - 1;
    assert_proven(m < std::uint64_t{1} << 16);
    weights[j] = static_cast<std::int32_t>(rounded_weight(rounding, static_cast<std::uint32_t>(m)));
  }
}

void softmax_codes(const AttentionRule& rule, std::int32_t log2_delta, std::int32_t* scores,
                   std::size_t stride, const Weights& weights) {
  for (std::size_t r = 0; r < weights.rows; ++r) {
    if (rule.kind == AttentionKind::sqrt2) {
      codes_of_sqrt2(rule, log2_delta, scores + r * stride, weights.tokens,
                     weights_row(weights, r));
    } else {
      bitlog2_weights(rule, scores + r * stride, weights.tokens, weights_row(weights, r));
    }
  }
}

std::uint32_t total_of(const std::int32_t* weights, std::size_t tokens) {
  std::uint32_t total = 0;
  for (std::size_t j = 0; j < tokens; ++j) {
    total += static_cast<std::uint32_t>(weights[j]);
  }
  return total;
}

void divide(const ContextDivision& division, std::int32_t* context, std::size_t width) {
  for (std::size_t c = 0; c < width; ++c) {
    context[c] = static_cast<std::int32_t>(
        (std::int64_t{context[c]} * division.factor + division.half) >> division.shift);
  }
}

void weights_of_row(const AttentionRule& rule, std::int32_t log2_delta, const std::int32_t* scores,
                    std::size_t tokens, std::int32_t* weights) {
  constexpr std::uint32_t kRootOf2 = 92682;  // in 2^-16
  if (rule.kind != AttentionKind::sqrt2) {
    bitlog2_weights(rule, scores, tokens, weights);
  } else {
    codes_of_sqrt2(rule, log2_delta, scores, tokens, weights);
  }
  const std::uint64_t one =
      rule.kind == AttentionKind::relative_bitlog2 ? total_of(weights, tokens) : rule.multiplier;
  for (std::size_t j = 0; j < tokens; ++j) {
    const auto code = static_cast<std::uint32_t>(weights[j]);
    std::uint64_t weight = 0;
    if (rule.kind != AttentionKind::sqrt2) {
      weight = (std::uint64_t{code} << 16) / one;
    } else if (weights[j] != kNoWeight) {
      weight = ((code & 1) != 0 ? kRootOf2 : std::uint32_t{1} << 16) >> ((code + 1) >> 1);
    }
    weights[j] = static_cast<std::int32_t>(weight);
  }
}

void attend_values(const AttentionRule& rule, const Weights& weights, const Panel& values,
                   std::int32_t zero, std::int32_t* context) {
  const bool is_relative = rule.kind == AttentionKind::relative_bitlog2;
  for (std::size_t r = 0; r < weights.rows; ++r) {
    for (std::size_t first = 0; first < values.width; first += kLane) {
      const auto* row = weights_row(weights, r);
      std::int32_t* target = context + r * values.width;
      if (rule.kind == AttentionKind::sqrt2) {
        attend_sqrt2(row, values, first, zero, target);
      } else {
        attend_bitlog2(row, values, first, zero, target);
      }
    }
    if (is_relative) {
      divide(ContextDivision(total_of(weights_row(weights, r), weights.tokens)),
             context + r * values.width, values.width);
    }
  }
}

std::uint64_t multiply_in_registers(std::uint64_t rounds) {
  constexpr std::size_t kSums = 8;
  std::uint32_t sums[kSums] = {};
  for (std::uint64_t i = 0; i < rounds; ++i) {
    for (std::uint32_t& sum : sums) {
      sum += static_cast<std::uint32_t>(i & 15) * 3U;
      asm volatile("" : "+r"(sum));  // so that every product is made
    }
  }
  return rounds * kSums;
}

}  // namespace portable

const Kernels& portable_kernels() {
  static constexpr Kernels kKernels = {
      "portable",
      portable::pack_rows,
      portable::pack_columns,
      portable::multiply,
      portable::sum_rows,
      portable::rescale,
      portable::rescale_to_codes,
      portable::rescale_and_add,
      portable::split_channels,
      portable::decode,
      portable::normalise,
      portable::softmax_codes,
      portable::attend_values,
      portable::multiply_in_registers,
  };
  return kKernels;
}

}  // namespace bitlog2::runtime
