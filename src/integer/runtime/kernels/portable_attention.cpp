// The portable kernels of attention: softmax with its codes, and attention times V by shifts and
// adds.
#include "../fixed_point.h"
#include "portable.h"

namespace bitlog2::runtime::portable {
namespace {

constexpr std::int32_t kNoWeight = -1;  // Sqrt2: the code of a weight of 0

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
    sums[c] += static_cast<Sum>(values.at(token, first + c) - zero) << shift;
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

}  // namespace bitlog2::runtime::portable
