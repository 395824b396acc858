#include "calibrate/sequential.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <map>
#include <string>

#include "calibrate/head_transforms.h"
#include "calibrate/least_squares.h"
#include "calibrate/matrix.h"
#include "calibrate/pixel_codes.h"
#include "calibrate/ranges.h"
#include "calibrate/weight_rounding.h"
#include "model/forward.h"
#include "simulate/float_ops.h"
#include "simulate/simulated.h"

namespace bitlog2 {
namespace {

using fitting::Matrix;
using fitting::Moments;
using fitting::Vector;
using simulate::fake_quantize_map;
using simulate::fake_quantize_operand;
using simulate::fake_quantize_parallel;
using FloatTensor = simulate::Tensor;

/// The ridge's and GPTQ's damping, in the mean of the Hessian's diagonal: much, since 32 images
/// say little about most directions. From half of it to twice as much, results differ by less than
/// their noise.
constexpr double kDamping = 0.6;

/// A ViT's head reads the class token alone; without more weight than a patch it would be one
/// row of the least squares in two hundred.
constexpr float kClassTokenWeight = 30.0F;

/// How far the layers that add to the residual stream also aim at undoing its errors. All of it
/// would shrink what tells images apart.
constexpr float kStreamShare = 0.15F;

/// The half range, in standard deviations, of evenly spaced codes, from kMinBits to kMaxBits: about
/// where their squared error is lowest for a normal distribution, above 5 bits a little wider,
/// since the tails that cost most there are heavier.
constexpr std::array kReach = {2.2, 2.2, 2.7, 3.0, 3.6, 3.9, 4.2};

/// How far apart the levels of q, k and v may be: so that two products of a q and a k, or of a byte
/// and a v, add up in 16 bits, and that at few bits several such sums do.
int operand_span(int bits) {
  return std::min(127, (4 << bits) - 1);
}

/// GELU's outputs as sums of at most two shifts: its short negative part, and its long tail.
std::vector<std::int16_t> shift_levels(int bits) {
  switch (bits) {
    case 2:
      return {-1, 0, 4, 16};
    case 3:
      return {-2, 0, 2, 4, 8, 16, 32, 64};
    default:  // more bits do not add codes
      return {-3, -2, -1, 0, 1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64};
  }
}

FloatTensor copy(const FloatTensor& x) {
  FloatTensor result(x.batch(), x.tokens(), x.channels());
  std::copy(x.values().begin(), x.values().end(), result.values().begin());
  return result;
}

/// The policy of the quantized stream: linear layers are ready when they are reached, the
/// quantizers of attention find their parameters on what reaches them.
class Finding {
 public:
  Finding(const QuantizationSettings& settings, Quantizers& quantizers, ThreadPool& pool)
      : settings_(settings), quantizers_(quantizers), pool_(pool) {}

  void input(const Linear&, FloatTensor&) {}
  std::span<const float> weight(const Linear& layer) { return layer.weight; }

  void query(const Attention& attn, std::span<float> x) {
    operand(QuantizerGroup::queries_keys, attn, attn.name + ".matmul1.quantizer_A", x);
  }
  void key(const Attention& attn, std::span<float> x) {
    operand(QuantizerGroup::queries_keys, attn, attn.name + ".matmul1.quantizer_B", x);
  }
  void value(const Attention& attn, std::span<float> x) {
    operand(QuantizerGroup::values, attn, attn.name + ".matmul2.quantizer_B", x);
  }

  void attention_map(const Attention& attn, std::span<float> x) {
    if (!settings_.quantizes(QuantizerGroup::attention_maps)) {
      return;
    }
    std::vector<AttentionQuantizer>& quantizers =
        quantizers_.attention_maps[attn.name + ".matmul2.quantizer_A"];
    const std::size_t heads = settings_.recipe.head_quantizers ? attn.num_heads : 1;
    const std::size_t head_size = attn.groups.tokens * attn.groups.tokens;
    for (std::size_t head = 0; head < heads; ++head) {
      quantizers.push_back(calibrate_attention(settings_.scheme, settings_.a_bits,
                                               of_head(x, head, heads, head_size), pool_,
                                               settings_.attention_grid()));
    }
    fake_quantize_map(attn, quantizers, x, pool_);
  }

