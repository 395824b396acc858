// RepQ-ViT's calibration: a forward pass in which every quantizer first finds its parameters on its
// data, and then quantizes these data for the next layers.
#include "calibrate/repq.h"

#include <memory>
#include <utility>

#include "calibrate/chunked_ops.h"
#include "calibrate/input_quantizers.h"
#include "calibrate/weight_fitting.h"
#include "model/forward.h"

namespace bitlog2::calibration {
namespace {

class RepqOps : public ChunkedOps {
 public:
  using ChunkedOps::ChunkedOps;

  Tensor embed_patches(const Linear& projection) {
    return linear(projection, {nullptr, patches()});
  }

  Tensor linear(const Linear& layer, const Tensor& x) {
    last_layer_ = layer.name;
    const Quantizer* quantizer = nullptr;
    const bool by_channel = follows_norm(layer.role);
    if (settings_.quantizes(group_of(Slot::input, layer.role))) {
      quantizer = &(
          quantizers_[{layer.name, Slot::input}] =
              by_channel ? find_channel_ranges(*x.quantized, settings_.a_bits, pool_)
                         : find_range(*x.quantized, settings_.activation_bits(layer.role), pool_));
    }
    // The rounded weights live as long as the layer's output may be computed. The model keeps its
    // float weights, which are needed after the forward pass.
    const auto rounded = std::make_shared<Linear>(layer);
    if (settings_.quantizes(group_of(Slot::weight, layer.role))) {
      quantizers_[{layer.name, Slot::weight}] =
          round_by_rows(*rounded, settings_.weight_bits(layer.role), pool_);
    }
    layer_done();
    const auto compute = [this, rounded, quantizer, by_channel](FloatTensor part) {
      if (quantizer != nullptr && by_channel) {
        fake_quantize_columns(std::get<Affine>(*quantizer), part.values());
      } else {
        quantize(quantizer, part);
      }
      return float_ops_.linear(*rounded, std::move(part));
    };
    return {nullptr, derive_output(layer, x.quantized, compute)};
  }

  Tensor attention(const Attention& attn, const Tensor& qkv) {
    return {nullptr, quantized_attention(attn, qkv.quantized)};
  }

  Quantizers take_quantizers() { return std::move(quantizers_); }
};

}  // namespace

Calibration calibrate_repq(Model model, const QuantizationSettings& settings, const Images& images,
                           ThreadPool& pool, const CalibrationContext& context) {
  const std::size_t layers = count_layers(model);
  RepqOps ops(model.config, layers, settings, images, pool, context);
  static_cast<void>(forward(model, ops));

  Calibration result;
  Quantizers quantizers = ops.take_quantizers();
  result.after_initial_calibration = quantizers;
  for_each_norm_pair(model, [&](LayerNorm& norm, Linear& linear) {
    if (const auto input = quantizers.find({linear.name, Slot::input}); input != quantizers.end()) {
      input->second = reparameterize(norm, linear, std::get<Affine>(input->second));
    }
    // The quantizers of weights do not depend on data, so no second forward pass is needed.
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
