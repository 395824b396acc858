// The forward pass on two streams at once. The searches are elsewhere: for a layer's input in
// input_quantizers.cpp, for its weights in weight_fitting.cpp, for the operands of attention in
// attention_operands.cpp.
#include "calibrate/paired.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "calibrate/chunked_ops.h"
#include "calibrate/input_quantizers.h"
#include "calibrate/least_squares.h"
#include "calibrate/weight_fitting.h"
#include "model/forward.h"

namespace bitlog2::calibration {
namespace {

/// A ViT's head reads only the class token. With the weight of a patch, it would be one of two
/// hundred rows of the least squares.
constexpr float kClassTokenWeight = 30.0F;

/// The share of the residual stream's error that layers which add to the stream also try to
/// correct. A share of 1 would shrink the differences between images; with more images, a larger
/// share pays.
float stream_share(std::size_t images) {
  constexpr float kFewest = 32.0F;
  constexpr float kOfFewest = 0.2F;
  constexpr float kLargest = 0.4F;
  const float more = std::max(static_cast<float>(images) / kFewest, 1.0F);
  return std::min(kOfFewest * std::sqrt(more), kLargest);
}

/// The number of class tokens that the head reads.
std::size_t class_tokens_read(Pooling pooling) {
  return pooling == Pooling::class_and_mean ? 1 : tokens_read(pooling);
}

/// Whether the head reads what the final LayerNorm writes, channel by channel.
bool reads_norm(const Model& model) {
  return pooled_tokens(model.config.pooling) == 1 && !model.attention_pooling && !model.pre_logits;
}

/// The float network's stream, where the recipe aims at it, beside that of the network quantized so
/// far.
class PairedOps : public ChunkedOps {
 public:
  PairedOps(const Model& model, std::size_t layers, const QuantizationSettings& settings,
            const Images& images, ThreadPool& pool, const CalibrationContext& context)
      : ChunkedOps(model.config, layers, settings, images, pool, context),
        model_(model),
        stream_share_(stream_share(images.count)) {
    for_each_linear(model_, [&](Linear& layer) { layers_[layer.name].layer = &layer; });
    for_each_norm_pair(model_, [&](LayerNorm& norm, Linear& layer) {
      layers_[layer.name].norm = &norm;
      norms_[norm.name] = &norm;
    });
    if (reads_norm(model_)) {
      layers_[model_.head.name].norm = &model_.norm;
      norms_[model_.norm.name] = &model_.norm;
    }
  }

  Tensor embed_patches(const Linear& projection) {
    const SequencePointer images = patches();
    return linear(projection,
                  {settings_.recipe.compensation_target_stream ? images : nullptr, images});
  }

  Tensor add_positions(std::span<const float> prefix_tokens, std::span<const float> pos_embed,
                       const Tensor& x) {
    Tensor result = ChunkedOps::add_positions(prefix_tokens, pos_embed, x);
    row_weights_.assign(result.quantized->tokens(), 1.0F);
    std::fill_n(row_weights_.begin(), class_tokens_read(model_.config.pooling), kClassTokenWeight);
    return result;
  }

  Tensor layer_norm(const LayerNorm& norm, const Tensor& x) {
    const auto place = norms_.find(norm.name);
    return ChunkedOps::layer_norm(norm, place == norms_.end() ? norm : *place->second, x);
  }

  Tensor linear(const Linear& exact, const Tensor& x) {
    const auto& [layer, norm] = layers_.at(exact.name);
    last_layer_ = exact.name;
    const Quantizer* quantizer = nullptr;
    if (settings_.quantizes(group_of(Slot::input, exact.role))) {
      quantizer = &(quantizers_[{exact.name, Slot::input}] =
                        find_input_quantizer({settings_, *layer, norm, *x.quantized, pool_}));
    }
    SequencePointer output = derive(
        x.exact, x.quantized->tokens(), exact.out_features,
        [this, &exact](FloatTensor part) { return float_ops_.linear(exact, std::move(part)); });
    Moments moments;
    if (wants_moments(settings_, exact.role)) {
      const bool aims = output && adds_to_stream(exact.role);
      moments = aims ? moments_towards_stream(*layer, quantizer, *x.quantized, *output)
                     : moments_towards_layer(*layer, quantizer, *x.quantized);
      output = aims ? nullptr : output;  // the stream holds it
    }
    fit_weights(settings_, *layer, std::move(moments), x.quantized->rows(), quantizers_, pool_);
    layer_done();
    const auto compute = [this, layer = layer, quantizer](FloatTensor part) {
      quantize(quantizer, part);
      return float_ops_.linear(*layer, std::move(part));
    };
    return {std::move(output), derive_output(exact, x.quantized, compute)};
  }