 private:
  /// A head's values of [.., heads, head_size], one after the other; all for one head.
  std::span<const float> of_head(std::span<const float> x, std::size_t head, std::size_t heads,
                                 std::size_t head_size) {
    if (heads == 1) {
      return x;
    }
    gathered_.clear();
    for (std::size_t i = head * head_size; i < x.size(); i += heads * head_size) {
      const auto part = x.subspan(i, head_size);
      gathered_.insert(gathered_.end(), part.begin(), part.end());
    }
    return gathered_;
  }

  void operand(QuantizerGroup group, const Attention& attn, const std::string& name,
               std::span<float> x) {
    if (!settings_.quantizes(group)) {
      return;
    }
    if (const auto grid = quantizers_.grids.find(name); grid != quantizers_.grids.end()) {
      fake_quantize_parallel(grid->second, x, pool_);
      return;
    }
    const Recipe& recipe = settings_.recipe;
    const std::size_t heads = recipe.head_quantizers ? attn.num_heads : 1;
    const std::size_t head_size = attn.groups.tokens * (attn.proj.in_features / attn.num_heads);
    UniformQuantizer& quantizer = quantizers_.uniform[name];
    quantizer.bits = settings_.a_bits;
    const float one = 1.0F;
    for (std::size_t head = 0; head < heads; ++head) {
      const auto values = of_head(x, head, heads, head_size);
      UniformQuantizer found;
      if (recipe.output_search) {
        const fitting::Range range =
            fitting::search_range(values, std::span(&one, 1), settings_.a_bits);
        found = fitting::quantizer_of(std::span(&range, 1), settings_.a_bits);
      } else {
        found = calibrate_uniform(values, settings_.a_bits, pool_);
      }
      quantizer.scale.push_back(found.scale[0]);
      quantizer.zero_point.push_back(found.zero_point[0]);
    }
    fake_quantize_operand(attn, quantizer, x, pool_);
  }

  const QuantizationSettings& settings_;
  Quantizers& quantizers_;
  ThreadPool& pool_;
  std::vector<float> gathered_;
};

/// The forward pass on two streams at once: the float network's, which gives the targets, and
/// that of the network quantized so far.
class SequentialOps {
 public:
  struct Tensor {
    FloatTensor exact;
    FloatTensor quantized;
  };

  SequentialOps(const Model& model, const QuantizationSettings& settings,
                std::span<const float> images, ThreadPool& pool,
                const CalibrationProgress& progress)
      : settings_(settings),
        pool_(pool),
        progress_(progress),
        exact_model_(model),
        model_(model),
        finding_(settings, quantizers_, pool),
        exact_ops_(model.config, images, none_, pool, nobody_),
        quantized_ops_(model.config, images, finding_, pool, nobody_) {
    for_each_linear(exact_model_, [&](Linear& layer) { exact_layers_[layer.name] = &layer; });
    for_each_linear(model_, [&](Linear& layer) { layers_[layer.name] = &layer; });
    for_each_norm_pair(model_, [&](LayerNorm& norm, Linear& layer) { norms_[layer.name] = &norm; });
    norms_[model_.head.name] = &model_.norm;
    for (Stage& stage : exact_model_.stages) {
      for (Block& block : stage.blocks) {
        attentions_[block.attn.qkv.name] = &block.attn;
      }
    }
    row_weights_.assign(1, 1.0F);
  }

  Tensor embed_patches(const Linear& projection) {
    FloatTensor patches = exact_ops_.unfold_patches();
    FloatTensor same = copy(patches);
    return linear(projection, {std::move(patches), std::move(same)});
  }

