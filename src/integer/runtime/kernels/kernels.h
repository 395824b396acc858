// The loops that take most of the time, behind one interface. Every instruction set's file fills
// one table of them, and all tables give the same bits (tests/integer/kernel_tables_test.cpp).
//
// Products are of bytes: an input is unsigned, u in [0, 255]. The other factor is signed and laid
// out as a panel, so that each 32-bit lane of a vector register holds four values of one channel.
// Zero points are corrected for afterwards,
//   sum (w - z) u = sum w u - z sum u,
// in 32-bit arithmetic that wraps around; open() has proven that the result does not.
#pragma once

#include <cstddef>
#include <cstdint>

#include "../program.h"

namespace bitlog2::runtime {

/// The width of a panel in channels is a multiple of kLane, at most kPanelWidth.
inline constexpr std::size_t kPanelWidth = 64;
inline constexpr std::size_t kLane = 16;
/// Depth is padded to a multiple of this, with zeros in the panel.
inline constexpr std::size_t kDepthStep = 4;
/// The most rows that multiply() takes at a time, and how many bytes behind the last row of inputs
/// it may read.
inline constexpr std::size_t kRowChunk = 24;
inline constexpr std::size_t kInputSlack = 64;

constexpr std::size_t round_up(std::size_t value, std::size_t step) {
  return (value + step - 1) / step * step;
}

/// Values as a panel P [ceil(depth / 4), width, 4]: value (k, c) at P[k / 4][c][k % 4].
struct Panel {
  std::int8_t* values;
  std::size_t depth;
  std::size_t width;
  std::int32_t largest;  // no value's magnitude is above it

  std::size_t steps() const { return round_up(depth, kDepthStep) / kDepthStep; }

  std::int8_t& at(std::size_t k, std::size_t c) const {
    return values[(k / kDepthStep * width + c) * kDepthStep + k % kDepthStep];
  }
};

/// Rows of codes in memory.
struct Codes {
  const std::uint8_t* first;
  std::size_t stride;  // bytes from row to row
  bool nibbles;        // two codes to a byte, the lower half first
};

/// Rows of inputs, which are multiplied by panels.
struct Inputs {
  const std::uint8_t* first;
  std::size_t stride;    // bytes from row to row
  std::int32_t largest;  // none is above it

  const std::uint8_t* row(std::size_t index) const { return first + index * stride; }
};

/// Integer sums of some rows and channels. The kernel that reads them overwrites them. There is
/// room for round_up(channels, kLane) in every row.
struct Sums {
  std::int32_t* values;
  std::size_t stride;            // values from row to row
  const std::int32_t* row_sums;  // of every row's inputs; not read where Rescale has no zeros
  std::size_t rows;
  std::size_t channels;

  std::size_t width() const { return round_up(channels, kLane); }
};

/// How integer sums are rescaled: for channel c,
///   y = clamp((s * multipliers[c] + offsets[c]) >> shift, low, high)
///   s = sum - zeros[c] * row_sum + constants[c], wrapping
/// The arrays have room for round_up(channels, kLane).
struct Rescale {
  const std::int32_t* zeros;  // none: all are 0
  const std::int32_t* constants;
  const std::int32_t* multipliers;
  const std::int64_t* offsets;  // the rounding's half included
  unsigned shift;               // 1..62
  std::int32_t low;
  std::int32_t high;
  bool fits;  // for every possible sum, the value to be clamped is an int32 already
};

/// A short form of a table of codes: runs of entries in which codes hardly change. An entry v is at
/// p = max(v - base, 0) * multiplier: in run p >> 16, at place (p & 0xFFFF) >> 9 of it.
struct CodeRuns {
  static constexpr std::size_t kMost = 256;
  static constexpr std::uint8_t kNowhere = 255;  // above every place

  std::uint8_t first[kMost];   // the code at the start of a run
  std::uint8_t change[kMost];  // the place from which on it is another, or kNowhere
  /// If by_one: the place of a further change. Otherwise: the code behind the change.
  std::uint8_t second[kMost];
  std::uint16_t base;        // at most 32767
  std::uint16_t multiplier;  // at most 32767
  bool by_one;  // codes change by one: downwards in the first `falling` runs, then upwards
  std::uint8_t falling;
};

/// How rescaled values become codes.
struct CodeTable {
  const std::uint8_t* entries;  // code of every value in [0, size); none: values are codes
  std::size_t size;
  const CodeRuns* runs;  // the same, or none
};

/// How probabilities become weights.
struct AttentionRule {
  AttentionKind kind;
  std::uint32_t multiplier;
  std::uint32_t top;            // Sqrt2: the largest code that is kept
  std::uint32_t fraction_bits;  // BitLog2: bits kept below the highest
  bool nearest;                 // BitLog2: rounds to the nearest weight, not down
};

/// Attention weights of rows of tokens, in a form that depends on the table of kernels.
struct Weights {
  std::byte* memory;  // weights_bytes(tokens) of them, a multiple of 64 in memory
  std::size_t rows;   // at most kRowChunk
  std::size_t tokens;
};

constexpr std::size_t weights_bytes(std::size_t tokens) {
  return kRowChunk * (4 * round_up(tokens, kPanelWidth) + 8);
}

struct Kernels {
  const char* name;

