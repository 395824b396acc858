// The portable kernels: the definition of every bit. Attention times V is shifts and adds.
#include "../fixed_point.h"
#include "kernels.h"

namespace bitlog2::runtime {
namespace {

constexpr std::size_t kBlock = 64;  // channels of a head that are summed at a time

/// sums += values << shift.
template <class Sum>
void add_shifted(const std::int16_t* values, std::size_t count, unsigned shift, Sum* sums) {
  for (std::size_t c = 0; c < count; ++c) {
    sums[c] += static_cast<Sum>(values[c]) << shift;
  }
}

std::int32_t largest(const std::int32_t* scores, std::size_t tokens) {
  std::int32_t result = scores[0];
  for (std::size_t j = 1; j < tokens; ++j) {
    result = scores[j] > result ? scores[j] : result;
  }
  return result;
}

std::uint32_t distance(std::int32_t from, std::int32_t to) {
  return static_cast<std::uint32_t>(from) - static_cast<std::uint32_t>(to);
}

/// BitLog2: m = floor(p * M) by one reciprocal a row; its highest bit is the shift, and for
/// Half the bit below adds half as much again. The weights m^ add up to at most M <= 2^16, so
/// 32 bits hold every sum.
void attend_bitlog2(const AttentionRule& rule, const std::uint32_t* powers, std::uint64_t sum,
                    std::size_t tokens, const std::int16_t* values, std::size_t head_dim,
                    std::int64_t* context) {
  // There is a token, and the largest score's power is not zero.
  // NOLINTNEXTLINE(clang-analyzer-core.DivideZero)
  const std::uint64_t reciprocal = (std::uint64_t{rule.multiplier} << 46) / sum;
  for (std::size_t first = 0; first < head_dim; first += kBlock) {
    const std::size_t width = head_dim - first < kBlock ? head_dim - first : kBlock;
    std::int32_t sums[kBlock] = {};
    for (std::size_t j = 0; j < tokens; ++j) {
      const std::uint64_t exact = powers[j] * reciprocal >> 46;
      const std::uint64_t m = exact < rule.multiplier ? exact : rule.multiplier - 1;
      if (m == 0) {
        continue;
      }
      const auto shift = static_cast<unsigned>(bit_width(m) - 1);
      const std::int16_t* row = values + j * head_dim + first;
      add_shifted(row, width, shift, sums);
      if (rule.kind == AttentionKind::half && shift > 0 && (m >> (shift - 1) & 1) != 0) {
        add_shifted(row, width, shift - 1, sums);
      }
    }
    for (std::size_t c = 0; c < width; ++c) {
      context[first + c] = sums[c];
    }
  }
}

/// Sqrt2: t = round(-2 log2(p / delta)) straight from the scores, without p itself. Even codes
/// are shifts; odd ones are gathered apart and multiplied by sqrt(2) once at the end.
void attend_sqrt2(const AttentionRule& rule, std::uint64_t sum, std::int32_t log2_delta,
                  std::int32_t top_score, const std::int32_t* scores, std::size_t tokens,
                  const std::int16_t* values, std::size_t head_dim, std::int64_t* context) {
  // 16 bits: tokens < 2^16 of |values| < 2^10, shifted by 20, leave no more room.
  constexpr std::int64_t kSqrt2 = 46341;  // sqrt(2) * 2^15
  const std::int64_t offset = std::int64_t{log2_of_sum(sum)} + log2_delta;
  for (std::size_t first = 0; first < head_dim; first += kBlock) {
    const std::size_t width = head_dim - first < kBlock ? head_dim - first : kBlock;
    std::int64_t even[kBlock] = {};
    std::int64_t odd[kBlock] = {};
    for (std::size_t j = 0; j < tokens; ++j) {
      const std::int64_t exponent = 2 * (std::int64_t{distance(top_score, scores[j])} + offset);
      const std::int64_t t = round_shift(exponent, kScoreFraction);
      if (t >= std::int64_t{rule.multiplier}) {
        continue;
      }
      const std::int64_t code = clamp(t, 0, rule.top);
      const std::int64_t right = (code + 1) >> 1;
      if (right > kSqrt2Fraction) {
        continue;
      }
      add_shifted(values + j * head_dim + first, width,
                  static_cast<unsigned>(kSqrt2Fraction - right), (code & 1) != 0 ? odd : even);
    }
    for (std::size_t c = 0; c < width; ++c) {
      context[first + c] = round_shift(even[c] + round_shift(odd[c] * kSqrt2, 15),
                                       kSqrt2Fraction - kSqrt2ContextFraction);
    }
  }
}

}  // namespace

void dot_rows(const std::int16_t* weights, const std::int16_t* inputs, std::size_t rows,
              std::size_t count, std::int32_t* sums) {
  for (std::size_t r = 0; r < rows; ++r) {
    std::int32_t sum = 0;
    const std::int16_t* input = inputs + r * count;
    for (std::size_t i = 0; i < count; ++i) {
      sum += std::int32_t{weights[i]} * input[i];
    }
    sums[r] = sum;
  }
}

void unpack_weights(const std::uint8_t* packed, std::size_t count, unsigned bits,
                    std::int32_t zero_point, std::int16_t* row) {
  if (bits > 4) {
    for (std::size_t i = 0; i < count; ++i) {
      row[i] = static_cast<std::int16_t>(packed[i] - zero_point);
    }
    return;
  }
  for (std::size_t i = 0; i + 1 < count; i += 2) {
    row[i] = static_cast<std::int16_t>((packed[i / 2] & 15) - zero_point);
    row[i + 1] = static_cast<std::int16_t>((packed[i / 2] >> 4) - zero_point);
  }
  if (count % 2 != 0) {
    row[count - 1] = static_cast<std::int16_t>((packed[count / 2] & 15) - zero_point);
  }
}

void attend(const AttentionRule& rule, std::int32_t log2_delta, std::int32_t* scores,
            std::size_t tokens, const std::int16_t* values, std::size_t head_dim,
            std::int64_t* context) {
  const std::int32_t top_score = largest(scores, tokens);
  std::uint64_t sum = 0;
  if (rule.kind == AttentionKind::sqrt2) {
    for (std::size_t j = 0; j < tokens; ++j) {
      sum += power_of_two(distance(top_score, scores[j]));
    }
    attend_sqrt2(rule, sum, log2_delta, top_score, scores, tokens, values, head_dim, context);
    return;
  }
  auto* powers = reinterpret_cast<std::uint32_t*>(scores);
  for (std::size_t j = 0; j < tokens; ++j) {
    powers[j] = power_of_two(distance(top_score, scores[j]));
    sum += powers[j];
  }
  attend_bitlog2(rule, powers, sum, tokens, values, head_dim, context);
}

}  // namespace bitlog2::runtime