  Tensor add_positions(std::span<const float> cls_token, std::span<const float> pos_embed,
                       const Tensor& x) {
    row_weights_.assign(x.exact.tokens() + 1, 1.0F);
    row_weights_.front() = kClassTokenWeight;
    return {exact_ops_.add_positions(cls_token, pos_embed, x.exact),
            quantized_ops_.add_positions(cls_token, pos_embed, x.quantized)};
  }

  Tensor layer_norm(const LayerNorm& norm, const Tensor& x) {
    if (settings_.recipe.stream_target) {
      difference_ = difference(x.exact, x.quantized);
    }
    return {exact_ops_.layer_norm(norm, x.exact), quantized_ops_.layer_norm(norm, x.quantized)};
  }

  Tensor linear(const Linear& original, Tensor x) {
    Linear& exact = *exact_layers_.at(original.name);
    FloatTensor output = exact_ops_.linear(exact, copy(x.exact));
    if (const auto attn = attentions_.find(original.name);
        attn != attentions_.end() && settings_.recipe.head_transforms) {
      const FloatTensor context = exact_ops_.attention(*attn->second, copy(output));
      fitting::transform_heads(*attn->second, output.values(), context.values());
      output = exact_ops_.linear(exact, copy(x.exact));
    }
    Linear& layer = *layers_.at(original.name);
    layer = exact;
    // What the layer would make of this input unquantized. Aiming at the float network's own
    // output instead, which would undo errors from above, too, brings every layer closer to it
    // and accuracy down: least squares shrinks what is uncertain, first of all the small
    // differences between images. A little of it pays, where a layer adds to the stream.
    FloatTensor target = quantized_ops_.linear(exact, copy(x.quantized));
    if (settings_.recipe.stream_target && adds_to_stream(layer)) {
      aim_at_stream(target, output);
    }
    quantize_input(layer, x.quantized);
    fit(layer, x.quantized, target);
    report();
    FloatTensor quantized = quantized_ops_.linear(layer, std::move(x.quantized));
    return {std::move(output), std::move(quantized)};
  }

  Tensor attention(const Attention& attn, Tensor qkv) {
    if (settings_.has_code_books()) {
      find_operand_grids(attn, qkv.quantized);
    }
    return {exact_ops_.attention(attn, std::move(qkv.exact)),
            quantized_ops_.attention(attn, std::move(qkv.quantized))};
  }

  Tensor gelu(Tensor x) {
    return {exact_ops_.gelu(std::move(x.exact)), quantized_ops_.gelu(std::move(x.quantized))};
  }

  Tensor add(Tensor x, const Tensor& y) {
    return {exact_ops_.add(std::move(x.exact), y.exact),
            quantized_ops_.add(std::move(x.quantized), y.quantized)};
  }

  Tensor merge_patches(std::size_t grid, const Tensor& x) {
    FloatTensor exact = exact_ops_.merge_patches(grid, x.exact);
    return {std::move(exact), quantized_ops_.merge_patches(grid, x.quantized)};
  }
  Tensor class_token(const Tensor& x) {
    row_weights_.assign(1, 1.0F);
    return {exact_ops_.class_token(x.exact), quantized_ops_.class_token(x.quantized)};
  }
  Tensor mean_of_tokens(const Tensor& x) {
    return {exact_ops_.mean_of_tokens(x.exact), quantized_ops_.mean_of_tokens(x.quantized)};
  }

  QuantizedModel take_result() {
    for_each_linear(model_, [](Linear& layer) { layer.has_bias = !layer.bias.empty(); });
    return {std::move(model_), settings_, std::move(quantizers_)};
  }

 private:
  bool is_patch_embedding(const Linear& layer) const {
    return layer.name == model_.patch_embed.name;
  }

  static bool adds_to_stream(const Linear& layer) {
    return layer.name.ends_with(".attn.proj") || layer.name.ends_with(".fc2");
  }

