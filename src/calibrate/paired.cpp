// The forward pass on two streams at once. What is found for a layer stands elsewhere: for its
// input in input_quantizers.cpp, for its weights in weight_fitting.cpp, for what attention
// multiplies in attention_operands.cpp.
#include "calibrate/paired.h"

#include <algorithm>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "calibrate/attention_operands.h"
#include "calibrate/input_quantizers.h"
#include "calibrate/weight_fitting.h"
#include "model/forward.h"
#include "simulate/float_ops.h"

namespace bitlog2::calibration {
namespace {

using FloatTensor = simulate::Tensor;

/// A ViT's head reads the class token alone; without more weight than a patch it would be one
/// row of the least squares in two hundred.
constexpr float kClassTokenWeight = 30.0F;

/// How far the layers that add to the residual stream also aim at undoing its errors. All of it
/// would shrink what tells images apart.
constexpr float kStreamShare = 0.15F;

/// How many first tokens' own values, not their mean, the head reads.
std::size_t class_tokens_read(Pooling pooling) {
  return pooling == Pooling::class_and_mean ? 1 : tokens_read(pooling);
}

/// Whether the head reads what the final LayerNorm writes, channel by channel.
bool reads_norm(const Model& model) {
  return pooled_tokens(model.config.pooling) == 1 && !model.attention_pooling && !model.pre_logits;
}

/// The two streams: the float network's, which gives the targets, and that of the network quantized
/// so far.
class PairedOps {
 public:
  struct Tensor {
    FloatTensor exact;
    FloatTensor quantized;
  };

  PairedOps(const Model& model, const QuantizationSettings& settings, std::span<const float> images,
            ThreadPool& pool, const CalibrationProgress& progress)
      : settings_(settings),
        pool_(pool),
        progress_(progress),
        model_(model),
        finding_(settings, quantizers_, pool),
        exact_ops_(model.config, images, none_, pool, nobody_),
        quantized_ops_(model.config, images, finding_, pool, nobody_) {
    for_each_linear(model_, [&](Linear& layer) { layers_[layer.name].layer = &layer; });
    for_each_norm_pair(model_,
                       [&](LayerNorm& norm, Linear& layer) { layers_[layer.name].norm = &norm; });
    if (reads_norm(model_)) {
      layers_[model_.head.name].norm = &model_.norm;
    }
  }

  Tensor embed_patches(const Linear& projection) {
    FloatTensor patches = exact_ops_.unfold_patches();
    FloatTensor same = copy(patches);
    return linear(projection, {std::move(patches), std::move(same)});
  }

  Tensor add_positions(std::span<const float> prefix_tokens, std::span<const float> pos_embed,
                       const Tensor& x) {
    Tensor result = {exact_ops_.add_positions(prefix_tokens, pos_embed, x.exact),
                     quantized_ops_.add_positions(prefix_tokens, pos_embed, x.quantized)};
    row_weights_.assign(result.exact.tokens(), 1.0F);
    std::fill_n(row_weights_.begin(), class_tokens_read(model_.config.pooling), kClassTokenWeight);
    return result;
  }

  Tensor layer_norm(const LayerNorm& norm, const Tensor& x) {
    if (settings_.recipe.compensation_target_stream) {
      stream_difference_.assign(x.exact.values().begin(), x.exact.values().end());
      std::ranges::transform(stream_difference_, x.quantized.values(), stream_difference_.begin(),
                             std::minus<>());
    }
    return {exact_ops_.layer_norm(norm, x.exact), quantized_ops_.layer_norm(norm, x.quantized)};
  }

  Tensor linear(const Linear& exact, Tensor x) {
    auto& [layer, norm] = layers_.at(exact.name);
    FloatTensor output = exact_ops_.linear(exact, std::move(x.exact));
    // What the layer would make of this input unquantized. Aiming at the float network's own
    // output instead, which would undo errors from above, too, brings every layer closer to it
    // and accuracy down: least squares shrinks what is uncertain, first of all the small
    // differences between images. A little of it pays, where a layer adds to the stream.
    FloatTensor target = quantized_ops_.linear(exact, copy(x.quantized));
    if (settings_.recipe.compensation_target_stream && adds_to_stream(exact.role)) {
      aim_at_stream(target, output);
    }
    if (settings_.quantizes(group_of(Slot::input, exact.role))) {
      quantizers_[{exact.name, Slot::input}] =
          quantize_input({settings_, *layer, norm, x.quantized, pool_});
    }
    fit_weights(settings_, *layer, x.quantized, target, row_weights_, quantizers_, pool_);
    if (progress_) {
      progress_(++layers_done_, layers_.size());
    }
    return {std::move(output), quantized_ops_.linear(*layer, std::move(x.quantized))};
  }

