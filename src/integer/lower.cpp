// Lowering: the forward pass over an arithmetic that computes nothing and writes down, for
// every layer, the integers with which the runtime will compute it (docs/integer-inference.md
// has the equations). A layer's output form depends on who reads it, so every operation is
// held back until its reader is known.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <numbers>
#include <optional>
#include <set>
#include <variant>

#include "bitlog2/error.h"
#include "bitlog2/integer.h"
#include "integer/program_builder.h"
#include "model/forward.h"
#include "quant/affine.h"
#include "quant/attention/scheme.h"

namespace bitlog2 {
namespace {

using integer::ProgramBuilder;
using runtime::HeadRecord;
using runtime::Op;
using runtime::OpKind;
using runtime::Place;

// Limits of zero points; the runtime checks them, too.
constexpr float kLargestZeroPoint = 4096.0F;
constexpr double kLargestValueZero = 512;
constexpr std::size_t kGeluTableSize = 4096;
constexpr std::size_t kFineGeluTableSize = 32768;  // for codes of 7 and 8 bits

std::uint32_t word(std::size_t value) {
  return static_cast<std::uint32_t>(value);
}

std::uint32_t word(Place place) {
  return static_cast<std::uint32_t>(place);
}

constexpr std::string_view kWeightsAre = "its weights or the scales around it are";

/// What refuses a number instead of cutting it off: `what` says which numbers of the layer.
Error too_large(const std::string& layer, std::string_view what) {
  return Error(fmt::format("{}: {} too large for integers", layer, what));
}

/// `value` is known to be within range.
std::int32_t to_int32(double value) {
  return static_cast<std::int32_t>(std::nearbyint(value));
}

/// As to_int32, of a value whose magnitude may be at most `limit`.
std::int32_t to_bounded(double value, double limit, const std::string& layer,
                        std::string_view what) {
  if (!(std::fabs(value) <= limit)) {
    throw too_large(layer, what);
  }
  return to_int32(value);
}

/// The largest magnitude of `values`, all of which must be numbers.
double largest_magnitude(std::span<const double> values, const std::string& layer,
                         std::string_view what) {
  double largest = 0;
  for (const double value : values) {
    if (!std::isfinite(value)) {
      throw too_large(layer, what);
    }
    largest = std::max(largest, std::fabs(value));
  }
  return largest;
}

/// What codes stand for. Whoever writes one makes clamp(round(x / scale) + zero, 0, top) of x, and
/// the table's entry for that, or the nearest level; to who reads it, it is (code - zero) * scale,
/// or levels[code] * level_scale.
struct CodeGrid {
  double scale = 1;
  double zero = 0;
  std::uint32_t top = 15;
  std::vector<std::int16_t> levels = {};  // none, or one for each code
  double level_scale = 1;
  std::vector<std::uint8_t> table = {};  // none, or one for each code, and itself one

