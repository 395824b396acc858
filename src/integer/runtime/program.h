// The layout of a quantized network's program: what lowering writes and the runtime runs in
// place. Every field is a little-endian 32-bit word; docs/format.md describes the file around
// it. The program is the file's first tensor, so that its position needs no JSON.
#pragma once

#include <cstddef>
#include <cstdint>

namespace bitlog2::runtime {

inline constexpr std::uint32_t kMagic = 0x32474C42;  // "BLG2"
inline constexpr std::uint32_t kVersion = 3;

/// Fraction bits of the residual stream, an int32.
inline constexpr int kResidualFraction = 18;
/// Fraction bits of the logits, an int32.
inline constexpr int kLogitFraction = 16;
/// Fraction bits of attention scores in units of log2, an int32.
inline constexpr int kScoreFraction = 16;
/// Fraction bits of normalised activations inside LayerNorm.
inline constexpr int kNormFraction = 16;
/// gated_linear: fraction bits of the gate, an int32; of the other branch, counted in steps of the
/// output; and of the gate's factor.
inline constexpr int kGateFraction = 18;
inline constexpr int kBranchFraction = 14;
inline constexpr int kGateFactorFraction = 16;
/// No magnitude of gate or branch is above it.
inline constexpr std::int32_t kLargestBranch = 1 << 30;
/// gated_linear: the factor is a table of the gate from -kGateReach to kGateReach, in steps of
/// 2^-kGateStepBits, between which it is interpolated.
inline constexpr int kGateReach = 16;
inline constexpr int kGateStepBits = 5;
inline constexpr std::size_t kGateEntries = ((2 * kGateReach) << kGateStepBits) + 1;
/// gated_linear: rows of weights are in groups. A group has the gates of so many outputs, then
/// their other branches.
inline constexpr std::size_t kGroupPairs = 32;
/// rotary_linear: fraction bits of q, k and v before they are turned, counted in steps of their
/// codes, and of cosines and sines. No magnitude before the turn is above kLargestUnturned.
inline constexpr int kUnturnedFraction = 14;
inline constexpr int kTurnFraction = 15;
inline constexpr std::int32_t kLargestUnturned = 1 << 29;
/// Sqrt2: fraction bits of an attention weight, and of attention times V.
inline constexpr int kSqrt2Fraction = 20;
inline constexpr int kSqrt2ContextFraction = 12;
/// Relative BitLog2: fraction bits of attention times V behind the division.
inline constexpr int kRelativeContextFraction = 16;
/// Relative BitLog2: the largest tokens * M * |v - value_zero|.
inline constexpr std::int64_t kMaxRelativeSum = std::int64_t{1} << 30;

struct Header {
  std::uint32_t magic;
  std::uint32_t version;
  std::uint32_t data_bytes;    // of all tensors, this program included
  std::uint32_t op_count;      // records of Op behind this header
  std::uint32_t checksum_low;  // of all tensors' bytes, see checksum()
  std::uint32_t checksum_high;
  std::uint32_t image_size;  // side of the input, pixels
  std::uint32_t patch_size;
  std::uint32_t num_classes;
  std::uint32_t attention_kind;           // AttentionKind
  std::uint32_t attention_multiplier;     // BitLog2: M; Sqrt2: 2^bits
  std::uint32_t attention_qmax;           // Sqrt2: the largest code that is kept
  std::uint32_t attention_fraction_bits;  // BitLog2: bits kept below the highest, 0..7
  std::uint32_t attention_nearest;        // BitLog2: 1 rounds to the nearest weight, 0 down
  std::uint32_t reserved[2];              // 0
};
static_assert(sizeof(Header) == 64);

enum class AttentionKind : std::uint32_t {
  sqrt2 = 0,
  bitlog2 = 1,           // weights are probabilities' codes
  relative_bitlog2 = 2,  // weights are the codes of powers; the context is divided by their sum
};

enum class OpKind : std::uint32_t {
  embed = 1,          // pixels -> residual
  layer_norm = 2,     // residual -> codes, or residual -> residual
  linear = 3,         // codes -> codes, residual or logits
  attention = 4,      // qkv codes -> context codes
  mean = 5,           // residual -> codes or residual, averaged over tokens
  gated_linear = 6,   // codes -> codes: a linear layer's outputs, multiplied in pairs
  rotary_linear = 7,  // codes -> codes: q, k and v; q and k of patches are turned
};

/// Where an operation reads and writes. Codes are bytes; `a` and `b` are two buffers of them.
enum class Buffer : std::uint32_t {
  none = 0,
  codes_a = 1,
  codes_b = 2,
  residual = 3,      // replaces the residual stream
  residual_add = 4,  // adds to it, saturating
  logits = 5,
};

/// One operation. Offsets count bytes from the start of the tensors' data; what an operation
/// does not use is 0.
struct Op {
  std::uint32_t kind;         // OpKind
  std::uint32_t source;       // Buffer
  std::uint32_t destination;  // Buffer
  std::uint32_t rows;         // tokens that it writes
  std::uint32_t in_features;
  std::uint32_t out_features;
  std::uint32_t output_qmax;  // the largest code that it writes to codes_a or codes_b