  static std::vector<float> difference(const FloatTensor& a, const FloatTensor& b) {
    std::vector<float> result(a.values().begin(), a.values().end());
    std::ranges::transform(result, b.values(), result.begin(), std::minus<>());
    return result;
  }

  /// Moves `target` kStreamShare of the way to what would make the stream the float network's,
  /// in which the layer's output is `exact`.
  void aim_at_stream(FloatTensor& target, const FloatTensor& exact) const {
    for (std::size_t i = 0; i < difference_.size(); ++i) {
      const float whole = exact.values()[i] + difference_[i];
      target.values()[i] += kStreamShare * (whole - target.values()[i]);
    }
  }

  /// The squared norm of each input channel's weights.
  static std::vector<float> channel_weights(const Linear& layer) {
    std::vector<float> weights(layer.in_features);
    for (std::size_t i = 0; i < layer.weight.size(); ++i) {
      weights[i % layer.in_features] += layer.weight[i] * layer.weight[i];
    }
    return weights;
  }

  /// Finds the input quantizer of `layer` and quantizes x.
  void quantize_input(Linear& layer, FloatTensor& x) {
    if (!settings_.quantizes(input_group(layer.name))) {
      return;
    }
    const std::string name = layer.name + ".input_quantizer";
    const bool searches = settings_.recipe.output_search;
    if (is_patch_embedding(layer)) {
      UniformQuantizer& quantizer = quantizers_.uniform[name];
      quantizer = settings_.recipe.exact_pixels
                      ? fitting::pixel_quantizer()
                      : calibrate_uniform(x.values(), kPatchEmbeddingInputBits, pool_);
      fake_quantize_parallel(quantizer, x.values(), pool_);
      return;
    }
    const bool behind_gelu = layer.name.ends_with(".fc2");
    if (behind_gelu && settings_.recipe.gelu_scheme != Recipe::GeluScheme::uniform) {
      GridQuantizer& quantizer = quantizers_.grids[name];
      if (settings_.recipe.gelu_scheme == Recipe::GeluScheme::shift) {
        quantizer = calibrate_grid_scale(x.values(), channel_weights(layer),
                                         shift_levels(settings_.a_bits));
      } else {
        quantizer = calibrate_code_book(x.values(), channel_weights(layer), settings_.a_bits);
      }
      fake_quantize_parallel(quantizer, x.values(), pool_);
      return;
    }
    const bool is_head = layer.name == model_.head.name;
    // The head has too few rows.
    if (settings_.has_code_books() && !is_head && !behind_gelu) {
      if (norms_.contains(layer.name)) {
        standardize(*norms_.at(layer.name), layer, x);
      }
      GridQuantizer& quantizer = quantizers_.grids[name];
      quantizer = calibrate_code_book(x.values(), channel_weights(layer), settings_.a_bits);
      fake_quantize_parallel(quantizer, x.values(), pool_);
      return;
    }
    if (norms_.contains(layer.name) && (!is_head || searches)) {
      quantize_behind_norm(*norms_.at(layer.name), layer, x, is_head);
      return;
    }
    UniformQuantizer& quantizer = quantizers_.uniform[name];
    if (searches) {
      const fitting::Range range =
          fitting::search_range(x.values(), channel_weights(layer), settings_.a_bits);
      quantizer = fitting::quantizer_of(std::span(&range, 1), settings_.a_bits);
    } else {
      quantizer = calibrate_uniform(x.values(), settings_.a_bits, pool_);
    }
    fake_quantize_parallel(quantizer, x.values(), pool_);
  }