  double largest() const {
    return levels.empty() ? (static_cast<double>(top) - zero) * scale : levels.back() * level_scale;
  }
  /// How many codes there are.
  std::size_t count() const {
    return table.empty() ? std::size_t{top} + 1
                         : std::set<std::uint8_t>(table.begin(), table.end()).size();
  }
  /// The code of a real value, of the nearest level where there are levels.
  std::uint8_t code_of(double x) const {
    if (levels.empty()) {
      const quant::AffineStep<double> step = {scale, zero, static_cast<double>(top)};
      const auto code = static_cast<std::uint8_t>(step.encode(x));
      return table.empty() ? code : table[code];
    }
    std::uint8_t code = 0;
    while (code < top && 2 * x / level_scale > levels[code] + levels[code + 1U]) {
      ++code;
    }
    return code;
  }
};

/// A uniform grid whose zero point is not whole, as scale reparameterization leaves it: its inner
/// values are whole steps, its two ends lie between them, so that it has 2^bits + 1 values. Codes
/// count them; `fineness` levels make a step.
CodeGrid grid_with_ends(double scale, double zero, std::uint32_t top, std::uint32_t fineness) {
  CodeGrid grid = {scale, std::ceil(zero), top + 1, {}, scale / fineness};
  const auto lowest = static_cast<std::int16_t>(std::rint(-zero * fineness));
  for (std::uint32_t code = 0; code <= grid.top; ++code) {
    const double whole = static_cast<double>(code) - grid.zero;
    grid.levels.push_back(static_cast<std::int16_t>(whole * fineness));
  }
  grid.levels.front() = lowest;
  grid.levels.back() =
      static_cast<std::int16_t>(lowest + static_cast<std::int32_t>(fineness * top));
  return grid;
}

/// `channel` is a head for q, k and v that have a quantizer per head.
CodeGrid grid_of(const Affine& quantizer, std::size_t channel = 0) {
  const std::size_t i = quantizer.scale.size() > 1 ? channel : 0;
  const double scale = quantizer.scale[i];
  const double zero = quantizer.zero_point[i];
  const std::uint32_t top = (1U << quantizer.bits) - 1U;
  constexpr std::uint32_t kSpan = 255;  // of levels, that the runtime takes
  const std::uint32_t fineness = kSpan / top;
  // Codes of 8 bits leave no room for finer levels.
  const bool has_ends =
      zero != std::rint(zero) && fineness > 1 &&
      (std::fabs(zero) + top) * fineness < std::numeric_limits<std::int16_t>::max();
  return has_ends ? grid_with_ends(scale, zero, top, fineness)
                  : CodeGrid{scale, std::rint(zero), top};
}

CodeGrid grid_of(const Codebook& quantizer) {
  if (quantizer.begins.empty()) {
    return {quantizer.scale, 0, static_cast<std::uint32_t>(quantizer.levels.size() - 1),
            quantizer.levels, quantizer.scale};
  }
  // Codes are the bytes with which weights are multiplied: steps from the first level on.
  const std::int16_t first = quantizer.levels.front();
  const std::vector<std::int16_t> levels = levels_of_steps(quantizer);
  CodeGrid grid = {quantizer.scale, -static_cast<double>(first),
                   static_cast<std::uint32_t>(levels.size() - 1)};
  for (const std::int16_t level : levels) {
    grid.table.push_back(static_cast<std::uint8_t>(level - first));
  }
  return grid;
}

CodeGrid grid_of(const Quantizer& quantizer, std::size_t channel = 0) {
  const auto* codebook = std::get_if<Codebook>(&quantizer);
  return codebook != nullptr ? grid_of(*codebook) : grid_of(std::get<Affine>(quantizer), channel);
}

/// What a layer's real output y becomes: the integer y * scale + offset.
struct OutputForm {
  double scale = 1;
  double offset = 0;
};

double gelu(double x) {
  return x / 2 * (1 + std::erf(x / std::numbers::sqrt2));
}

/// Integer factors for real ones, with one shift for all: factor ~ integer / 2^shift.
struct FixedFactors {
  std::vector<std::int32_t> integers;
  unsigned shift = 1;
};

FixedFactors fix(std::span<const double> factors, const std::string& layer) {
  const double largest = largest_magnitude(factors, layer, kWeightsAre);
  FixedFactors fixed;
  // The largest gets 30 bits.
  const int exponent = largest > 0 ? std::ilogb(largest) : 0;
  if (exponent > 28) {
    throw too_large(layer, kWeightsAre);
  }
  fixed.shift = static_cast<unsigned>(std::min(29 - exponent, 62));
  for (const double factor : factors) {
    fixed.integers.push_back(to_int32(std::ldexp(factor, static_cast<int>(fixed.shift))));
  }
  return fixed;
}

/// Offsets of outputs, to be added before the factors' shift: offset ~ integer / 2^(shift - up).
struct FixedOffsets {
  std::vector<std::int32_t> integers;
  unsigned up = 0;
};

/// `shift` fraction bits where 31 bits suffice for the largest offset, else fewer.
FixedOffsets fix_offsets(std::span<const double> offsets, unsigned shift,
                         const std::string& layer) {
  constexpr unsigned kMost = 30;  // that the runtime takes
  constexpr std::string_view kWhat = "its bias is";
  const double largest =
      std::ldexp(largest_magnitude(offsets, layer, kWhat), static_cast<int>(shift));
  FixedOffsets fixed;
  const int excess = largest > 0 ? std::ilogb(largest) - 29 : 0;
  fixed.up = static_cast<unsigned>(std::max(excess, 0));
  if (fixed.up > kMost) {
    throw too_large(layer, kWhat);
  }
  for (const double offset : offsets) {
    fixed.integers.push_back(
        to_int32(std::ldexp(offset, static_cast<int>(shift) - static_cast<int>(fixed.up))));
  }
  return fixed;
}

class LoweringOps {
 public:
  /// A place in the network; what it holds is known when it is read.
  struct Tensor {
    std::size_t tokens = 0;
    std::size_t channels = 0;
  };