  // output_c = (s_c * multiplier_c + bias_c * 2^bias_shift + 2^(shift-1)) >> shift, where s_c is
  // embed and linear ones: sum_i (w_ci - zero_point_c) * decode[x_i]
  // layer_norm:    n_c, the normalised value
  // mean:          the mean over tokens, behind the first token itself where there are two rows;
  //                one multiplier and bias for all channels
  // attention:     the context; multiplier and bias in the HeadRecord
  // gated_linear has weight_rows() of them, two for each output
  std::uint32_t weight_bits;  // 2..8; up to 4 two to a byte, the lower half first
  std::uint32_t weights;      // U8 [out, ceil(in / 2)] or [out, in]
  std::uint32_t zero_points;  // I16 [out]
  std::uint32_t bias;         // I32 [out]
  std::uint32_t multipliers;  // I32 [out], >= 0 but for layer_norm
  std::uint32_t shift;        // 1..62

  std::uint32_t decode;  // I16 [decode_size]: what an input code stands for
  std::uint32_t decode_size;
  std::uint32_t table;       // U8 [table_size]: codes by what is looked up, see has_code_table()
  std::uint32_t table_size;  // linear, gated_linear: at most 65536; embed: 3 * 256; others: at
                             // most 256

  std::uint32_t positions;  // embed: I16 [tokens, out], added after << position_shift; see also
                            // gate_table() and turns()
  std::uint32_t position_shift;
  std::uint32_t prefix_tokens;  // embed: rows of positions before the patches'; mean: the first
                                // tokens, that are not averaged

  std::uint32_t epsilon_low;  // layer_norm: in_features * eps * 2^(2 * kResidualFraction)
  std::uint32_t epsilon_high;

