// The portable kernels, which define every bit; those of attention are in portable_attention.cpp.
#include "portable.h"

#include <limits>

#include "../fixed_point.h"

namespace bitlog2::runtime {
namespace portable {
namespace {

constexpr std::int32_t kLowest = std::numeric_limits<std::int32_t>::min();
constexpr std::int32_t kHighest = std::numeric_limits<std::int32_t>::max();

std::uint8_t code_at(const Codes& codes, std::size_t row, std::size_t i) {
  const std::uint8_t* first = codes.first + row * codes.stride;
  if (!codes.nibbles) {
    return first[i];
  }
  return static_cast<std::uint8_t>(i % 2 == 0 ? first[i / 2] & 15 : first[i / 2] >> 4);
}

void clear(const Panel& panel) {
  for (std::size_t i = 0; i < panel.steps() * panel.width * kDepthStep; ++i) {
    panel.values[i] = 0;
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
      panel.at(k, c) = static_cast<std::int8_t>(value);
      sums[c] += value;
    }
  }
}

void pack_columns(const Codes& codes, std::size_t channels, std::int32_t offset,
                  const Panel& panel) {
  clear(panel);
  for (std::size_t k = 0; k < panel.depth; ++k) {
    for (std::size_t c = 0; c < channels; ++c) {
      panel.at(k, c) = static_cast<std::int8_t>(code_at(codes, k, c) - offset);
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
      nullptr,
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
