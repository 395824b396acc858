// Writes a program's operations: for a layer of the model, the record and the tensors with which
// the runtime computes it (docs/integer-inference.md has the equations). The caller (ops.h) decides
// the order of operations and the form of their outputs.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "bitlog2/quantized_model.h"
#include "integer/lower/activation_codes.h"
#include "integer/program_builder.h"
#include "integer/runtime/program.h"

namespace bitlog2::integer {

/// A size as a field of an operation.
constexpr std::uint32_t word(std::size_t size) {
  return static_cast<std::uint32_t>(size);
}
constexpr std::uint32_t word(runtime::Buffer buffer) {
  return static_cast<std::uint32_t>(buffer);
}

/// The largest side of a square of at most `tokens` tokens.
std::size_t side_of_square(std::size_t tokens);

/// Whether tokens attend within windows of a square of tokens. A relative position bias alone is no
/// sign of windows.
bool has_windows(const Attention& attention);

/// A LayerNorm over `rows` tokens of the residual stream.
struct NormStep {
  const LayerNorm* norm = nullptr;
  std::size_t rows = 0;
  std::size_t merge_grid =
      0;  ///< tokens per side of a square, of which 2x2 are merged to one row; 0: no merging
};

/// A linear layer over `rows` tokens, which are codes in `source`.
struct LinearStep {
  const Linear* layer = nullptr;
  runtime::Buffer source = runtime::Buffer::codes_a;
  ActivationCodes input;
  std::size_t rows = 0;
};

/// Attention of the first `rows` tokens to `attended` tokens.
struct AttentionStep {
  const Attention* attention = nullptr;
  std::size_t attended = 0;
  std::size_t rows = 0;
};

/// The mean over grid x grid tokens behind the first `prefix` tokens: one row; or two rows, the
/// first token and the mean.
struct MeanStep {
  std::size_t prefix = 0;
  std::size_t grid = 0;
  std::size_t channels = 0;
  std::size_t rows = 1;
};

/// The integer form of a layer's real output y: y * scale + offset.
struct OutputForm {
  double scale = 1;
  double offset = 0;
};

class Emitter {
 public:
  Emitter(const QuantizedModel& quantized, ProgramBuilder& program)
      : model_(quantized.model), quantizers_(quantized.quantizers), program_(program) {}

  /// The codes of a layer's input.
  ActivationCodes input_codes(const Linear& layer) const;

  /// Pixels to the residual stream. `positions` [rows, out], if not empty, are added. The first
  /// `prefix` rows are only their positions.
  void embed(const Linear& projection, std::size_t rows, std::span<const double> positions,
             std::size_t prefix);

  /// LayerNorm of the residual stream, to codes_a or to the residual stream itself.
  void norm_to_codes(const NormStep& step, const ActivationCodes& output);
  void norm_to_residual(const NormStep& step);

  /// A layer's output to the residual stream, added to it, or to the logits.
  void linear(const LinearStep& step, runtime::Buffer destination);

  /// q, k and v to codes_b, each as codes of its own quantizer.
  void qkv(const LinearStep& step, const Attention& attention);

  /// A layer and the activation function behind it, to codes_b.
  void linear_and_activation(const LinearStep& step, Activation function,
                             const ActivationCodes& output);

  /// A layer and the product of its outputs' halves, the first one gated (swiglu), to codes_b.
  void gated_linear(const LinearStep& step, const ActivationCodes& output);

  /// q, k and v in codes_b to contexts in codes_a.
  void attention(const AttentionStep& step, const ActivationCodes& output);

  /// The mean of the residual stream, to codes_a or, if it is one row, to the residual stream
  /// itself.
  void mean_to_codes(const MeanStep& step, const ActivationCodes& output);
  void mean_to_residual(const MeanStep& step);

 private:
  struct OperandCodes {
    ActivationCodes query;
    ActivationCodes key;
    ActivationCodes value;
  };

  ActivationCodes codes_at(const std::string& layer, Slot slot, std::size_t head = 0) const;
  OperandCodes operand_codes(const Attention& attention, std::size_t head) const;

  void set_weights(runtime::Op& op, const Linear& layer, const ActivationCodes& input,
                   std::span<const OutputForm> forms, std::span<const std::size_t> order = {});
  std::uint32_t identity_decode(std::uint32_t qmax);
  std::uint32_t sigmoid_table();
  std::uint32_t turn_table(const Attention& attention);
  void rotary_qkv(const LinearStep& step, const Attention& attention);
  std::vector<std::uint8_t> pixel_table(const Affine& quantizer,
                                        const ActivationCodes& codes) const;
  void set_positions(runtime::Op& op, std::span<const double> positions);
  void set_output(runtime::Op& op, const ActivationCodes& codes, const std::string& name);
  runtime::Op norm_op(const NormStep& step, runtime::Buffer destination, const OutputForm& form);
  runtime::Op mean_op(const MeanStep& step, runtime::Buffer destination, const OutputForm& form);
  runtime::Op linear_op(const LinearStep& step, runtime::Buffer destination,
                        std::span<const OutputForm> forms);
  void set_heads(runtime::Op& op, const Attention& attention, const ActivationCodes& output);
  void set_score_bias(runtime::Op& op, const Attention& attention);

  const Model& model_;
  const Quantizers& quantizers_;
  ProgramBuilder& program_;
  std::map<std::uint32_t, std::uint32_t> decode_tables_;
  std::uint32_t gate_table_ = 0;  // shared by all layers, as the next one
  std::uint32_t turn_table_ = 0;
};

}  // namespace bitlog2::integer