  std::uint32_t extent;  // size of the tokens that it reads; see merge_grid(), window_grid(),
                         // attended_tokens(), mean_grid() and turned_grid(); or
                         // product_zero()
  std::uint32_t window;  // attention: tokens per side of a window; 0: all tokens
  std::uint32_t window_shift;
  std::uint32_t heads;
  std::uint32_t head_table;  // attention: HeadRecord [heads]; rotary_linear: I32 [3, heads], the
                             // codes of q, k and v that mean 0
  std::uint32_t score_bias;  // attention: I32 [heads, score_biases()], or none
  std::uint32_t score_shift;
  std::uint32_t mask;  // attention: subtracted from scores across regions
  std::uint32_t bias_shift;
  std::uint32_t input_qmax;  // attention: no code that it reads is above it
};
static_assert(sizeof(Op) == 128);

/// Whether outputs are looked up in `table` to become codes. Embed's table is looked up by
/// pixels: it has a code for every pixel value of each channel, [3, 256].
constexpr bool has_code_table(const Op& op) {
  return static_cast<OpKind>(op.kind) != OpKind::embed && op.table != 0;
}

/// layer_norm: tokens per side of the square of tokens, 2x2 of which are merged; 0: none are.
constexpr std::uint32_t merge_grid(const Op& op) {
  return op.extent;
}

/// attention with windows: tokens per side of the square that is cut into windows.
constexpr std::uint32_t window_grid(const Op& op) {
  return op.extent;
}

/// Whether it is an attention operation in which all tokens attend to each other.
constexpr bool attends_everywhere(const Op& op) {
  return static_cast<OpKind>(op.kind) == OpKind::attention && op.window == 0;
}

/// attention without windows: how many tokens are attended to, of which `rows` attend.
constexpr std::uint32_t attended_tokens(const Op& op) {
  return op.extent;
}

/// mean: tokens per side of the square that is averaged.
constexpr std::uint32_t mean_grid(const Op& op) {
  return op.extent;
}

/// gated_linear: I32 [kGateEntries], factors of the gate.
constexpr std::uint32_t gate_table(const Op& op) {
  return op.positions;
}

/// gated_linear: the output for a product of 0, before it is clamped.
constexpr std::int32_t product_zero(const Op& op) {
  return static_cast<std::int32_t>(op.extent);
}

constexpr bool is_gated(const Op& op) {
  return static_cast<OpKind>(op.kind) == OpKind::gated_linear;
}

/// rotary_linear: I32 [turned_grid(), head_dim / 4, 2], cosines and sines. Outputs of q and k are
/// in pairs that are turned together, the first half of a head's pairs by the row of a patch, the
/// others by its column.
constexpr std::uint32_t turns(const Op& op) {
  return op.positions;
}

/// rotary_linear: patches per side of the square of patches, the last tokens, which are turned.
constexpr std::uint32_t turned_grid(const Op& op) {
  return op.extent;
}

constexpr bool is_rotary(const Op& op) {
  return static_cast<OpKind>(op.kind) == OpKind::rotary_linear;
}

/// Whether it is a linear layer of codes, whatever follows.
constexpr bool is_linear(const Op& op) {
  return static_cast<OpKind>(op.kind) == OpKind::linear || is_gated(op) || is_rotary(op);
}

/// Operations with weights: rows of weights, and of what belongs to them.
constexpr std::uint64_t weight_rows(const Op& op) {
  return std::uint64_t{op.out_features} * (is_gated(op) ? 2 : 1);
}

/// attention with a bias and without windows: patches per side of the square of patches behind the
/// class token, to which all others have a distance.
constexpr std::uint32_t biased_grid(const Op& op) {
  std::uint32_t grid = 1;
  while (std::uint64_t{grid} * grid + 1 < attended_tokens(op)) {
    ++grid;
  }
  return grid;
}

/// attention with a bias: how many biases a head has. One for each distance between two tokens of
/// a window; or between two patches, and then those of the class token to a patch, of a patch to
/// it, and of it to itself.
constexpr std::uint64_t score_biases(const Op& op) {
  const std::uint64_t side = op.window != 0 ? op.window : biased_grid(op);
  return (2 * side - 1) * (2 * side - 1) + (op.window != 0 ? 0 : 3);
}

/// attention: tokens that attend to each other, all or those of a window.
constexpr std::size_t group_tokens(const Op& op) {
  return op.window == 0 ? attended_tokens(op) : std::size_t{op.window} * op.window;
}

/// Attention's parameters of one head.
struct HeadRecord {
  std::int32_t query_zero;
  std::int32_t key_zero;
  std::int32_t value_zero;
  // score in log2 units = (sum (q - zero)(k - zero) * score_multiplier) >> score_shift
  std::int32_t score_multiplier;
  // code = (sum of weight * (v - zero) * context_multiplier + context_bias * 2^bias_shift
  //         + 2^(shift-1)) >> shift
  std::int32_t context_bias;
  std::int32_t context_multiplier;
  std::int32_t log2_delta;  // Sqrt2: log2 of its scale, kScoreFraction fraction bits
  std::int32_t reserved;    // 0
};
static_assert(sizeof(HeadRecord) == 32);

}  // namespace bitlog2::runtime