  LoweringOps(const QuantizedModel& quantized, ProgramBuilder& program)
      : model_(quantized.model), quantizers_(quantized.quantizers), program_(program) {}

  Tensor embed_patches(const Linear& projection) {
    const std::size_t grid = model_.config.img_size / model_.config.patch_size;
    pending_ = Embedding{&projection};
    return {grid * grid, projection.out_features};
  }

  Tensor add_positions(std::span<const float> cls_token, std::span<const float> pos_embed,
                       const Tensor& patches) {
    const Tensor result = {patches.tokens + 1, patches.channels};
    std::vector<double> positions(pos_embed.begin(), pos_embed.end());
    for (std::size_t c = 0; c < cls_token.size(); ++c) {
      positions[c] += cls_token[c];
    }
    emit_embedding(std::get<Embedding>(pending_), result, positions);
    pending_ = std::monostate();
    return result;
  }

  Tensor layer_norm(const LayerNorm& norm, const Tensor& x) {
    Norm next = {&norm, 0, x};
    if (const auto* merging = std::get_if<Merging>(&pending_)) {
      next.merged_grid = merging->grid;
    } else if (!std::holds_alternative<FirstToken>(pending_)) {
      settle(x);
    }
    pending_ = next;
    return x;
  }

  Tensor linear(const Linear& layer, const Tensor& x) {
    const CodeGrid codes = input_grid(layer);
    Place source = Place::codes_a;
    if (const auto* norm = std::get_if<Norm>(&pending_)) {
      Op op = norm_op(*norm, Place::codes_a, {1 / codes.scale, codes.zero});
      set_output(op, codes, norm->norm->name);
      program_.add_op(op, norm->norm->name);
    } else if (const auto* attended = std::get_if<Attended>(&pending_)) {
      emit_attention(*attended, codes);
    } else if (const auto* activated = std::get_if<Activated>(&pending_)) {
      emit_gelu(*activated, codes);
      source = Place::codes_b;
    } else if (const auto* mean = std::get_if<Mean>(&pending_)) {
      emit_mean(*mean, codes);
    } else {
      throw Error(fmt::format("{}: no integer form for its input", layer.name));
    }
    pending_ = Product{&layer, source, codes, x};
    return {x.tokens, layer.out_features};
  }

  Tensor attention(const Attention& attn, const Tensor& qkv) {
    const auto product = std::get<Product>(pending_);
    emit_qkv(product, attn);
    const Tensor result = {qkv.tokens, qkv.channels / 3};
    pending_ = Attended{&attn, qkv.tokens, result};
    return result;
  }

  Tensor gelu(const Tensor& x) {
    pending_ = Activated{std::get<Product>(pending_)};
    return x;
  }

  Tensor add(const Tensor& x, const Tensor&) {
    emit_product(std::get<Product>(pending_), Place::residual_add);
    pending_ = std::monostate();
    return x;
  }

  Tensor merge_patches(std::size_t grid, const Tensor& x) {
    settle(x);
    pending_ = Merging{grid};
    return {x.tokens / 4, x.channels * 4};
  }

  /// Of the last block only the class token is read.
  static bool drops_unread_tokens() { return true; }

  Tensor class_token(const Tensor& x) {
    if (auto* attended = std::get_if<Attended>(&pending_)) {
      attended->shape.tokens = 1;
      return {1, x.channels};
    }
    settle(x);
    pending_ = FirstToken();
    return {1, x.channels};
  }

  Tensor mean_of_tokens(const Tensor& x) {
    settle(x);
    pending_ = Mean{x};
    return {1, x.channels};
  }

