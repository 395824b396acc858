// The portable kernels one by one, for tables that have nothing faster for one of them.
#pragma once

#include "kernels.h"

namespace bitlog2::runtime::portable {

void pack_rows(const Codes& codes, std::size_t channels, std::int32_t offset, const Panel& panel,
               std::int32_t* sums);
void pack_columns(const Codes& codes, std::size_t channels, std::int32_t offset,
                  const Panel& panel);
void multiply(const Inputs& inputs, std::size_t rows, const Panel& panel, std::int32_t* sums,
              std::size_t stride);
void sum_rows(const Inputs& inputs, std::size_t rows, std::size_t count, std::int32_t* sums);
void rescale(const Rescale& rescale, const std::int32_t* row_sums, std::size_t rows,
             std::size_t width, std::int32_t* sums, std::size_t stride);
void narrow(const std::int32_t* values, std::size_t count, std::uint8_t* codes);
void look_up(const std::int32_t* values, std::size_t count, const std::uint8_t* table,
             std::uint8_t* codes);
void decode(const std::uint8_t* codes, std::size_t count, const std::uint8_t* table,
            std::size_t size, std::uint8_t* inputs);
std::uint64_t accumulate(const std::int32_t* values, std::size_t count, std::int32_t* totals);
void normalise(const std::int32_t* row, std::size_t count, std::uint64_t epsilon,
               std::int32_t* normalised);
void weigh(const AttentionRule& rule, std::int32_t log2_delta, std::int32_t* scores,
           std::size_t stride, const Weights& weights);
void apply(const AttentionRule& rule, const Weights& weights, const Panel& values,
           std::int32_t zero, std::int32_t* context);

/// The scale of one row in normalise(): what its values minus the mean are multiplied by.
struct Normalisation {
  std::int64_t mean;
  unsigned down;        // bits by which differences are shortened, to 22
  std::uint64_t least;  // squares start from this
};

/// From a row's sum and extremes.
Normalisation begin_normalisation(std::int64_t sum, std::int32_t smallest, std::int32_t largest,
                                  std::size_t count, std::uint64_t epsilon);

/// n = round_shift(d * factor, shift), d the shortened differences.
struct NormalisationScale {
  std::int64_t factor;  // below 2^28
  unsigned shift;       // 4..34
};

/// From the sum of the squares of d.
NormalisationScale end_normalisation(std::uint64_t squares, std::size_t count);

/// M / total of BitLog2 with 46 fraction bits, in 32 bits: m = power * this >> 46. `total`, the
/// sum of a row's powers, is at least 2^30.
std::uint64_t reciprocal_of(const AttentionRule& rule, std::uint64_t total);

/// How BitLog2 cuts m, below the multiplier, cut or
/// rounded to the highest bit and the `fraction_bits` below it, at most `largest`.
struct Rounding {
  std::uint32_t fraction_bits;
  bool nearest;
  std::uint32_t largest;  // (multiplier - 1), cut
};

Rounding rounding_of(const AttentionRule& rule);

/// m^ of m.
std::uint32_t rounded_weight(const Rounding& rounding, std::uint32_t m);

}  // namespace bitlog2::runtime::portable