  Tensor attention(const Attention& attn, Tensor qkv) {
    if (settings_.has_codebooks()) {
      find_operand_codebooks(settings_, attn, qkv.quantized, quantizers_);
    }
    return {exact_ops_.attention(attn, std::move(qkv.exact)),
            quantized_ops_.attention(attn, std::move(qkv.quantized))};
  }

  Tensor activation(Activation function, Tensor x) {
    return {exact_ops_.activation(function, std::move(x.exact)),
            quantized_ops_.activation(function, std::move(x.quantized))};
  }

  Tensor add(Tensor x, const Tensor& y) {
    return {exact_ops_.add(std::move(x.exact), y.exact),
            quantized_ops_.add(std::move(x.quantized), y.quantized)};
  }

  Tensor merge_patches(std::size_t grid, const Tensor& x) {
    FloatTensor exact = exact_ops_.merge_patches(grid, x.exact);
    FloatTensor quantized = quantized_ops_.merge_patches(grid, x.quantized);
    return {std::move(exact), std::move(quantized)};
  }
  Tensor first_tokens(std::size_t count, const Tensor& x) {
    row_weights_.assign(count, 1.0F);
    return {exact_ops_.first_tokens(count, x.exact),
            quantized_ops_.first_tokens(count, x.quantized)};
  }
  Tensor mean_of_tokens(std::size_t first, const Tensor& x) {
    row_weights_.assign(1, 1.0F);
    return {exact_ops_.mean_of_tokens(first, x.exact),
            quantized_ops_.mean_of_tokens(first, x.quantized)};
  }
  Tensor join_tokens(const Tensor& x) {
    row_weights_.assign(1, 1.0F);
    return {exact_ops_.join_tokens(x.exact), quantized_ops_.join_tokens(x.quantized)};
  }
  Tensor first_and_mean(std::size_t first, const Tensor& x) {
    row_weights_.assign(1, 1.0F);
    return {exact_ops_.first_and_mean(first, x.exact),
            quantized_ops_.first_and_mean(first, x.quantized)};
  }

  QuantizedModel take_result() {
    for_each_linear(model_, [](Linear& layer) { layer.has_bias = !layer.bias.empty(); });
    return {std::move(model_), settings_, std::move(quantizers_)};
  }

 private:
  /// Moves `target` kStreamShare of the way to what would make the stream the float network's,
  /// in which the layer's output is `exact`.
  void aim_at_stream(FloatTensor& target, const FloatTensor& exact) const {
    for (std::size_t i = 0; i < stream_difference_.size(); ++i) {
      const float whole = exact.values()[i] + stream_difference_[i];
      target.values()[i] += kStreamShare * (whole - target.values()[i]);
    }
  }

  struct PlacedLayer {
    Linear* layer = nullptr;
    LayerNorm* norm = nullptr;  // whose output it reads, if any
  };

  const QuantizationSettings& settings_;
  ThreadPool& pool_;
  const CalibrationProgress& progress_;
  Model model_;  // quantized as far as the pass has come
  Quantizers quantizers_;
  std::map<std::string, PlacedLayer> layers_;  // of model_, by name
  std::vector<float> row_weights_ = {1.0F};
  std::vector<float> stream_difference_;  // of the two streams, where a LayerNorm last read them
  std::size_t layers_done_ = 0;
  const LayerObserver nobody_;
  simulate::NoQuantization none_;
  FindingOperands finding_;
  simulate::FloatOps<simulate::NoQuantization> exact_ops_;
  simulate::FloatOps<FindingOperands> quantized_ops_;
};

}  // namespace

Calibration calibrate_paired(const Model& model, const QuantizationSettings& settings,
                             std::span<const float> images, ThreadPool& pool,
                             const CalibrationProgress& progress) {
  PairedOps ops(model, settings, images, pool, progress);
  static_cast<void>(forward(model, ops));
  Calibration result;
  result.quantized = ops.take_result();
  result.after_initial_calibration = result.quantized.quantizers;
  return result;
}

}  // namespace bitlog2::calibration