  /// The head's logits.
  void finish() {
    emit_product(std::get<Product>(pending_), Place::logits);
    pending_ = std::monostate();
  }

 private:
  // What was computed last and not yet written down.
  struct Embedding {
    const Linear* projection;
  };
  struct Norm {
    const LayerNorm* norm;
    std::size_t merged_grid;
    Tensor shape;
  };
  struct Product {
    const Linear* layer;
    Place source;
    CodeGrid input;
    Tensor shape;  // of its input
  };
  struct Attended {
    const Attention* attn;
    std::size_t attended_tokens;
    Tensor shape;
  };
  struct Activated {
    Product product;
  };
  struct Merging {
    std::size_t grid;
  };
  struct FirstToken {};
  struct Mean {
    Tensor shape;
  };
  using Pending = std::variant<std::monostate, Embedding, Norm, Product, Attended, Activated,
                               Merging, FirstToken, Mean>;

  static constexpr double kResidualScale = 1 << runtime::kResidualFraction;

  template <class Kind>
  const Kind& quantizer(const std::string& layer, Slot slot) const {
    return std::get<Kind>(quantizers_.at({layer, slot}));
  }

  CodeGrid input_grid(const Linear& layer) const {
    return grid_of(quantizers_.at({layer.name, Slot::input}));
  }

  struct OperandGrids {
    CodeGrid query;
    CodeGrid key;
    CodeGrid value;
  };

  /// Of one head. They share one table.
  OperandGrids operand_grids(const Attention& attn, std::size_t head) const {
    return {grid_of(quantizers_.at({attn.name, Slot::query}), head),
            grid_of(quantizers_.at({attn.name, Slot::key}), head),
            grid_of(quantizers_.at({attn.name, Slot::value}), head)};
  }

  /// Brings what is pending into the residual stream.
  void settle(const Tensor& x) {
    if (const auto* embedding = std::get_if<Embedding>(&pending_)) {
      emit_embedding(*embedding, x, {});
    } else if (const auto* norm = std::get_if<Norm>(&pending_)) {
      program_.add_op(norm_op(*norm, Place::residual, {kResidualScale, 0}), norm->norm->name);
    } else if (const auto* product = std::get_if<Product>(&pending_)) {
      emit_product(*product, Place::residual);
    }
    pending_ = std::monostate();
  }

  /// Weights, biases and multipliers of a layer whose channel c must produce
  /// y * forms[c].scale + forms[c].offset from input codes on `input`.
  void set_weights(Op& op, const Linear& layer, const CodeGrid& input,
                   std::span<const OutputForm> forms) {
    const auto& weights = quantizer<Affine>(layer.name, Slot::weight);
    std::vector<std::uint8_t> codes(layer.weight.size());
    std::vector<std::int16_t> zero_points;
    std::vector<double> offsets;
    std::vector<double> factors;
    for (std::size_t c = 0; c < layer.out_features; ++c) {
      const auto row = std::span(layer.weight).subspan(c * layer.in_features, layer.in_features);
      const float zero = weights.zero_point[c];
      if (std::fabs(zero) > kLargestZeroPoint) {
        throw Error(
            fmt::format("{}: channel {} has weights {} steps away from 0, more than "
                        "integers hold",
                        layer.name, c, zero));
      }
      const quant::AffineStep<> step = {weights.scale[c], zero, quant::qmax_of(weights.bits)};
      double sum = 0;
      for (std::size_t i = 0; i < row.size(); ++i) {
        const float code = step.encode(row[i]);
        if (std::isnan(code)) {
          throw too_large(layer.name, kWeightsAre);
        }
        codes[c * layer.in_features + i] = static_cast<std::uint8_t>(code);
        sum += code - zero;
      }
      // One step of the integer sum.
      const double unit =
          (input.levels.empty() ? input.scale : input.level_scale) * weights.scale[c];
      const double bias = layer.bias.empty() ? 0.0 : layer.bias[c];
      zero_points.push_back(static_cast<std::int16_t>(zero));
      factors.push_back(unit * forms[c].scale);
      offsets.push_back(bias * forms[c].scale + forms[c].offset -
                        (input.levels.empty() ? input.zero : 0.0) * sum * factors.back());
    }
    const FixedFactors fixed = fix(factors, layer.name);
    const FixedOffsets fixed_offsets = fix_offsets(offsets, fixed.shift, layer.name);
    op.weight_bits = word(static_cast<std::size_t>(weights.bits));
    op.weights = program_.add_codes(layer.name + ".weight", codes, layer.out_features,
                                    layer.in_features, weights.bits);
    op.zero_points = program_.add(layer.name + ".weight_zero_point", zero_points);
    op.bias = program_.add(layer.name + ".bias", fixed_offsets.integers);
    op.bias_shift = fixed_offsets.up;
    op.multipliers = program_.add(layer.name + ".multiplier", fixed.integers);
    op.shift = fixed.shift;
    op.in_features = word(layer.in_features);
    op.out_features = word(layer.out_features);
    op.decode = input.levels.empty() ? identity_decode(input.top)
                                     : program_.add(layer.name + ".decode", input.levels);
    op.decode_size = input.top + 1;
  }

