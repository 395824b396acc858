// Softmax and BitLog2's codes of it.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "../../fixed_point.h"
#include "../kernels.h"
#include "../planes.h"
#include "../portable.h"
#include "lanes.h"

namespace bitlog2::runtime {
namespace {

/// A column of kPowerTable.
class PowerColumn {
 public:
  template <class Entry>
  explicit PowerColumn(Entry entry) {
    for (std::size_t i = 0; i < kPowerTable.size(); ++i) {
      entries[i] = entry(kPowerTable[i]);
    }
  }

  std::uint32_t entries[kPowerTable.size()];
};

/// The power table in registers.
struct PowerTables {
  PowerTables()
      : values(PowerColumn([](const PowerEntry& entry) { return entry.value; }).entries),
        steps(PowerColumn([](const PowerEntry& entry) { return entry.step; }).entries),
        sags(PowerColumn([](const PowerEntry& entry) { return sag_of(entry.value); }).entries) {}

  /// The factor of t (1 - t).
  static constexpr std::uint32_t sag_of(std::uint32_t value) { return (value >> 18) * kSag; }

  /// power_of_two() of kValues exponents.
  I32 power(I32 exponents) const {
    const Index32 index(exponents.shift_right<11>());
    const I32 value = values(index);
    const I32 rest = exponents & I32::all(2047);
    const I32 line = (steps(index) * rest).shift_right<7>();
    const I32 bow = (rest * (I32::all(2048) - rest)).shift_right<8>();
    const I32 depth =
        kTablesAreFast ? sags(index) : value.shift_right<18>() * I32::all(std::int32_t{kSag});
    const I32 sag = (bow * depth).shift_right<16>();
    return (value - (line + sag)).shift_right_each(exponents.shift_right<16>());
  }

  Table32 values;
  Table32 steps;
  Table32 sags;
};

inline std::int32_t largest_score(const std::int32_t* scores, std::size_t tokens) {
  I32 largest = I32::all(scores[0]);
  for_each_lanes(tokens, [&](std::size_t j, const auto& which) {
    largest = largest.max(which.choose(largest, which.load_from(scores + j)));
  });
  return largest.largest();
}

/// Replaces the scores by their powers of two relative to the largest score, with zeros up to a
/// whole register. Returns the sum of the powers.
inline std::uint64_t take_powers(const PowerTables& tables, std::int32_t top_score,
                                 std::int32_t* scores, std::size_t tokens) {
  const I32 top = I32::all(top_score);
  Sum64 sum;
  const auto take = [&](std::size_t j, const auto& which) {
    const I32 power = which.keep(tables.power(top - I32::load(scores + j)));
    power.store(scores + j);
    return power;
  };
  constexpr AllLanes kAll;
  std::size_t j = 0;
  for (; j + 3 * kValues <= tokens; j += 3 * kValues) {
    // A power is at most 2^30: 32 bits hold three.
    const I32 first = take(j, kAll);
    const I32 second = take(j + kValues, kAll);
    sum.add_unsigned(first + second + take(j + 2 * kValues, kAll));
  }
  for (; j + kValues <= tokens; j += kValues) {
    sum.add_unsigned(take(j, kAll));
  }
  if (j < tokens) {
    sum.add_unsigned(take(j, FirstLanes(tokens - j)));
  }
  return static_cast<std::uint64_t>(sum.total());
}

/// portable::rounded_weight() of kValues values. A value may also be the multiplier itself, which
/// becomes the largest weight.
class RoundWeights {
 public:
  explicit RoundWeights(const portable::Rounding& rounding)
      : nearest_(rounding.nearest),
        kept_(rounding.fraction_bits + 1),
        largest_(I32::all(static_cast<std::int32_t>(rounding.largest))) {}

  I32 operator()(I32 m) const {
    const I32 dropped = m.ones_to_highest().shift_right(kept_);  // ones where bits are dropped
    if (nearest_) {
      m = m + (dropped + I32::all(1)).shift_right<1>();
    }
    return m.and_not(dropped).min(largest_);
  }

 private:
  bool nearest_;
  Shift kept_;
  I32 largest_;
};

/// The same for kBytes values that are bytes.
class RoundByteWeights {
 public:
  explicit RoundByteWeights(const portable::Rounding& rounding)
      : nearest_(rounding.nearest),
        kept_(rounding.fraction_bits + 1),
        largest_(U8::all(rounding.largest)) {}

  U8 operator()(U8 m) const {
    U8 dropped = m | m.shift_right(1);
    dropped = dropped | dropped.shift_right(2);
    dropped = dropped | dropped.shift_right(4);
    dropped = dropped.shift_right(kept_);
    if (nearest_) {
      // Values above 255 become the largest weight anyway.
      m = m.add_saturating((dropped + U8::all(1)).shift_right(1));
    }
    return m.and_not(dropped).min(largest_);
  }

