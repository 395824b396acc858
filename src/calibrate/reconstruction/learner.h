// The parameters that reconstruction changes, and the size of their steps.
#pragma once

#include <list>
#include <string>
#include <vector>

#include "bitlog2/parallel.h"
#include "bitlog2/quantized_model.h"
#include "calibrate/reconstruction/adam.h"
#include "calibrate/reconstruction/gradient_ops.h"
#include "quant/affine.h"

namespace bitlog2::calibration {

/// Learns codes and scales of weights, biases, LayerNorms' affines, and scales of activations,
/// except that of the patch embedding's input, whose codes may be the pixels themselves.
class Learner {
 public:
  /// `quantized` is kept by reference; from now on its model's weights are rounded by their
  /// quantizers.
  Learner(QuantizedModel& quantized, ThreadPool& pool);

  /// The passes of a step add their gradients here.
  Gradients& gradients() { return gradients_; }

  /// Moves all parameters against their gradients, by `share` of the largest step, and sets the
  /// gradients to zero.
  void step(float share);

 private:
  /// The weights of a layer as they are learned: in units of their scales, before rounding.
  struct Weights {
    Linear* layer;
    Affine* quantizer;
    std::vector<float> values;          // [out, in]
    std::vector<float> scale_gradient;  // [out], times the scale

    std::span<float> row(std::size_t r);
  };

  struct Learned {
    Adam adam;
    float rate;
    bool relative;  // to the values themselves
    const Gradients::OfLinear* layer =
        nullptr;  // the layer to whose outputs the rate is relative, if any
  };

  void add_weights(Linear& layer, Affine& quantizer);
  void add_norm(LayerNorm& norm);
  void add_scales(const QuantizerKey& key, Quantizer& quantizer);
  void sum_scale_gradients(Weights& weights);
  void round_weights(Weights& weights);

  ThreadPool& pool_;
  Gradients gradients_;
  std::list<Weights> weights_;
  std::vector<Learned> learned_;
};

}  // namespace bitlog2::calibration