  /// The codes' own values, shared by all layers of the same width.
  std::uint32_t identity_decode(std::uint32_t top) {
    std::uint32_t& tensor = decode_tables_[top];
    if (tensor == 0) {
      std::vector<std::int16_t> values(top + 1);
      for (std::size_t i = 0; i < values.size(); ++i) {
        values[i] = static_cast<std::int16_t>(i);
      }
      tensor = program_.add(fmt::format("decode.{}", top + 1), values);
    }
    return tensor;
  }

  void emit_embedding(const Embedding& embedding, const Tensor& result,
                      std::span<const double> positions) {
    const Linear& layer = *embedding.projection;
    const Preprocessing& preprocessing = model_.config.preprocessing;
    const auto& input = quantizer<Affine>(layer.name, Slot::input);
    const CodeGrid grid = grid_of(input);
    const quant::AffineStep<> step = {input.scale[0], static_cast<float>(grid.zero),
                                      static_cast<float>(grid.top)};
    std::vector<std::uint8_t> table;
    for (std::size_t channel = 0; channel < 3; ++channel) {
      for (int pixel = 0; pixel < 256; ++pixel) {
        // In float32, in the order in which the simulated engine computes it.
        const float value = (static_cast<float>(pixel) / 255.0F - preprocessing.mean[channel]) /
                            preprocessing.std[channel];
        table.push_back(static_cast<std::uint8_t>(step.encode(value)));
      }
    }
    Op op = {};
    op.kind = static_cast<std::uint32_t>(OpKind::embed);
    op.destination = word(Place::residual);
    op.rows = word(result.tokens);
    set_weights(op, layer, grid, std::vector<OutputForm>(layer.out_features, {kResidualScale, 0}));
    op.table = program_.add(layer.name + ".pixel_table", table);
    op.table_size = word(table.size());
    if (!positions.empty()) {
      set_positions(op, positions);
    }
    program_.add_op(op, layer.name);
  }

  void set_positions(Op& op, std::span<const double> positions) {
    constexpr int kMostShift = 16;
    const std::string name = "pos_embed";
    const double largest = largest_magnitude(positions, name, "it is") * kResidualScale;
    // 16 bits each; the shift brings them to the residual stream's fraction.
    const int excess = largest > 0 ? std::ilogb(largest) - 14 : 0;
    if (excess > kMostShift) {
      throw too_large(name, "it is");
    }
    op.position_shift = word(static_cast<std::size_t>(std::max(excess, 0)));
    std::vector<std::int16_t> values;
    for (const double value : positions) {
      const double scaled =
          std::ldexp(value * kResidualScale, -static_cast<int>(op.position_shift));
      values.push_back(
          static_cast<std::int16_t>(std::clamp(std::nearbyint(scaled), -32767.0, 32767.0)));
    }
    op.positions = program_.add(name, values);
    op.class_token = 1;
  }