  /// Fills the runs of a table of codes (code_runs.h); none where rescale_to_codes() reads no runs.
  bool (*make_code_runs)(const std::uint8_t* entries, std::size_t size, CodeRuns& runs);

  /// Fills a panel from `channels` rows of codes, each `panel.depth` long: value = code -
  /// offsets[channel]; channels beyond are 0. sums [panel.width]: each channel's sum of values.
  void (*pack_rows)(const Codes& codes, std::size_t channels, const std::int32_t* offsets,
                    const Panel& panel, std::int32_t* sums);

  /// The same where codes [panel.depth, channels] have their channels side by side, and one
  /// offset.
  void (*pack_columns)(const Codes& codes, std::size_t channels, std::int32_t offset,
                       const Panel& panel);

  /// sums[r * stride + c] = sum_k inputs.row(r)[k] * panel(k, c), wrapping.
  void (*multiply)(const Inputs& inputs, std::size_t rows, const Panel& panel, std::int32_t* sums,
                   std::size_t stride);

  /// sums[r] = sum of a row's `count` inputs.
  void (*sum_rows)(const Inputs& inputs, std::size_t rows, std::size_t count, std::int32_t* sums);

  /// Replaces every sum by its rescaled value.
  void (*rescale)(const Rescale& rescale, const Sums& sums);

  /// codes[r * stride + c] = the rescaled sum (r, c), with low = 0 and high at most 255; or the
  /// table's entry for it, with high at most 65535.
  void (*rescale_to_codes)(const Rescale& rescale, const Sums& sums, const CodeTable& table,
                           std::uint8_t* codes, std::size_t stride);

  /// totals[r * stride + c] += the rescaled sum (r, c), saturating; low and high are int32's ends.
  /// Returns how many values saturated; summands at these ends are counted, too.
  std::uint64_t (*rescale_and_add)(const Rescale& rescale, const Sums& sums, std::int32_t* totals,
                                   std::size_t stride);

  /// A row of `count` RGB pixels, channel by channel:
  /// planes[channel * stride + i] = tables[channel][rgb[3 * i + channel]].
  void (*split_channels)(const std::uint8_t* rgb, std::size_t count,
                         const std::uint8_t (*tables)[256], std::uint8_t* planes,
                         std::size_t stride);

  /// inputs[i] = table[codes[i]], a table of `size` entries, at most 256; in place, too.
  void (*decode)(const std::uint8_t* codes, std::size_t count, const std::uint8_t* table,
                 std::size_t size, std::uint8_t* inputs);

  /// LayerNorm of x [rows, count], without gamma and beta:
  ///   n = (x - mean) sqrt(C) / sqrt(sum (x - mean)^2 + epsilon), kNormFraction fraction bits,
  /// C the `count`, at least 1; normalised [rows, stride].
  void (*normalise)(const std::int32_t* x, std::size_t rows, std::size_t count,
                    std::uint64_t epsilon, std::int32_t* normalised, std::size_t stride);

  /// Softmax and the attention map's quantization of every row.
  ///  scores [weights.rows, stride]: log2 units with kScoreFraction fraction bits; overwritten
  void (*softmax_codes)(const AttentionRule& rule, std::int32_t log2_delta, std::int32_t* scores,
                        std::size_t stride, const Weights& weights);

  /// Attention times V. `values` is a panel of depth `tokens` of v minus an offset; `zero` is the
  /// zero point minus the same offset.
  ///  context [rows, values.width]: sum over tokens of weight * (v - zero), where a weight is
  ///    BitLog2's m^, relative BitLog2's m^ / sum m^ with kRelativeContextFraction fraction bits,
  ///    or Sqrt2's p^ / delta with kSqrt2ContextFraction; at most 2^30 in magnitude
  void (*attend_values)(const AttentionRule& rule, const Weights& weights, const Panel& values,
                        std::int32_t zero, std::int32_t* context);

  /// Multiplies and adds bytes in registers, without reading memory: an upper bound of multiply()'s
  /// speed. Returns the number of products, `rounds` times a constant.
  std::uint64_t (*multiply_in_registers)(std::uint64_t rounds);
};

/// The kernels for any machine, which define every bit.
const Kernels& portable_kernels();

}  // namespace bitlog2::runtime
