#include "calibrate/chunked_ops.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "bitlog2/error.h"
#include "calibrate/attention_operands.h"

namespace bitlog2::calibration {
namespace {

std::size_t images_in_chunk(std::size_t chunk, std::size_t images) {
  return std::min(kImagesPerChunk, images - chunk * kImagesPerChunk);
}

bool is_finite(std::span<const float> values) {
  // NaN and infinities make the sum NaN.
  constexpr std::size_t kLanes = 16;
  std::array<float, kLanes> sums = {};
  const std::size_t whole = values.size() / kLanes * kLanes;
  for (std::size_t i = 0; i < whole; i += kLanes) {
    for (std::size_t lane = 0; lane < kLanes; ++lane) {
      sums[lane] += values[i + lane] * 0.0F;
    }
  }
  for (std::size_t i = whole; i < values.size(); ++i) {
    sums[0] += values[i] * 0.0F;
  }
  return std::ranges::all_of(sums, [](float sum) { return sum == 0.0F; });
}

}  // namespace

std::size_t count_layers(Model& model) {
  std::size_t layers = 0;
  for_each_linear(model, [&](Linear&) { ++layers; });
  return layers;
}

ChunkedOps::ChunkedOps(const ModelConfig& config, std::size_t layers,
                       const QuantizationSettings& settings, const Images& images, ThreadPool& pool,
                       const CalibrationContext& context)
    : settings_(settings),
      pool_(pool),
      storage_(context.memory_bytes),
      simulated_(quantizers_, pool),
      float_ops_(config, {}, none_, pool, nobody_),
      config_(config),
      images_(images),
      context_(context),
      layers_(layers) {}

SequencePointer ChunkedOps::patches() {
  const std::size_t grid = config_.img_size / config_.patch_size;
  return std::make_shared<Sequence>(
      images_.count, grid * grid, 3 * config_.patch_size * config_.patch_size,
      [this](std::size_t chunk) {
        const std::vector<float> pixels =
            images_.read(chunk * kImagesPerChunk, images_in_chunk(chunk, images_.count));
        simulate::FloatOps<simulate::NoQuantization> ops(config_, pixels, none_, pool_, nobody_);
        return ops.unfold_patches();
      });
}

ChunkedOps::Tensor ChunkedOps::add_positions(std::span<const float> prefix_tokens,
                                             std::span<const float> pos_embed, const Tensor& x) {
  const std::size_t channels = x.quantized->channels();
  return derive(x, x.quantized->tokens() + prefix_tokens.size() / channels, channels,
                [this, prefix_tokens, pos_embed](const FloatTensor& part) {
                  return float_ops_.add_positions(prefix_tokens, pos_embed, part);
                });
}

ChunkedOps::Tensor ChunkedOps::layer_norm(const LayerNorm& norm, const LayerNorm& quantized,
                                          const Tensor& x) {
  keep(x.exact);
  keep(x.quantized);
  stream_ = x;
  const auto normalise_by = [this](const LayerNorm& by) {
    return [this, &by](const FloatTensor& part) { return float_ops_.layer_norm(by, part); };
  };
  const std::size_t tokens = x.quantized->tokens();
  return {derive(x.exact, tokens, norm.channels, normalise_by(norm)),
          derive(x.quantized, tokens, norm.channels, normalise_by(quantized))};
}

ChunkedOps::Tensor ChunkedOps::activation(Activation function, const Tensor& x) {
  return derive(x, x.quantized->tokens(), x.quantized->channels() / branches(function),
                [this, function](FloatTensor part) {
                  return float_ops_.activation(function, std::move(part));
                });
}

ChunkedOps::Tensor ChunkedOps::add(Tensor x, const Tensor& y) {
  const auto add_to = [this](const SequencePointer& sum, const SequencePointer& other) {
    if (!sum || !other) {
      return;
    }
    keep(sum);
    for (std::size_t i = 0; i < sum->chunks(); ++i) {
      // The summand may be computed from the stream before the addition, so it is read first for
      // the whole chunk.
      const FloatTensor added = other->chunk(i);
      FloatTensor result = float_ops_.add(sum->chunk(i), added);
      require_finite(result, i, last_layer_);
      sum->replace(i, std::move(result));
      work_on();
    }
    other->end();
  };
  add_to(x.exact, y.exact);
  add_to(x.quantized, y.quantized);
  return x;
}

ChunkedOps::Tensor ChunkedOps::merge_patches(std::size_t grid, const Tensor& x) {
  return derive(
      x, grid * grid / 4, 4 * x.quantized->channels(),
      [this, grid](const FloatTensor& part) { return float_ops_.merge_patches(grid, part); });
}

ChunkedOps::Tensor ChunkedOps::first_tokens(std::size_t count, const Tensor& x) {
  return derive(x, count, x.quantized->channels(), [this, count](const FloatTensor& part) {
    return float_ops_.first_tokens(count, part);
  });
}

ChunkedOps::Tensor ChunkedOps::mean_of_tokens(std::size_t first, const Tensor& x) {
  return derive(x, 1, x.quantized->channels(), [this, first](const FloatTensor& part) {
    return float_ops_.mean_of_tokens(first, part);
  });
}

ChunkedOps::Tensor ChunkedOps::join_tokens(const Tensor& x) {
  return derive(x, 1, x.quantized->tokens() * x.quantized->channels(),
                [this](const FloatTensor& part) { return float_ops_.join_tokens(part); });
}

ChunkedOps::Tensor ChunkedOps::first_and_mean(std::size_t first, const Tensor& x) {
  return derive(x, 1, 2 * x.quantized->channels(), [this, first](const FloatTensor& part) {
    return float_ops_.first_and_mean(first, part);
  });
}

void ChunkedOps::quantize(const Quantizer* quantizer, FloatTensor& x) const {
  if (quantizer != nullptr) {
    simulate::fake_quantize_parallel(*quantizer, x.values(), pool_);
  }
}

SequencePointer ChunkedOps::quantized_attention(const Attention& attn, const SequencePointer& qkv) {
  qkv->keep_if_small(storage_);
  find_operand_quantizers(settings_, attn, *qkv, quantizers_, float_ops_, pool_);
  SequencePointer context =
      derive(qkv, qkv->tokens(), qkv->channels() / 3, [this, &attn](FloatTensor part) {
        simulate::FloatOps<simulate::Simulated> ops(config_, {}, simulated_, pool_, nobody_);
        return ops.attention(attn, std::move(part));
      });
  context->keep(storage_);
  work_on();
  return context;
}

void ChunkedOps::keep(const SequencePointer& x) {
  if (!x || x->is_kept()) {
    return;
  }
  x->keep(storage_);
  for (std::size_t i = 0; i < x->chunks(); ++i) {
    require_finite(x->chunk(i), i, last_layer_);
  }
}

void ChunkedOps::require_finite(const FloatTensor& x, std::size_t chunk,
                                const std::string& layer) const {
  if (is_finite(x.values())) {
    return;
  }
  const std::size_t size = x.tokens() * x.channels();
  std::size_t image = 0;
  while (image + 1 < x.batch() && is_finite(x.values().subspan(image * size, size))) {
    ++image;
  }
  const std::size_t index = chunk * kImagesPerChunk + image;
  throw Error(fmt::format(
      "{}: activations are not finite numbers here for {}; the checkpoint may be damaged", layer,
      index < context_.image_names.size() ? context_.image_names[index]
                                          : fmt::format("calibration image {}", index)));
}

void ChunkedOps::work_on() const {
  if (context_.progress) {
    context_.progress(layers_done_, layers_);
  }
}

void ChunkedOps::layer_done() {
  ++layers_done_;
  work_on();
}

}  // namespace bitlog2::calibration