  /// One range per channel, which norm and layer absorb.
  void quantize_behind_norm(LayerNorm& norm, Linear& layer, FloatTensor& x, bool is_head) {
    const std::string name = layer.name + ".input_quantizer";
    UniformQuantizer& quantizer = quantizers_.uniform[name];
    if (!settings_.recipe.output_search) {
      const UniformQuantizer channels =
          calibrate_columns(x.values(), x.channels(), settings_.a_bits, pool_);
      const LayerNorm before = norm;
      quantizer = reparameterize(norm, layer, channels);
      move_affine(before, norm, x);
      fake_quantize_parallel(quantizer, x.values(), pool_);
      return;
    }
    std::vector<fitting::Range> ranges;
    if (is_head) {
      ranges = ranges_of_few(x);
    } else {
      ranges = fitting::search_columns(x.values(), x.channels(), settings_.a_bits, pool_);
    }
    const float top = static_cast<float>((1 << settings_.a_bits) - 1);
    const float zero = std::floor(top / 2);
    double mean = 0;
    for (fitting::Range& range : ranges) {
      if (range.low == range.high) {
        range.low -= 0.5F * top;
        range.high = range.low + top;
      }
      mean += (range.high - range.low) / top;
    }
    const auto scale = static_cast<float>(mean / static_cast<double>(ranges.size()));
    quantizer = {settings_.a_bits, {scale}, {zero}};
    std::vector<Coordinate> coordinates;
    for (const fitting::Range& range : ranges) {
      const float ratio = (range.high - range.low) / top / scale;
      coordinates.push_back({range.low + zero * scale * ratio, ratio});
    }
    change_coordinates(norm, layer, coordinates, x);
    fake_quantize_parallel(quantizer, x.values(), pool_);
  }

  /// x' = (x - origin) / unit.
  struct Coordinate {
    float origin;
    float unit;
  };

  /// Every channel of x, an output of `norm`, gets another coordinate, which norm and layer absorb.
  static void change_coordinates(LayerNorm& norm, Linear& layer,
                                 std::span<const Coordinate> coordinates, FloatTensor& x) {
    const LayerNorm before = norm;
    for (std::size_t c = 0; c < coordinates.size(); ++c) {
      norm.gamma[c] /= coordinates[c].unit;
      norm.beta[c] = (norm.beta[c] - coordinates[c].origin) / coordinates[c].unit;
    }
    if (layer.bias.empty()) {
      layer.has_bias = true;
      layer.bias.resize(layer.out_features);
    }
    for (std::size_t row = 0; row < layer.out_features; ++row) {
      double moved = 0;
      for (std::size_t c = 0; c < coordinates.size(); ++c) {
        float& weight = layer.weight[row * layer.in_features + c];
        moved += static_cast<double>(weight) * coordinates[c].origin;
        weight *= coordinates[c].unit;
      }
      layer.bias[row] += static_cast<float>(moved);
    }
    move_affine(before, norm, x);
  }

  /// Channels get mean 0 and the same deviation, so that one code book suits all.
  static void standardize(LayerNorm& norm, Linear& layer, FloatTensor& x) {
    const std::vector<Spread> spreads = spreads_of_channels(x);
    double mean = 0;
    for (const Spread& spread : spreads) {
      mean += spread.deviation / static_cast<double>(spreads.size());
    }
    std::vector<Coordinate> coordinates;
    for (const Spread& spread : spreads) {
      const double unit = spread.deviation > 1e-6 * mean ? spread.deviation / mean : 1.0;
      coordinates.push_back({static_cast<float>(spread.mean), static_cast<float>(unit)});
    }
    change_coordinates(norm, layer, coordinates, x);
  }

  struct Spread {
    double mean;
    double deviation;
  };

  static std::vector<Spread> spreads_of_channels(const FloatTensor& x) {
    std::vector<double> sums(x.channels());
    std::vector<double> squares(x.channels());
    for (std::size_t row = 0; row < x.rows(); ++row) {
      const auto values = x.row(row);
      for (std::size_t c = 0; c < values.size(); ++c) {
        sums[c] += values[c];
        squares[c] += static_cast<double>(values[c]) * values[c];
      }
    }
    const auto count = static_cast<double>(x.rows());
    std::vector<Spread> spreads;
    for (std::size_t c = 0; c < x.channels(); ++c) {
      const double mean = sums[c] / count;
      spreads.push_back({mean, std::sqrt(std::max(squares[c] / count - mean * mean, 0.0))});
    }
    return spreads;
  }

