// The portable kernels one by one, for tables that have nothing faster for one of them.
#pragma once

#include "kernels.h"

namespace bitlog2::runtime::portable {

void pack_rows(const Codes& codes, std::size_t channels, const std::int32_t* offsets,
               const Panel& panel, std::int32_t* sums);
void pack_columns(const Codes& codes, std::size_t channels, std::int32_t offset,
                  const Panel& panel);
void multiply(const Inputs& inputs, std::size_t rows, const Panel& panel, std::int32_t* sums,
              std::size_t stride);
void sum_rows(const Inputs& inputs, std::size_t rows, std::size_t count, std::int32_t* sums);
void rescale(const Rescale& how, const Sums& sums);
void rescale_to_codes(const Rescale& how, const Sums& sums, const CodeTable& table,
                      std::uint8_t* codes, std::size_t stride);
std::uint64_t rescale_and_add(const Rescale& how, const Sums& sums, std::int32_t* totals,
                              std::size_t stride);
void split_channels(const std::uint8_t* rgb, std::size_t count, const std::uint8_t (*tables)[256],
                    std::uint8_t* planes, std::size_t stride);
void decode(const std::uint8_t* codes, std::size_t count, const std::uint8_t* table,
            std::size_t size, std::uint8_t* inputs);
void normalise(const std::int32_t* x, std::size_t rows, std::size_t count, std::uint64_t epsilon,
               std::int32_t* normalised, std::size_t stride);
void softmax_codes(const AttentionRule& rule, std::int32_t log2_delta, std::int32_t* scores,
                   std::size_t stride, const Weights& weights);
void attend_values(const AttentionRule& rule, const Weights& weights, const Panel& values,
                   std::int32_t zero, std::int32_t* context);

std::uint64_t multiply_in_registers(std::uint64_t rounds);

/// A row of softmax_codes() of BitLog2: weights m^, which may take the place of the scores.
void bitlog2_weights(const AttentionRule& rule, const std::int32_t* scores, std::size_t tokens,
                     std::int32_t* weights);

/// The values of the codes of a row of softmax_codes(), in units of 2^-16; of Sqrt2, divided by
/// delta.
void weights_of_row(const AttentionRule& rule, std::int32_t log2_delta, const std::int32_t* scores,
                    std::size_t tokens, std::int32_t* weights);

/// The sum of a row of BitLog2's weights.
std::uint32_t total_of(const std::int32_t* weights, std::size_t tokens);

/// The second halves of rescale_to_codes() and rescale_and_add(), which take rescaled values.
void store_codes(const Sums& values, const CodeTable& table, std::uint8_t* codes,
                 std::size_t stride);
std::uint64_t add(const Sums& values, std::int32_t* totals, std::size_t stride);

/// One row of normalise().
void normalise_row(const std::int32_t* row, std::size_t count, std::uint64_t epsilon,
                   std::uint64_t root_of_count, std::int32_t* normalised);

/// The square root of C with 20 fraction bits.
std::uint64_t root_of_count(std::size_t count);

/// What normalise() needs of one row before the sum of squares.
struct Normalisation {
  std::int64_t mean;
  unsigned down;        // bits by which differences are shortened, to 22
  std::uint64_t least;  // squares start from this

  /// Whether differences are int32 values, even with the half that rounds them.
  bool fits_32_bits() const { return down <= 7; }
};

/// From a row's sum, smallest and largest value.
Normalisation begin_normalisation(std::int64_t sum, std::int32_t smallest, std::int32_t largest,
                                  std::size_t count, std::uint64_t epsilon);

/// n = round_shift(d * factor, shift), d the shortened differences.
struct NormalisationScale {
  std::int64_t factor;  // below 2^28
  unsigned shift;       // 4..34
};

/// From the sum of the squares of d.
NormalisationScale end_normalisation(std::uint64_t squares, std::uint64_t root_of_count);

/// M / total of BitLog2 with 46 fraction bits, in 32 bits: m = power * this >> 46. `total`, the
/// sum of a row's powers, is at least 2^30. Relative BitLog2 takes the largest power, 2^30,
/// instead.
std::uint64_t reciprocal_of(const AttentionRule& rule, std::uint64_t total);

/// How BitLog2 makes a weight of m, which is below the multiplier: the weight keeps the highest bit
/// of m and the `fraction_bits` bits below it, is cut or rounded to these, and is at most
/// `largest`.
struct Rounding {
  std::uint32_t fraction_bits;
  bool nearest;
  std::uint32_t largest;  // (multiplier - 1), cut
};

Rounding rounding_of(const AttentionRule& rule);

/// The division of relative BitLog2: a row of context sums s becomes (s * factor + half) >> shift,
/// s / total with kRelativeContextFraction fraction bits.
struct ContextDivision {
  /// `total`, the sum of a row's weights, is at least 1.
  explicit ContextDivision(std::uint32_t total);

  unsigned shift;       // 14..45
  std::int32_t factor;  // in (2^29, 2^30]
  std::int64_t half;    // of the last bit that is kept
};

void divide(const ContextDivision& division, std::int32_t* context, std::size_t width);

/// m^ of m.
std::uint32_t rounded_weight(const Rounding& rounding, std::uint32_t m);

}  // namespace bitlog2::runtime::portable
