// The forward pass of calibration (an Ops of model/forward.h): on all images, in bounded memory.
// The residual stream is kept. Tensors between two layers that write it are computed one chunk of
// images at a time, whenever they are needed. Derived classes define linear layers and attention.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "bitlog2/calibrate.h"
#include "bitlog2/quantized_model.h"
#include "calibrate/images.h"
#include "calibrate/sequence.h"
#include "simulate/float_ops.h"
#include "simulate/simulated.h"

namespace bitlog2::calibration {

/// The number of linear layers, for the progress of calibration.
std::size_t count_layers(Model& model);

class ChunkedOps {
 public:
  /// The values of the float network, or null where they are not needed, and those of the network
  /// as quantized so far.
  struct Tensor {
    SequencePointer exact;
    SequencePointer quantized;
  };

  /// `layers` is the model's number of linear layers. Arguments are kept by reference.
  ChunkedOps(const ModelConfig& config, std::size_t layers, const QuantizationSettings& settings,
             const Images& images, ThreadPool& pool, const CalibrationContext& context);

  Tensor add_positions(std::span<const float> prefix_tokens, std::span<const float> pos_embed,
                       const Tensor& x);
  Tensor layer_norm(const LayerNorm& norm, const Tensor& x) { return layer_norm(norm, norm, x); }
  Tensor activation(Activation function, const Tensor& x);
  /// x + y. Afterwards y has no chunks any more.
  Tensor add(Tensor x, const Tensor& y);
  Tensor merge_patches(std::size_t grid, const Tensor& x);
  Tensor first_tokens(std::size_t count, const Tensor& x);
  Tensor mean_of_tokens(std::size_t first, const Tensor& x);
  Tensor join_tokens(const Tensor& x);
  Tensor first_and_mean(std::size_t first, const Tensor& x);

 protected:
  using FloatTensor = simulate::Tensor;

  /// `norm` is that of the float network, `quantized` that of the quantized one.
  Tensor layer_norm(const LayerNorm& norm, const LayerNorm& quantized, const Tensor& x);

  /// The unfolded patches of the images.
  SequencePointer patches();

  /// The sequence of `compute` of every chunk of x, [tokens, channels] for each image; null if x is
  /// null.
  template <class Compute>
  static SequencePointer derive(const SequencePointer& x, std::size_t tokens, std::size_t channels,
                                Compute compute) {
    if (!x) {
      return nullptr;
    }
    return std::make_shared<Sequence>(
        x->images(), tokens, channels,
        [x, compute](std::size_t chunk) { return compute(x->chunk(chunk)); });
  }

  /// The same for both networks.
  template <class Compute>
  static Tensor derive(const Tensor& x, std::size_t tokens, std::size_t channels, Compute compute) {
    return {derive(x.exact, tokens, channels, compute),
            derive(x.quantized, tokens, channels, compute)};
  }

  /// The output of a layer; throws Error if values are not finite.
  template <class Compute>
  SequencePointer derive_output(const Linear& layer, const SequencePointer& x, Compute compute) {
    return std::make_shared<Sequence>(x->images(), x->tokens(), layer.out_features,
                                      [this, name = layer.name, x, compute](std::size_t chunk) {
                                        FloatTensor output = compute(x->chunk(chunk));
                                        require_finite(output, chunk, name);
                                        return output;
                                      });
  }

  /// Replaces x by x^, unless the quantizer is null.
  void quantize(const Quantizer* quantizer, FloatTensor& x) const;

  /// Finds the quantizers of attention and applies them.
  SequencePointer quantized_attention(const Attention& attn, const SequencePointer& qkv);

  /// Throws Error that names the layer and the image if the values of chunk x are not all finite.
  void require_finite(const FloatTensor& x, std::size_t chunk, const std::string& layer) const;

  /// Reports progress; the callback may end calibration by an exception.
  void work_on() const;
  void layer_done();

  const QuantizationSettings& settings_;
  ThreadPool& pool_;
  Quantizers quantizers_;
  Storage storage_;
  Tensor stream_;           // the residual stream as a LayerNorm last read it
  std::string last_layer_;  // whose output is in it
  const LayerObserver nobody_;
  simulate::NoQuantization none_;
  simulate::Simulated simulated_;
  simulate::FloatOps<simulate::NoQuantization> float_ops_;

 private:
  void keep(const SequencePointer& x);

  const ModelConfig& config_;
  const Images& images_;
  const CalibrationContext& context_;
  std::size_t layers_;
  std::size_t layers_done_ = 0;
};

}  // namespace bitlog2::calibration
