// RepQ-ViT's calibration: a forward pass whose every quantizer finds its parameters on the data
// that reaches it first, then quantizes that data for the layers below.
#include "calibrate/repq.h"

#include "calibrate/attention_operands.h"
#include "model/forward.h"
#include "simulate/float_ops.h"
#include "simulate/simulated.h"

namespace bitlog2::calibration {
namespace {

using simulate::fake_quantize_parallel;
using simulate::Tensor;

class Observing : public FindingOperands {
 public:
  Observing(const QuantizationSettings& settings, Quantizers& quantizers, std::size_t layers,
            ThreadPool& pool, const CalibrationProgress& progress)
      : FindingOperands(settings, quantizers, pool),
        settings_(settings),
        quantizers_(quantizers),
        layers_(layers),
        pool_(pool),
        progress_(progress) {}

  void input(const Linear& layer, Tensor& x) {
    if (!settings_.quantizes(group_of(Slot::input, layer.role))) {
      return;
    }
    Quantizer& quantizer = quantizers_[{layer.name, Slot::input}];
    if (follows_norm(layer.role)) {
      const Affine channels = calibrate_columns(x.values(), x.channels(), settings_.a_bits, pool_);
      fake_quantize_columns(channels, x.values());
      quantizer = channels;
    } else {
      quantizer = calibrate_affine(x.values(), settings_.activation_bits(layer.role), pool_);
      fake_quantize_parallel(quantizer, x.values(), pool_);
    }
  }

  std::span<const float> weight(const Linear& layer) {
    ++layers_done_;
    if (progress_) {
      progress_(layers_done_, layers_);
    }
    if (!settings_.quantizes(group_of(Slot::weight, layer.role))) {
      return layer.weight;
    }
    const Affine rows =
        calibrate_rows(layer.weight, layer.out_features, settings_.weight_bits(layer.role), pool_);
    weight_ = layer.weight;
    fake_quantize_rows(rows, weight_);
    quantizers_[{layer.name, Slot::weight}] = rows;
    return weight_;
  }

 private:
  const QuantizationSettings& settings_;
  Quantizers& quantizers_;
  std::size_t layers_;
  std::size_t layers_done_ = 0;
  ThreadPool& pool_;
  const CalibrationProgress& progress_;
  std::vector<float> weight_;
};

}  // namespace

Calibration calibrate_repq(Model model, const QuantizationSettings& settings,
                           std::span<const float> images, ThreadPool& pool,
                           const CalibrationProgress& progress) {
  std::size_t layers = 0;
  for_each_linear(model, [&](Linear&) { ++layers; });
  Quantizers quantizers;
  Observing observing(settings, quantizers, layers, pool, progress);
  const LayerObserver nobody;
  simulate::FloatOps<Observing> ops(model.config, images, observing, pool, nobody);
  static_cast<void>(forward(model, ops));

  Calibration result;
  result.after_initial_calibration = quantizers;
  for_each_norm_pair(model, [&](LayerNorm& norm, Linear& linear) {
    if (const auto input = quantizers.find({linear.name, Slot::input}); input != quantizers.end()) {
      input->second = reparameterize(norm, linear, std::get<Affine>(input->second));
    }
    // Weights do not depend on data: this is all that a second pass would find.
    const auto weights = quantizers.find({linear.name, Slot::weight});
    if (weights != quantizers.end()) {
      weights->second = calibrate_rows(linear.weight, linear.out_features,
                                       settings.weight_bits(linear.role), pool);
    }
  });
  result.quantized = {std::move(model), settings, std::move(quantizers)};
  return result;
}

}  // namespace bitlog2::calibration
