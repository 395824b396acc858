// The operations that take the time, behind one interface: every instruction set's file
// implements these, and all give the same bits.
#pragma once

#include <cstddef>
#include <cstdint>

#include "../program.h"

namespace bitlog2::runtime {

/// sums[r] = sum_i weights[i] * inputs[r * count + i], r in [0, rows). No sum overflows.
void dot_rows(const std::int16_t* weights, const std::int16_t* inputs, std::size_t rows,
              std::size_t count, std::int32_t* sums);

/// row[i] = code_i - zero_point, from packed codes.
void unpack_weights(const std::uint8_t* packed, std::size_t count, unsigned bits,
                    std::int32_t zero_point, std::int16_t* row);

/// How probabilities become shifts.
struct AttentionRule {
  AttentionKind kind;
  std::uint32_t multiplier;
  std::uint32_t top;
};

/// Softmax and the attention map's quantization of one row, then attention times V.
///  scores [tokens]: log2 units with 16 fraction bits; overwritten
///  values [tokens, head_dim]: v - zero
///  context [head_dim]: BitLog2: sum of m^ * v; Sqrt2: sum of p^ / delta * v, with
///    kSqrt2ContextFraction fraction bits
void attend(const AttentionRule& rule, std::int32_t log2_delta, std::int32_t* scores,
            std::size_t tokens, const std::int16_t* values, std::size_t head_dim,
            std::int64_t* context);

}  // namespace bitlog2::runtime