  Op norm_op(const Norm& pending, Place destination, const OutputForm& form) {
    const LayerNorm& norm = *pending.norm;
    std::vector<double> factors;
    std::vector<double> offsets;
    for (std::size_t c = 0; c < norm.channels; ++c) {
      // n has kNormFraction fraction bits of its own.
      factors.push_back(std::ldexp(norm.gamma[c] * form.scale, -runtime::kNormFraction));
      offsets.push_back(norm.beta[c] * form.scale + form.offset);
    }
    const FixedFactors fixed = fix(factors, norm.name);
    const FixedOffsets fixed_offsets = fix_offsets(offsets, fixed.shift, norm.name);
    const double epsilon = static_cast<double>(norm.eps) * static_cast<double>(norm.channels) *
                           kResidualScale * kResidualScale;
    if (!(epsilon < 0x1p60)) {
      throw too_large(norm.name, "its epsilon is");
    }
    const auto whole_epsilon = static_cast<std::uint64_t>(epsilon);
    Op op = {};
    op.kind = static_cast<std::uint32_t>(OpKind::layer_norm);
    op.source = word(Place::residual);
    op.destination = word(destination);
    op.rows = word(pending.shape.tokens);
    op.in_features = word(norm.channels);
    op.out_features = word(norm.channels);
    op.grid = word(pending.merged_grid);
    op.multipliers = program_.add(norm.name + ".multiplier", fixed.integers);
    op.bias = program_.add(norm.name + ".offset", fixed_offsets.integers);
    op.bias_shift = fixed_offsets.up;
    op.shift = fixed.shift;
    op.epsilon_low = static_cast<std::uint32_t>(whole_epsilon);
    op.epsilon_high = static_cast<std::uint32_t>(whole_epsilon >> 32);
    return op;
  }

  /// What codes an operation writes, on `grid`.
  void set_output(Op& op, const CodeGrid& grid, const std::string& name) {
    op.output_top = grid.top;
    if (!grid.table.empty()) {
      op.table = program_.add(name + ".code_table", grid.table);
      op.table_size = word(grid.table.size());
    }
  }

  Op product_op(const Product& product, Place destination, std::span<const OutputForm> forms) {
    Op op = {};
    op.kind = static_cast<std::uint32_t>(OpKind::linear);
    op.source = word(product.source);
    op.destination = word(destination);
    op.rows = word(product.shape.tokens);
    set_weights(op, *product.layer, product.input, forms);
    return op;
  }

  void emit_product(const Product& product, Place destination) {
    const double scale =
        destination == Place::logits ? 1 << runtime::kLogitFraction : kResidualScale;
    const std::vector<OutputForm> forms(product.layer->out_features, {scale, 0});
    program_.add_op(product_op(product, destination, forms), product.layer->name);
  }

  /// q, k and v as codes of their own quantizers; Swin's scale of q goes into its factor.
  void emit_qkv(const Product& product, const Attention& attn) {
    const std::size_t channels = product.layer->out_features / 3;
    const std::size_t head_dim = channels / attn.num_heads;
    const double query_scale =
        attn.scale_query ? 1 / std::sqrt(static_cast<double>(head_dim)) : 1.0;
    std::vector<OutputForm> forms(product.layer->out_features);
    for (std::size_t head = 0; head < attn.num_heads; ++head) {
      const OperandGrids grids = operand_grids(attn, head);
      const CodeGrid* parts[] = {&grids.query, &grids.key, &grids.value};
      for (std::size_t part = 0; part < 3; ++part) {
        const double factor = (part == 0 ? query_scale : 1.0) / parts[part]->scale;
        const std::size_t first = part * channels + head * head_dim;
        std::fill_n(forms.begin() + static_cast<std::ptrdiff_t>(first), head_dim,
                    OutputForm{factor, parts[part]->zero});
      }
    }
    Op op = product_op(product, Place::codes_b, forms);
    set_output(op, operand_grids(attn, 0).query, product.layer->name);
    program_.add_op(op, product.layer->name);
  }

