// The forward pass of the simulated engine (an Ops of model/forward.h) that records its operations,
// and can then compute the gradients of a loss with respect to weights, biases, LayerNorms' affines
// and quantizers' scales (backpropagation). Rounding is treated as the identity within a
// quantizer's range (straight-through; Bengio et al., arXiv:1308.3432), and a scale's gradient is
// that of Esser et al., "Learned Step Size Quantization", arXiv:1902.08153.
#pragma once

#include <cstddef>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "bitlog2/quantized_model.h"
#include "simulate/float_ops.h"
#include "simulate/simulated.h"

namespace bitlog2::calibration {

/// Gradients of a loss, summed over passes, by the names of layers.
struct Gradients {
  struct OfLinear {
    std::vector<float> weight;  ///< [out, in]
    std::vector<float> bias;    ///< [out]
    float output_square = 0;    ///< the largest mean square of the layer's outputs in a pass
  };
  struct OfNorm {
    std::vector<float> gamma;
    std::vector<float> beta;
  };

  /// Zeros for all layers and quantizers of `quantized`.
  explicit Gradients(QuantizedModel& quantized);

  void set_to_zero();

  std::map<std::string, OfLinear> linear;
  std::map<std::string, OfNorm> norms;
  /// For every scale, except of weights and attention maps: the gradient times the scale.
  std::map<QuantizerKey, std::vector<float>> scales;
};

/// A tensor of the forward pass and the gradient with respect to it; empty as long as there is
/// none.
struct Variable {
  explicit Variable(simulate::Tensor x) : value(std::move(x)) {}

  simulate::Tensor value;
  simulate::Tensor gradient;
};

/// Adds to a variable's gradient.
void add_gradient(Variable& x, simulate::Tensor gradient);

class GradientOps {
 public:
  using Tensor = std::shared_ptr<Variable>;

  /// Called with the residual stream behind a block; may add to its gradient.
  using BlockLoss = std::function<void(std::size_t block, Variable& stream)>;

  /// `images` [batch, 3, S, S], normalised. The weights of the model that goes forward are
  /// quantized already. Everything is kept by reference.
  GradientOps(const ModelConfig& config, const Quantizers& quantizers,
              std::span<const float> images, Gradients& gradients, BlockLoss block_loss,
              ThreadPool& pool);

  static bool drops_unread_tokens() { return true; }

  Tensor embed_patches(const Linear& projection);
  Tensor add_positions(std::span<const float> prefix_tokens, std::span<const float> pos_embed,
                       const Tensor& x);
  Tensor layer_norm(const LayerNorm& norm, const Tensor& x);
  Tensor linear(const Linear& layer, const Tensor& x);
  Tensor attention(const Attention& attn, const Tensor& qkv);
  Tensor activation(Activation function, const Tensor& x);
  Tensor add(const Tensor& x, const Tensor& y);
  Tensor merge_patches(std::size_t grid, const Tensor& x);
  Tensor first_tokens(std::size_t count, const Tensor& x);
  Tensor mean_of_tokens(std::size_t first, const Tensor& x);
  Tensor join_tokens(const Tensor& x);
  Tensor first_and_mean(std::size_t first, const Tensor& x);
  void end_block(const Block& block, const Tensor& x);

  /// Propagates the gradients of the variables back, adds to `gradients`, and drops the recorded
  /// pass.
  void go_back();

 private:
  using FloatTensor = simulate::Tensor;

  /// `back` is called with the gradient of the result y, if it has one.
  Tensor remember(FloatTensor value, std::function<void(FloatTensor&)> back);

  /// For a `value` whose rows are copies of rows of x: adds each row's gradient to its source row.
  Tensor remember_rows(const Tensor& x, FloatTensor value, std::vector<std::size_t> sources);

  Tensor apply(const Linear& layer, const Tensor& x, bool wants_input_gradient);

  /// Replaces the gradient behind the quantizer of `key`, if there is one, by the gradient before
  /// it.
  void unquantize(const QuantizerKey& key, std::size_t channels, const FloatTensor& x,
                  const FloatTensor& quantized, FloatTensor& gradient);

  template <class Body>
  void for_rows(std::size_t rows, Body body);

  const Quantizers& quantizers_;
  Gradients& gradients_;
  BlockLoss block_loss_;
  ThreadPool& pool_;
  const LayerObserver nobody_;
  simulate::NoQuantization none_;
  simulate::Simulated simulated_;
  simulate::FloatOps<simulate::NoQuantization> float_ops_;
  std::size_t blocks_ = 0;
  std::vector<std::function<void()>> way_back_;
};

}  // namespace bitlog2::calibration
