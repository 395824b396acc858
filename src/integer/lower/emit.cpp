#include "integer/lower/emit.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "base/elementary.h"
#include "bitlog2/error.h"
#include "integer/lower/activation_table.h"
#include "integer/lower/factors.h"
#include "quant/affine.h"

namespace bitlog2::integer {
namespace {

using runtime::Buffer;
using runtime::Op;
using runtime::OpKind;

// The runtime checks these limits, too.
constexpr float kLargestWeightZeroPoint = 4096.0F;
constexpr double kLargestProductZero = 4096;

constexpr double kResidualScale = 1 << runtime::kResidualFraction;

Op make_op(OpKind kind, Buffer source, Buffer destination, std::size_t rows) {
  Op op = {};
  op.kind = static_cast<std::uint32_t>(kind);
  op.source = word(source);
  op.destination = word(destination);
  op.rows = word(rows);
  return op;
}

}  // namespace

ActivationCodes Emitter::codes_at(const std::string& layer, Slot slot, std::size_t head) const {
  return codes_of(quantizers_.at({layer, slot}), head);
}

ActivationCodes Emitter::input_codes(const Linear& layer) const {
  return codes_at(layer.name, Slot::input);
}

/// Weights, biases and multipliers of a layer whose channel c must produce
/// y * forms[c].scale + forms[c].offset from codes of `input`. With `order`, output i of the
/// operation is channel order[i].
void Emitter::set_weights(Op& op, const Linear& layer, const ActivationCodes& input,
                          std::span<const OutputForm> forms, std::span<const std::size_t> order) {
  const auto& weights = std::get<Affine>(quantizers_.at({layer.name, Slot::weight}));
  std::vector<std::uint8_t> codes(layer.weight.size());
  std::vector<std::int16_t> zero_points;
  std::vector<double> offsets;
  std::vector<double> factors;
  for (std::size_t output = 0; output < layer.out_features; ++output) {
    const std::size_t c = order.empty() ? output : order[output];
    const auto row = std::span(layer.weight).subspan(c * layer.in_features, layer.in_features);
    const float zero_point = weights.zero_point[c];
    if (std::fabs(zero_point) > kLargestWeightZeroPoint) {
      throw Error(
          fmt::format("{}: channel {} has weights {} steps away from 0, more than "
                      "integers hold",
                      layer.name, c, zero_point));
    }
    const quant::AffineStep<> step = {weights.scale[c], zero_point, quant::qmax_of(weights.bits)};
    double sum = 0;
    bool is_zero = true;
    for (std::size_t i = 0; i < row.size(); ++i) {
      const float code = step.encode(row[i]);
      if (std::isnan(code)) {
        throw too_large(layer.name, kWeightsAre);
      }
      codes[output * layer.in_features + i] = static_cast<std::uint8_t>(code);
      sum += code - zero_point;
      is_zero = is_zero && row[i] == 0.0F;
    }
    // The real value of 1 in the integer sum. A row of zeros has an arbitrary scale, which must not
    // take bits from the other rows.
    const double unit = is_zero ? 0.0 : input.decoded_scale() * weights.scale[c];
    const double bias = layer.bias.empty() ? 0.0 : layer.bias[c];
    zero_points.push_back(static_cast<std::int16_t>(zero_point));
    factors.push_back(unit * forms[c].scale);
    offsets.push_back(bias * forms[c].scale + forms[c].offset -
                      input.decoded_zero_point() * sum * factors.back());
  }
  const FixedFactors fixed = fix_factors(factors, layer.name);
  const FixedOffsets fixed_offsets = fix_offsets(offsets, fixed.shift, layer.name);
  op.weight_bits = word(static_cast<std::size_t>(weights.bits));
  op.weights = program_.add_codes(layer.name + ".weight", codes, layer.out_features,
                                  layer.in_features, weights.bits);
  op.zero_points = program_.add(layer.name + ".weight_zero_point", zero_points);
  op.bias = program_.add(layer.name + ".bias", fixed_offsets.integers);
  op.bias_shift = fixed_offsets.bias_shift;
  op.multipliers = program_.add(layer.name + ".multiplier", fixed.integers);
  op.shift = fixed.shift;
  op.in_features = word(layer.in_features);
  op.out_features = word(layer.out_features);
  op.decode = input.has_levels() ? program_.add(layer.name + ".decode", input.levels)
                                 : identity_decode(input.qmax);
  op.decode_size = input.qmax + 1;
}

/// A decode table of the codes' own values, shared by all layers with this qmax.
std::uint32_t Emitter::identity_decode(std::uint32_t qmax) {
  std::uint32_t& tensor = decode_tables_[qmax];
  if (tensor == 0) {
    std::vector<std::int16_t> values(qmax + 1);
    for (std::size_t i = 0; i < values.size(); ++i) {
      values[i] = static_cast<std::int16_t>(i);
    }
    tensor = program_.add(fmt::format("decode.{}", qmax + 1), values);
  }
  return tensor;
}

/// The code of every pixel value, channel by channel. In float32, in the order in which the
/// simulated engine computes it.
std::vector<std::uint8_t> Emitter::pixel_table(const Affine& quantizer,
                                               const ActivationCodes& codes) const {
  const Preprocessing& preprocessing = model_.config.preprocessing;
  const quant::AffineStep<> step = {quantizer.scale[0], static_cast<float>(codes.zero_point),
                                    static_cast<float>(codes.qmax)};
  std::vector<std::uint8_t> table;
  for (std::size_t channel = 0; channel < 3; ++channel) {
    for (int pixel = 0; pixel < 256; ++pixel) {
      const float value = (static_cast<float>(pixel) / 255.0F - preprocessing.mean[channel]) /
                          preprocessing.std[channel];
      table.push_back(static_cast<std::uint8_t>(step.encode(value)));
    }
  }
  return table;
}

void Emitter::embed(const Linear& projection, std::size_t rows, std::span<const double> positions,
                    std::size_t prefix) {
  const auto& input = std::get<Affine>(quantizers_.at({projection.name, Slot::input}));
  const ActivationCodes codes = codes_of(Quantizer(input));
  const std::vector<std::uint8_t> table = pixel_table(input, codes);
  Op op = make_op(OpKind::embed, Buffer::none, Buffer::residual, rows);
  set_weights(op, projection, codes,
              std::vector<OutputForm>(projection.out_features, {kResidualScale, 0}));
  op.table = program_.add(projection.name + ".pixel_table", table);
  op.table_size = word(table.size());
  if (!positions.empty()) {
    set_positions(op, positions);
  }
  op.prefix_tokens = word(prefix);
  program_.add_op(op, projection.name);
}

void Emitter::set_positions(Op& op, std::span<const double> positions) {
  constexpr int kMostShift = 16;
  const std::string name = "pos_embed";
  const double largest = largest_magnitude(positions, name, "it is") * kResidualScale;
  // 16 bits each; the shift gives them the residual stream's fraction bits.
  const int excess = largest > 0 ? std::ilogb(largest) - 14 : 0;
  if (excess > kMostShift) {
    throw too_large(name, "it is");
  }
  op.position_shift = word(static_cast<std::size_t>(std::max(excess, 0)));
  std::vector<std::int16_t> values;
  for (const double value : positions) {
    const double scaled = std::ldexp(value * kResidualScale, -static_cast<int>(op.position_shift));
    values.push_back(
        static_cast<std::int16_t>(std::clamp(std::nearbyint(scaled), -32767.0, 32767.0)));
  }
  op.positions = program_.add(name, values);
}

Op Emitter::norm_op(const NormStep& step, Buffer destination, const OutputForm& form) {
  const LayerNorm& norm = *step.norm;
  std::vector<double> factors;
  std::vector<double> offsets;
  for (std::size_t c = 0; c < norm.channels; ++c) {
    // The normalised value has kNormFraction fraction bits of its own.
    factors.push_back(std::ldexp(norm.gamma[c] * form.scale, -runtime::kNormFraction));
    offsets.push_back(norm.beta[c] * form.scale + form.offset);
  }
  const FixedFactors fixed = fix_factors(factors, norm.name);
  const FixedOffsets fixed_offsets = fix_offsets(offsets, fixed.shift, norm.name);
  const double epsilon = static_cast<double>(norm.eps) * static_cast<double>(norm.channels) *
                         kResidualScale * kResidualScale;
  if (!(epsilon < 0x1p60)) {
    throw too_large(norm.name, "its epsilon is");
  }
  const auto whole_epsilon = static_cast<std::uint64_t>(epsilon);
  Op op = make_op(OpKind::layer_norm, Buffer::residual, destination, step.rows);
  op.in_features = word(norm.channels);
  op.out_features = word(norm.channels);
  op.extent = word(step.merge_grid);
  op.multipliers = program_.add(norm.name + ".multiplier", fixed.integers);
  op.bias = program_.add(norm.name + ".offset", fixed_offsets.integers);
  op.bias_shift = fixed_offsets.bias_shift;
  op.shift = fixed.shift;
  op.epsilon_low = static_cast<std::uint32_t>(whole_epsilon);
  op.epsilon_high = static_cast<std::uint32_t>(whole_epsilon >> 32);
  return op;
}

void Emitter::norm_to_codes(const NormStep& step, const ActivationCodes& output) {
  Op op = norm_op(step, Buffer::codes_a, {1 / output.scale, output.zero_point});
  set_output(op, output, step.norm->name);
  program_.add_op(op, step.norm->name);
}

void Emitter::norm_to_residual(const NormStep& step) {
  program_.add_op(norm_op(step, Buffer::residual, {kResidualScale, 0}), step.norm->name);
}

/// The codes that an operation writes.
void Emitter::set_output(Op& op, const ActivationCodes& codes, const std::string& name) {
  op.output_qmax = codes.qmax;
  if (!codes.table.empty()) {
    op.table = program_.add(name + ".code_table", codes.table);
    op.table_size = word(codes.table.size());
  }
}

Op Emitter::linear_op(const LinearStep& step, Buffer destination,
                      std::span<const OutputForm> forms) {
  Op op = make_op(OpKind::linear, step.source, destination, step.rows);
  set_weights(op, *step.layer, step.input, forms);
  return op;
}

void Emitter::linear(const LinearStep& step, Buffer destination) {
  const double scale =
      destination == Buffer::logits ? 1 << runtime::kLogitFraction : kResidualScale;
  const std::vector<OutputForm> forms(step.layer->out_features, {scale, 0});
  program_.add_op(linear_op(step, destination, forms), step.layer->name);
}

/// The layer's rescaled sums index a table that has the next layer's input codes.
void Emitter::linear_and_activation(const LinearStep& step, Activation function,
                                    const ActivationCodes& output) {
  const ActivationTable table = activation_table(function, output);
  const Linear& layer = *step.layer;
  const std::vector<OutputForm> forms(layer.out_features,
                                      {1 / table.interval, -table.low / table.interval});
  Op op = linear_op(step, Buffer::codes_b, forms);
  op.output_qmax = output.qmax;
  op.table = program_.add(layer.name + std::string(table_suffix(function)), table.codes);
  op.table_size = word(table.codes.size());
  program_.add_op(op, layer.name);
}

/// The factors of gates from -kGateReach to kGateReach: SiLU(x) is x times the sigmoid.
std::uint32_t Emitter::sigmoid_table() {
  if (gate_table_ == 0) {
    std::vector<std::int32_t> factors;
    factors.reserve(runtime::kGateEntries);
    for (std::size_t i = 0; i < runtime::kGateEntries; ++i) {
      const double x = std::ldexp(static_cast<double>(i), -runtime::kGateStepBits) -
                       static_cast<double>(runtime::kGateReach);
      const double sigmoid = 1 / (1 + elementary::exp(-x));
      factors.push_back(static_cast<std::int32_t>(
          std::nearbyint(std::ldexp(sigmoid, runtime::kGateFactorFraction))));
    }
    gate_table_ = program_.add("sigmoid", factors);
  }
  return gate_table_;
}

/// The gate has a form of its own. The branch is counted in steps of the output, so that the
/// product needs no multiplier.
void Emitter::gated_linear(const LinearStep& step, const ActivationCodes& output) {
  const Linear& layer = *step.layer;
  const std::size_t pairs = layer.out_features / 2;
  // Codes that are not evenly spaced are looked up by steps that are.
  const ActivationTable table = output.has_levels() ? step_table(output) : ActivationTable();
  const double interval = output.has_levels() ? table.interval : output.scale;
  const double zero = output.has_levels() ? -table.low / table.interval : output.zero_point;
  std::vector<OutputForm> forms(layer.out_features, {std::ldexp(1, runtime::kGateFraction), 0});
  std::fill(forms.begin() + static_cast<std::ptrdiff_t>(pairs), forms.end(),
            OutputForm{std::ldexp(1 / interval, runtime::kBranchFraction), 0});
  std::vector<std::size_t> order;
  order.reserve(layer.out_features);
  for (std::size_t first = 0; first < pairs; first += runtime::kGroupPairs) {
    const std::size_t end = std::min(first + runtime::kGroupPairs, pairs);
    for (const std::size_t half : {std::size_t{0}, pairs}) {
      for (std::size_t c = first; c < end; ++c) {
        order.push_back(half + c);
      }
    }
  }
  Op op = make_op(OpKind::gated_linear, step.source, Buffer::codes_b, step.rows);
  set_weights(op, layer, step.input, forms, order);
  op.out_features = word(pairs);
  op.positions = sigmoid_table();
  op.extent = static_cast<std::uint32_t>(
      to_bounded(zero, kLargestProductZero, layer.name, "the zero point of its product is"));
  if (output.has_levels()) {
    op.output_qmax = output.qmax;
    op.table = program_.add(layer.name + ".code_table", table.codes);
    op.table_size = word(table.codes.size());
  } else {
    set_output(op, output, layer.name);
  }
  program_.add_op(op, layer.name);
}

Op Emitter::mean_op(const MeanStep& step, Buffer destination, const OutputForm& form) {
  const std::string name = "mean";
  const double factor = form.scale / kResidualScale;
  const FixedFactors fixed = fix_factors(std::span(&factor, 1), name);
  const FixedOffsets offset = fix_offsets(std::span(&form.offset, 1), fixed.shift, name);
  Op op = make_op(OpKind::mean, Buffer::residual, destination, step.rows);
  op.in_features = word(step.channels);
  op.out_features = word(step.channels);
  op.prefix_tokens = word(step.prefix);
  op.extent = word(step.grid);
  op.multipliers = program_.add(name + ".multiplier", fixed.integers);
  op.bias = program_.add(name + ".bias", offset.integers);
  op.bias_shift = offset.bias_shift;
  op.shift = fixed.shift;
  return op;
}

void Emitter::mean_to_codes(const MeanStep& step, const ActivationCodes& output) {
  Op op = mean_op(step, Buffer::codes_a, {1 / output.scale, output.zero_point});
  set_output(op, output, "mean");
  program_.add_op(op, "mean");
}

void Emitter::mean_to_residual(const MeanStep& step) {
  program_.add_op(mean_op(step, Buffer::residual, {kResidualScale, 0}), "mean");
}

}  // namespace bitlog2::integer