  Tensor attention(const Attention& attn, const Tensor& qkv) {
    return {derive(qkv.exact, qkv.quantized->tokens(), qkv.quantized->channels() / 3,
                   [this, &attn](FloatTensor part) {
                     return float_ops_.attention(attn, std::move(part));
                   }),
            quantized_attention(attn, qkv.quantized)};
  }

  Tensor first_tokens(std::size_t count, const Tensor& x) {
    row_weights_.assign(count, 1.0F);
    return ChunkedOps::first_tokens(count, x);
  }
  Tensor mean_of_tokens(std::size_t first, const Tensor& x) {
    row_weights_.assign(1, 1.0F);
    return ChunkedOps::mean_of_tokens(first, x);
  }
  Tensor join_tokens(const Tensor& x) {
    row_weights_.assign(1, 1.0F);
    return ChunkedOps::join_tokens(x);
  }
  Tensor first_and_mean(std::size_t first, const Tensor& x) {
    row_weights_.assign(1, 1.0F);
    return ChunkedOps::first_and_mean(first, x);
  }

  QuantizedModel take_result() {
    for_each_linear(model_, [](Linear& layer) { layer.has_bias = !layer.bias.empty(); });
    return {std::move(model_), settings_, std::move(quantizers_)};
  }

 private:
  struct PlacedLayer {
    Linear* layer = nullptr;
    LayerNorm* norm = nullptr;  // whose output it reads, if any
  };

  /// The target is the layer's output for its input x before quantization. With the float network's
  /// own output as the target, errors of earlier layers would also be corrected; every layer's
  /// error becomes lower then, but accuracy becomes worse: least squares shrinks what is uncertain,
  /// first of all the small differences between images.
  Moments moments_towards_layer(const Linear& layer, const Quantizer* quantizer,
                                const Sequence& x) {
    MomentSums sums(layer.in_features, layer.in_features, row_weights_);
    for (std::size_t i = 0; i < x.chunks(); ++i) {
      FloatTensor part = x.chunk(i);
      const FloatTensor unquantized = copy(part);
      quantize(quantizer, part);
      sums.add(part.values(), unquantized.values(), pool_);
      work_on();
    }
    return through(layer, std::move(sums).moments(), pool_);
  }

  /// Where a layer adds to the stream, a small share of this correction pays. `exact` is the
  /// layer's output in the float network, by which the float stream is continued.
  Moments moments_towards_stream(const Linear& layer, const Quantizer* quantizer, const Sequence& x,
                                 const Sequence& exact) {
    MomentSums sums(layer.in_features, layer.out_features, row_weights_);
    for (std::size_t i = 0; i < x.chunks(); ++i) {
      advance_exact_stream(i, exact);
      FloatTensor part = x.chunk(i);
      FloatTensor target = float_ops_.linear(layer, copy(part));
      aim_at_stream(i, target);
      quantize(quantizer, part);
      sums.add(part.values(), target.values(), pool_);
      work_on();
    }
    return std::move(sums).moments();
  }

  void advance_exact_stream(std::size_t chunk, const Sequence& output) {
    const FloatTensor added = output.chunk(chunk);
    stream_.exact->replace(chunk, float_ops_.add(stream_.exact->chunk(chunk), added));
  }

  /// Moves `target` by stream_share_ towards the output that would give the float network's stream.
  void aim_at_stream(std::size_t chunk, FloatTensor& target) const {
    const FloatTensor exact = stream_.exact->chunk(chunk);
    const FloatTensor quantized = stream_.quantized->chunk(chunk);
    for (std::size_t i = 0; i < target.size(); ++i) {
      const float whole = exact.values()[i] - quantized.values()[i];
      target.values()[i] += stream_share_ * (whole - target.values()[i]);
    }
  }

  Model model_;                                    // quantized as far as the pass has gone
  std::map<std::string, PlacedLayer> layers_;      // of model_, by name
  std::map<std::string, const LayerNorm*> norms_;  // of model_ that may change, by name
  std::vector<float> row_weights_ = {1.0F};        // of the tokens of an image
  float stream_share_;
};

}  // namespace

Calibration calibrate_paired(Model model, const QuantizationSettings& settings,
                             const Images& images, ThreadPool& pool,
                             const CalibrationContext& context) {
  const std::size_t layers = count_layers(model);
  PairedOps ops(model, layers, settings, images, pool, context);
  static_cast<void>(forward(model, ops));
  Calibration result;
  result.quantized = ops.take_result();
  result.after_initial_calibration = result.quantized.quantizers;
  return result;
}

}  // namespace bitlog2::calibration