 private:
  bool nearest_;
  unsigned kept_;
  U8 largest_;
};

/// Calls use(j, m) with m, power * reciprocal >> 46, of every four registers of powers, from the
/// j-th on; 0 in registers behind the last token. All inlined, so that m is in registers.
template <class Use>
[[gnu::always_inline]] inline void for_each_m(std::uint64_t reciprocal, const std::int32_t* powers,
                                              std::size_t tokens, const Use& use) {
  const Factor factor(static_cast<std::int32_t>(reciprocal));
  const auto scale = [&](std::size_t j, std::size_t registers) __attribute__((always_inline)) {
    I32 m[4];
#pragma GCC unroll 4
    for (std::size_t i = 0; i < 4; ++i) {
      m[i] = I32::all(0);
      if (i < registers) {
        const I32 power = I32::load(powers + j + i * kValues);
        m[i] = I64::unsigned_product(power, factor).upper_halves().shift_right<46 - 32>();
      }
    }
    use(j, m);
  };
  std::size_t j = 0;
  for (; j + kBytes <= tokens; j += kBytes) {
    scale(j, 4);
  }
  if (j < tokens) {
    scale(j, (tokens - j + kValues - 1) / kValues);
  }
}

/// Writes a row of powers as weights in two planes; returns the sum of the weights.
inline std::int32_t round_row(const RoundWeights& round, std::uint64_t reciprocal,
                              const std::int32_t* powers, std::size_t tokens, std::uint8_t* low,
                              std::uint8_t* high) {
  I32 total = I32::all(0);
  const auto round_four = [&](std::size_t j, const I32(&m)[4]) __attribute__((always_inline)) {
    I32 low_bytes[4];
    I32 high_bytes[4];
#pragma GCC unroll 4
    for (std::size_t i = 0; i < 4; ++i) {
      const I32 weight = round(m[i]);
      total = total + weight;
      low_bytes[i] = weight & I32::all(255);
      high_bytes[i] = weight.shift_right<8>();
    }
    U16::pack(low_bytes).packed().in_order().store(low + j);
    U16::pack(high_bytes).packed().in_order().store(high + j);
  };
  for_each_m(reciprocal, powers, tokens, round_four);
  return total.sum();
}

/// Writes a row of powers, whose values of m are bytes, as weights of one byte; returns the sum of
/// the weights.
template <class RoundBytes>
inline std::int32_t round_byte_row(const RoundBytes& round, std::uint64_t reciprocal,
                                   const std::int32_t* powers, std::size_t tokens,
                                   std::uint8_t* weights) {
  Sum64 total;
  const auto round_four = [&](std::size_t j, const I32(&m)[4]) __attribute__((always_inline)) {
    // Packing makes 255 of 256, the multiplier itself.
    const U8 weight = round(U16::pack(m).packed().in_order());
    weight.store(weights + j);
    weight.add_to(total);
  };
  for_each_m(reciprocal, powers, tokens, round_four);
  return static_cast<std::int32_t>(total.total());
}

/// Kernels::softmax_codes; RoundBytes rounds weights that are bytes.
template <class RoundBytes>
inline void softmax_codes_by(const AttentionRule& rule, std::int32_t log2_delta,
                             std::int32_t* scores, std::size_t stride, const Weights& weights) {
  if (rule.kind == AttentionKind::sqrt2) {
    return portable::softmax_codes(rule, log2_delta, scores, stride, weights);
  }
  const PowerTables tables;
  const portable::Rounding rounding = portable::rounding_of(rule);
  const Planes planes(weights);
  // Each step runs over all rows before the next step begins. So while one row waits for the end of
  // its step (a maximum, a sum, a division), other rows are computed.
  std::int32_t tops[kRowChunk];
  std::uint64_t reciprocals[kRowChunk];
  for (std::size_t r = 0; r < weights.rows; ++r) {
    tops[r] = largest_score(scores + r * stride, weights.tokens);
  }
  for (std::size_t r = 0; r < weights.rows; ++r) {
    const std::uint64_t sum = take_powers(tables, tops[r], scores + r * stride, weights.tokens);
    reciprocals[r] = portable::reciprocal_of(rule, sum);
  }
  const auto for_each_row = [&](const auto& round_one) {
    for (std::size_t r = 0; r < weights.rows; ++r) {
      planes.totals[r] = round_one(reciprocals[r], scores + r * stride, r * planes.stride);
    }
  };
  *planes.has_high = rule.multiplier <= 256 ? 0 : 1;
  if (rule.multiplier <= 256) {
    const RoundBytes round(rounding);
    for_each_row([&](std::uint64_t reciprocal, const std::int32_t* powers, std::size_t at) {
      return round_byte_row(round, reciprocal, powers, weights.tokens, planes.low + at);
    });
  } else {
    const RoundWeights round(rounding);
    for_each_row([&](std::uint64_t reciprocal, const std::int32_t* powers, std::size_t at) {
      return round_row(round, reciprocal, powers, weights.tokens, planes.low + at,
                       planes.high + at);
    });
  }
}

inline void softmax_codes(const AttentionRule& rule, std::int32_t log2_delta, std::int32_t* scores,
                          std::size_t stride, const Weights& weights) {
  softmax_codes_by<RoundByteWeights>(rule, log2_delta, scores, stride, weights);
}

}  // namespace
}  // namespace bitlog2::runtime