  void emit_attention(const Attended& attended, const CodeGrid& output) {
    const Attention& attn = *attended.attn;
    const auto& maps = quantizer<AttentionQuantizers>(attn.name, Slot::attention_map);
    const std::size_t channels = attended.shape.channels;
    const std::size_t head_dim = channels / attn.num_heads;
    constexpr std::string_view kZero = "a zero point is";
    // e^x = 2^(x log2(e))
    const double to_log2 = std::ldexp(std::numbers::log2e, runtime::kScoreFraction);
    std::vector<double> scores;
    std::vector<double> contexts;
    std::vector<HeadRecord> heads(attn.num_heads, HeadRecord{});
    for (std::size_t h = 0; h < attn.num_heads; ++h) {
      const AttentionQuantizer& map = maps[maps.size() > 1 ? h : 0];
      const auto [q, k, v] = operand_grids(attn, h);
      scores.push_back(q.scale * k.scale * to_log2 /
                       (attn.scale_query ? 1.0 : std::sqrt(static_cast<double>(head_dim))));
      const double weight = std::ldexp(map.scheme.method->unit(map.delta), -weight_fraction(map));
      contexts.push_back(weight * v.scale / output.scale);
      heads[h].query_zero = to_bounded(q.zero, kLargestZeroPoint, attn.name, kZero);
      heads[h].key_zero = to_bounded(k.zero, kLargestZeroPoint, attn.name, kZero);
      heads[h].value_zero = to_bounded(v.zero, kLargestValueZero, attn.name, kZero);
      heads[h].log2_delta = to_bounded(
          std::ldexp(std::log2(static_cast<double>(map.delta)), runtime::kScoreFraction),
          std::ldexp(64, runtime::kScoreFraction), attn.name, "the range of its scale is");
    }
    const FixedFactors score_factors = fix(scores, attn.name);
    const FixedFactors context_factors = fix(contexts, attn.name);
    const FixedOffsets context_offset =
        fix_offsets(std::span(&output.zero, 1), context_factors.shift, attn.name);
    for (std::size_t h = 0; h < attn.num_heads; ++h) {
      heads[h].score_multiplier = score_factors.integers[h];
      heads[h].context_bias = context_offset.integers[0];
      heads[h].context_multiplier = context_factors.integers[h];
    }
    Op op = {};
    op.kind = static_cast<std::uint32_t>(OpKind::attention);
    op.source = word(Place::codes_b);
    op.destination = word(Place::codes_a);
    op.rows = word(attended.shape.tokens);
    op.in_features = word(3 * channels);
    op.out_features = word(channels);
    set_output(op, output, attn.name);
    op.heads = word(attn.num_heads);
    op.head_table = program_.add_heads(attn.name + ".heads", heads);
    op.input_top = operand_grids(attn, 0).query.top;
    op.bias_shift = context_offset.up;
    op.score_shift = score_factors.shift;
    op.shift = context_factors.shift;
    op.grid = word(attended.attended_tokens);
    set_windows(op, attn, to_log2);
    program_.add_op(op, attn.name);
  }

  /// The fraction bits of the weights with which the runtime multiplies values.
  static int weight_fraction(const AttentionQuantizer& map) {
    const auto kind = map.scheme.method->in_integers(map.bits, map.options).kind;
    return kind == IntegerAttention::Kind::sqrt2 ? runtime::kSqrt2ContextFraction : 0;
  }

  void set_windows(Op& op, const Attention& attn, double to_log2) {
    constexpr double kMask = 100.0;          // what timm subtracts from a masked score
    constexpr double kLargestBias = 0x1p28;  // 4096 powers of two
    if (attn.bias_index.empty()) {
      return;
    }
    const std::size_t window =
        static_cast<std::size_t>(std::lround(std::sqrt(static_cast<double>(attn.groups.tokens))));
    const std::size_t offsets = (2 * window - 1) * (2 * window - 1);
    std::vector<std::int32_t> bias;
    for (std::size_t head = 0; head < attn.num_heads; ++head) {
      for (std::size_t offset = 0; offset < offsets; ++offset) {
        const double value = attn.bias_table[offset * attn.num_heads + head] * to_log2;
        bias.push_back(to_bounded(value, kLargestBias, attn.name, "its relative position bias is"));
      }
    }
    op.score_bias = program_.add(attn.name + ".score_bias", bias);
    op.window = word(window);
    op.window_shift = attn.groups.regions.empty() ? 0 : word(window / 2);
    op.grid = word(window * static_cast<std::size_t>(
                                std::lround(std::sqrt(static_cast<double>(attn.groups.count)))));
    op.mask = static_cast<std::uint32_t>(kMask * to_log2);
  }