  /// Too few rows to look for ranges: as many standard deviations as suit a normal
  /// distribution.
  std::vector<fitting::Range> ranges_of_few(const FloatTensor& x) const {
    const double reach = kReach.at(static_cast<std::size_t>(settings_.a_bits - kMinBits));
    std::vector<fitting::Range> ranges;
    for (const Spread& spread : spreads_of_channels(x)) {
      ranges.push_back({static_cast<float>(spread.mean - reach * spread.deviation),
                        static_cast<float>(spread.mean + reach * spread.deviation)});
    }
    return ranges;
  }

  /// One code book for q, k and v, each in its own scale.
  void find_operand_grids(const Attention& attn, const FloatTensor& qkv) {
    const std::array names = {attn.name + ".matmul1.quantizer_A",
                              attn.name + ".matmul1.quantizer_B",
                              attn.name + ".matmul2.quantizer_B"};
    const std::size_t channels = qkv.channels() / names.size();
    std::array<double, names.size()> squares = {};
    for (std::size_t row = 0; row < qkv.rows(); ++row) {
      for (std::size_t c = 0; c < qkv.channels(); ++c) {
        squares.at(c / channels) += static_cast<double>(qkv.row(row)[c]) * qkv.row(row)[c];
      }
    }
    std::array<float, names.size()> units = {};  // root mean squares
    for (std::size_t part = 0; part < names.size(); ++part) {
      const double mean = squares.at(part) / static_cast<double>(qkv.rows() * channels);
      units.at(part) = static_cast<float>(std::sqrt(std::max(mean, 1e-30)));
    }
    FloatTensor pooled = copy(qkv);
    for (std::size_t row = 0; row < qkv.rows(); ++row) {
      for (std::size_t c = 0; c < qkv.channels(); ++c) {
        pooled.row(row)[c] /= units.at(c / channels);
      }
    }
    const float one = 1.0F;
    const GridQuantizer book = calibrate_code_book(
        pooled.values(), std::span(&one, 1), settings_.a_bits, operand_span(settings_.a_bits));
    for (std::size_t part = 0; part < names.size(); ++part) {
      const bool is_value = part == 2;
      if (!settings_.quantizes(is_value ? QuantizerGroup::values : QuantizerGroup::queries_keys)) {
        continue;
      }
      GridQuantizer& grid = quantizers_.grids[names.at(part)];
      grid = book;
      grid.scale *= units.at(part);
      if (part == 0 && attn.scale_query) {
        const std::size_t head_dim = channels / attn.num_heads;
        grid.scale /= std::sqrt(static_cast<float>(head_dim));
      }
    }
  }

  /// x, an output of `before`, becomes that of `after`, which differs in its affine only.
  static void move_affine(const LayerNorm& before, const LayerNorm& after, FloatTensor& x) {
    for (std::size_t row = 0; row < x.rows(); ++row) {
      const auto values = x.row(row);
      for (std::size_t c = 0; c < values.size(); ++c) {
        const float factor = before.gamma[c] == 0.0F ? 0.0F : after.gamma[c] / before.gamma[c];
        values[c] = (values[c] - before.beta[c]) * factor + after.beta[c];
      }
    }
  }