  /// fc1, whose sums index a table of the next layer's codes of GELU.
  void emit_gelu(const Activated& activated, const CodeGrid& output) {
    // Below -6 GELU is 0 to 1e-8; above `high` the code stays at its top.
    const double low = -6.0;
    // GELU lies at most 0.17 below x, so that the table reaches every code.
    const double high = std::max(1.0, output.largest() + 0.2);
    const std::size_t size = output.count() > 64 ? kFineGeluTableSize : kGeluTableSize;
    const double step = (high - low) / static_cast<double>(size - 1);
    std::vector<std::uint8_t> table;
    for (std::size_t i = 0; i < size; ++i) {
      table.push_back(output.code_of(bitlog2::gelu(low + static_cast<double>(i) * step)));
    }
    const Linear& layer = *activated.product.layer;
    const std::vector<OutputForm> forms(layer.out_features, {1 / step, -low / step});
    Op op = product_op(activated.product, Place::codes_b, forms);
    op.output_top = output.top;
    op.table = program_.add(layer.name + ".gelu_table", table);
    op.table_size = word(table.size());
    program_.add_op(op, layer.name);
  }

  void emit_mean(const Mean& mean, const CodeGrid& output) {
    const double factor = 1 / (kResidualScale * output.scale);
    const FixedFactors fixed = fix(std::span(&factor, 1), "mean");
    Op op = {};
    op.kind = static_cast<std::uint32_t>(OpKind::mean);
    op.source = word(Place::residual);
    op.destination = word(Place::codes_a);
    op.rows = 1;
    op.in_features = word(mean.shape.channels);
    op.out_features = word(mean.shape.channels);
    set_output(op, output, "mean");
    op.grid = word(
        static_cast<std::size_t>(std::lround(std::sqrt(static_cast<double>(mean.shape.tokens)))));
    op.multipliers = program_.add("mean.multiplier", fixed.integers);
    const FixedOffsets offset = fix_offsets(std::span(&output.zero, 1), fixed.shift, "mean");
    op.bias = program_.add("mean.bias", offset.integers);
    op.bias_shift = offset.up;
    op.shift = fixed.shift;
    program_.add_op(op, "mean");
  }

  const Model& model_;
  const Quantizers& quantizers_;
  ProgramBuilder& program_;
  Pending pending_;
  std::map<std::uint32_t, std::uint32_t> decode_tables_;
};

runtime::Header make_header(const QuantizedModel& quantized) {
  const ModelConfig& config = quantized.model.config;
  const QuantizationSettings& settings = quantized.settings;
  const IntegerAttention attention =
      settings.scheme.method->in_integers(settings.a_bits, settings.attention_options());
  runtime::Header header = {};
  header.magic = runtime::kMagic;
  header.version = runtime::kVersion;
  header.image_size = word(config.img_size);
  header.patch_size = word(config.patch_size);
  header.num_classes = word(config.num_classes);
  header.attention_kind = static_cast<std::uint32_t>(attention.kind);
  header.attention_multiplier = attention.multiplier;
  header.attention_top = attention.qmax;
  header.attention_fraction_bits = attention.fraction_bits;
  header.attention_nearest = attention.nearest ? 1 : 0;
  return header;
}

}  // namespace

std::vector<std::byte> lower(const QuantizedModel& quantized,
                             const std::vector<std::string>& class_names) {
  if (quantized.settings.skipped) {
    throw Error("a model that is quantized in part has no integer form");
  }
  ProgramBuilder program;
  LoweringOps ops(quantized, program);
  static_cast<void>(forward(quantized.model, ops));
  ops.finish();
  std::map<std::string, std::string> metadata = {
      {"format", "bitlog2"},
      {"format_version", std::to_string(runtime::kVersion)},
      {"config", config_to_json(quantized.model.config)},
      {"scheme", std::string(quantized.settings.scheme.name)},
      {"w_bits", std::to_string(quantized.settings.w_bits)},
      {"a_bits", std::to_string(quantized.settings.a_bits)},
      {"recipe", recipe_to_json(quantized.settings.recipe)},
  };
  if (!class_names.empty()) {
    metadata.emplace("class_names", nlohmann::json(class_names).dump());
  }
  return program.finish(make_header(quantized), std::move(metadata));
}

}  // namespace bitlog2