  /// Finds the weights and bias that take the quantized inputs x to the target.
  void fit(Linear& layer, const FloatTensor& x, const FloatTensor& target) {
    const Recipe& recipe = settings_.recipe;
    const bool rounds = settings_.quantizes(weight_group(layer.name));
    if (!recipe.compensation && !(rounds && (recipe.gptq || recipe.output_search))) {
      if (rounds) {
        round_by_rows(layer);
      }
      return;
    }
    const Moments moments =
        fitting::find_moments(x.values(), target.values(), x.rows(), row_weights_, pool_);
    const double mean_square = moments.gram.trace() / static_cast<double>(layer.in_features);
    const double damping = std::max(kDamping * mean_square, 1e-20);
    const Matrix original = fitting::to_matrix(layer.weight, layer.out_features);
    // Fewer rows than unknowns would fit themselves alone.
    const bool compensates = recipe.compensation && x.rows() > 2 * layer.in_features;
    const Matrix wanted = compensates ? fitting::ridge(moments, original, damping) : original;
    fitting::copy_to(wanted, layer.weight);
    if (rounds && (recipe.gptq || recipe.output_search)) {
      Matrix hessian = moments.gram;
      hessian.diagonal().array() += damping;
      const fitting::RoundedWeights rounded = fitting::round_weights(
          wanted, hessian, {settings_.w_bits, recipe.gptq, recipe.output_search}, pool_);
      quantizers_.uniform[layer.name + ".weight_quantizer"] = rounded.quantizer;
      fitting::copy_to(rounded.weights, layer.weight);
    } else if (rounds) {
      round_by_rows(layer);
    }
    // The bias keeps the mean of the outputs where it was.
    const Matrix found = fitting::to_matrix(layer.weight, layer.out_features);
    layer.has_bias = true;
    layer.bias.resize(layer.out_features);
    const Vector bias = fitting::to_vector(layer.bias) + (original - found) * moments.input_mean;
    fitting::copy_to(compensates ? moments.target_mean - found * moments.input_mean : bias,
                     layer.bias);
  }

  /// As RepQ-ViT rounds: each row by its own error, each weight to its nearest code.
  void round_by_rows(Linear& layer) {
    UniformQuantizer& quantizer = quantizers_.uniform[layer.name + ".weight_quantizer"];
    quantizer = calibrate_rows(layer.weight, layer.out_features, settings_.w_bits, pool_);
    fake_quantize_rows(quantizer, layer.weight);
  }

  void report() {
    ++layers_done_;
    if (progress_) {
      progress_(layers_done_, layers_.size());
    }
  }

  const QuantizationSettings& settings_;
  ThreadPool& pool_;
  const CalibrationProgress& progress_;
  Model exact_model_;  // the float network, heads transformed
  Model model_;        // quantized as far as the pass has come
  Quantizers quantizers_;
  std::map<std::string, Linear*> exact_layers_;
  std::map<std::string, Linear*> layers_;
  std::map<std::string, LayerNorm*> norms_;       // before a layer, by the layer's name
  std::map<std::string, Attention*> attentions_;  // by the name of qkv
  std::vector<float> row_weights_;
  std::vector<float> difference_;  // of the two streams, where a block last read them
  std::size_t layers_done_ = 0;
  const LayerObserver nobody_;
  simulate::NoQuantization none_;
  Finding finding_;
  simulate::FloatOps<simulate::NoQuantization> exact_ops_;
  simulate::FloatOps<Finding> quantized_ops_;
};

}  // namespace

Calibration calibrate_sequentially(const Model& model, const QuantizationSettings& settings,
                                   std::span<const float> images, ThreadPool& pool,
                                   const CalibrationProgress& progress) {
  const Model start = in_recipe_coordinates(model, settings.recipe);
  std::vector<float> in_pixels;
  if (settings.recipe.exact_pixels) {
    in_pixels = fitting::renormalised(images, model.config.img_size, model.config.preprocessing,
                                      start.config.preprocessing);
    images = in_pixels;
  }
  SequentialOps ops(start, settings, images, pool, progress);
  static_cast<void>(forward(start, ops));
  Calibration result;
  result.quantized = ops.take_result();
  result.after_initial_calibration = result.quantized.quantizers;
  return result;
}

}  // namespace bitlog2
