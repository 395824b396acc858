#include "calibrate/reconstruction/gradient_ops.h"

#include <algorithm>
#include <numeric>
#include <utility>
#include <variant>

#include "quant/affine.h"
#include "simulate/gradients.h"
#include "simulate/head_layout.h"
#include "simulate/loops.h"

namespace bitlog2::calibration {
namespace {

using FloatTensor = simulate::Tensor;

FloatTensor zeros_like(const FloatTensor& x) {
  FloatTensor result(x.batch(), x.tokens(), x.channels());
  std::ranges::fill(result.values(), 0.0F);
  return result;
}

MatrixView<float> matrix(const FloatTensor& x) {
  return {x.values().data(), x.rows(), x.channels(), x.channels()};
}

/// The lowest and the highest value that a channel of a quantizer stands for.
struct Range {
  float low;
  float high;
};

Range range_of(const Quantizer& quantizer, std::size_t channel) {
  if (const auto* affine = std::get_if<Affine>(&quantizer)) {
    const float scale = affine->scale.at(channel);
    const float zero_point = affine->zero_point.at(channel);
    return {-zero_point * scale, (quant::qmax_of(affine->bits) - zero_point) * scale};
  }
  const auto& codebook = std::get<Codebook>(quantizer);
  return {static_cast<float>(codebook.levels.front()) * codebook.scale,
          static_cast<float>(codebook.levels.back()) * codebook.scale};
}

/// sums <- sums + the sum of the rows of `values`, in their order.
void add_rows(const FloatTensor& values, std::span<float> sums) {
  for (std::size_t row = 0; row < values.rows(); ++row) {
    simulate::add(sums, values.row(row));
  }
}

/// Adds the gradient of an image's mean to its tokens from `first` on.
void spread_mean(std::span<const float> mean, std::size_t first, std::size_t image,
                 FloatTensor& gradient) {
  std::vector<float> share(mean.begin(), mean.end());
  simulate::scale(share, 1.0F / static_cast<float>(gradient.tokens() - first));
  for (std::size_t t = first; t < gradient.tokens(); ++t) {
    simulate::add(gradient.row(image * gradient.tokens() + t), share);
  }
}

}  // namespace

Gradients::Gradients(QuantizedModel& quantized) {
  for_each_linear(quantized.model, [&](Linear& layer) {
    linear[layer.name] = {std::vector<float>(layer.weight.size()),
                          std::vector<float>(layer.bias.size())};
  });
  for_each_norm(quantized.model, [&](LayerNorm& norm) {
    norms[norm.name] = {std::vector<float>(norm.channels), std::vector<float>(norm.channels)};
  });
  for (const auto& [key, quantizer] : quantized.quantizers) {
    if (key.slot != Slot::weight && key.slot != Slot::attention_map) {
      scales[key].resize(channel_count(quantizer));
    }
  }
}

void Gradients::set_to_zero() {
  const auto clear = [](std::vector<float>& values) { std::ranges::fill(values, 0.0F); };
  for (auto& [name, layer] : linear) {
    clear(layer.weight);
    clear(layer.bias);
  }
  for (auto& [name, norm] : norms) {
    clear(norm.gamma);
    clear(norm.beta);
  }
  for (auto& [key, scale] : scales) {
    clear(scale);
  }
}

void add_gradient(Variable& x, FloatTensor gradient) {
  if (x.gradient.size() == 0) {
    x.gradient = std::move(gradient);
  } else {
    simulate::add(x.gradient.values(), gradient.values());
  }
}

GradientOps::GradientOps(const ModelConfig& config, const Quantizers& quantizers,
                         std::span<const float> images, Gradients& gradients, BlockLoss block_loss,
                         ThreadPool& pool)
    : quantizers_(quantizers),
      gradients_(gradients),
      block_loss_(std::move(block_loss)),
      pool_(pool),
      simulated_(quantizers, pool),
      float_ops_(config, images, none_, pool, nobody_) {}

template <class Body>
void GradientOps::for_rows(std::size_t rows, Body body) {
  const std::size_t grain = std::max<std::size_t>(1, rows / (4 * pool_.size()));
  pool_.parallel_for(rows, grain, [&](std::size_t begin, std::size_t end) {
    for (std::size_t row = begin; row < end; ++row) {
      body(row);
    }
  });
}

GradientOps::Tensor GradientOps::remember(FloatTensor value,
                                          std::function<void(FloatTensor&)> back) {
  auto y = std::make_shared<Variable>(std::move(value));
  way_back_.emplace_back([y, back = std::move(back)] {
    if (y->gradient.size() > 0) {
      back(y->gradient);
    }
  });
  return y;
}

GradientOps::Tensor GradientOps::remember_rows(const Tensor& x, FloatTensor value,
                                               std::vector<std::size_t> sources) {
  return remember(std::move(value), [x, sources = std::move(sources)](FloatTensor& gradient) {
    FloatTensor source = zeros_like(x->value);
    // A row of y may hold several of x, side by side.
    const std::size_t channels = source.channels();
    for (std::size_t i = 0; i < sources.size(); ++i) {
      simulate::add(source.row(sources[i]), gradient.values().subspan(i * channels, channels));
    }
    add_gradient(*x, std::move(source));
  });
}

GradientOps::Tensor GradientOps::embed_patches(const Linear& projection) {
  return apply(projection, std::make_shared<Variable>(float_ops_.unfold_patches()), false);
}

GradientOps::Tensor GradientOps::add_positions(std::span<const float> prefix_tokens,
                                               std::span<const float> pos_embed, const Tensor& x) {
  const std::size_t prefix = prefix_tokens.size() / x->value.channels();
  return remember(float_ops_.add_positions(prefix_tokens, pos_embed, x->value),
                  [x, prefix](FloatTensor& gradient) {
                    FloatTensor patches(x->value.batch(), x->value.tokens(), x->value.channels());
                    for (std::size_t row = 0; row < patches.rows(); ++row) {
                      const std::size_t image = row / patches.tokens();
                      std::ranges::copy(gradient.row(row + (image + 1) * prefix),
                                        patches.row(row).begin());
                    }
                    add_gradient(*x, std::move(patches));
                  });
}

GradientOps::Tensor GradientOps::layer_norm(const LayerNorm& norm, const Tensor& x) {
  return remember(float_ops_.layer_norm(norm, x->value), [this, &norm, x](FloatTensor& gradient) {
    Gradients::OfNorm& sums = gradients_.norms.at(norm.name);
    add_rows(gradient, sums.beta);
    FloatTensor of_gamma(gradient.batch(), gradient.tokens(), gradient.channels());
    for_rows(gradient.rows(), [&](std::size_t row) {
      simulate::layer_norm_gradient(x->value.row(row), norm.gamma, norm.eps, gradient.row(row),
                                    of_gamma.row(row));
    });
    add_rows(of_gamma, sums.gamma);
    add_gradient(*x, std::move(gradient));
  });
}

GradientOps::Tensor GradientOps::linear(const Linear& layer, const Tensor& x) {
  return apply(layer, x, true);
}

GradientOps::Tensor GradientOps::apply(const Linear& layer, const Tensor& x,
                                       bool wants_input_gradient) {
  auto input = std::make_shared<FloatTensor>(copy(x->value));
  simulated_.input(layer, *input);
  FloatTensor output = float_ops_.apply(layer, *input);
  Gradients::OfLinear& sums = gradients_.linear.at(layer.name);
  sums.output_square =
      std::max(sums.output_square,
               simulate::dot(output.values(), output.values()) / static_cast<float>(output.size()));
  return remember(std::move(output),
                  [this, &layer, &sums, x, input, wants_input_gradient](FloatTensor& gradient) {
                    multiply(matrix(gradient).transposed(), matrix(*input), sums.weight.data(),
                             layer.in_features, Onto::sums, pool_);
                    if (!sums.bias.empty()) {
                      add_rows(gradient, sums.bias);
                    }
                    if (!wants_input_gradient) {
                      return;
                    }
                    FloatTensor of_input(input->batch(), input->tokens(), input->channels());
                    const MatrixView<float> weight = {layer.weight.data(), layer.out_features,
                                                      layer.in_features, layer.in_features};
                    multiply(matrix(gradient), weight, of_input.values().data(), layer.in_features,
                             Onto::nothing, pool_);
                    unquantize({layer.name, Slot::input}, 1, x->value, *input, of_input);
                    add_gradient(*x, std::move(of_input));
                  });
}

void GradientOps::unquantize(const QuantizerKey& key, std::size_t channels, const FloatTensor& x,
                             const FloatTensor& quantized, FloatTensor& gradient) {
  const Quantizer* quantizer = find_quantizer(quantizers_, key.layer, key.slot);
  if (quantizer == nullptr) {
    return;
  }
  // For operands of attention, [images * groups * heads, tokens, head_dim].
  const std::size_t own = channel_count(*quantizer);
  const auto channel_of = [&](std::size_t row) {
    return own == 1 ? 0 : row / x.tokens() % channels;
  };
  std::vector<float> of_scale(x.rows());
  for_rows(x.rows(), [&](std::size_t row) {
    const Range range = range_of(*quantizer, channel_of(row));
    of_scale[row] = simulate::quantizer_gradient(x.row(row), quantized.row(row), range.low,
                                                 range.high, gradient.row(row));
  });
  std::vector<float>& sums = gradients_.scales.at(key);
  for (std::size_t row = 0; row < x.rows(); ++row) {
    sums.at(channel_of(row)) += of_scale[row];
  }
}

GradientOps::Tensor GradientOps::attention(const Attention& attn, const Tensor& qkv) {
  struct Operands {
    simulate::Heads heads;
    FloatTensor map;            // the attention map
    FloatTensor quantized_map;  // the attention map after its quantizer
  };
  const auto operands = std::make_shared<Operands>();
  operands->heads = float_ops_.split_heads(attn, qkv->value);
  simulate::Heads& heads = operands->heads;
  simulated_.operand(attn, Slot::query, heads.query.values());
  simulated_.operand(attn, Slot::key, heads.key.values());
  simulated_.operand(attn, Slot::value, heads.value.values());
  operands->map = float_ops_.attention_map(attn, heads);
  operands->quantized_map = copy(operands->map);
  simulated_.operand(attn, Slot::attention_map, operands->quantized_map.values());
  FloatTensor contexts = float_ops_.weigh_values(attn, heads, operands->quantized_map);

  return remember(std::move(contexts), [this, &attn, qkv, operands](FloatTensor& gradient) {
    const simulate::HeadLayout layout(attn, qkv->value.batch());
    const simulate::Heads& heads = operands->heads;
    simulate::Heads of;
    FloatTensor contexts;
    for (FloatTensor* part : {&of.query, &of.key, &of.value, &contexts}) {
      *part = FloatTensor(layout.matrices(), layout.tokens, layout.head_dim);
    }
    for_rows(layout.matrices(), [&](std::size_t i) {
      const std::size_t first = i * layout.tokens;
      const auto part = [&](const FloatTensor& x) {
        return matrix(x).middle_rows(first, layout.tokens);
      };
      layout.gather(gradient, i, 0, contexts);
      multiply(part(operands->quantized_map).transposed(), part(contexts),
               of.value.row(first).data(), layout.head_dim);
      FloatTensor scores(1, layout.tokens, layout.tokens);
      multiply(part(contexts), part(heads.value).transposed(), scores.values().data(),
               layout.tokens);
      for (std::size_t t = 0; t < layout.tokens; ++t) {
        simulate::softmax_gradient(operands->map.row(first + t), scores.row(t));
      }
      if (!attn.scale_query) {
        simulate::scale(scores.values(), layout.scale());
      }
      multiply(matrix(scores), part(heads.key), of.query.row(first).data(), layout.head_dim);
      multiply(matrix(scores).transposed(), part(heads.query), of.key.row(first).data(),
               layout.head_dim);
    });
    const simulate::Heads exact = float_ops_.split_heads(attn, qkv->value);
    unquantize({attn.name, Slot::query}, attn.num_heads, exact.query, heads.query, of.query);
    unquantize({attn.name, Slot::key}, attn.num_heads, exact.key, heads.key, of.key);
    unquantize({attn.name, Slot::value}, attn.num_heads, exact.value, heads.value, of.value);
    if (attn.scale_query) {
      simulate::scale(of.query.values(), layout.scale());
    }
    FloatTensor of_qkv(qkv->value.batch(), qkv->value.tokens(), qkv->value.channels());
    for_rows(layout.matrices(), [&](std::size_t i) {
      const std::size_t first = i * layout.tokens;
      if (!attn.rotation.empty()) {
        layout.rotate(attn, i, true, of.query);
        layout.rotate(attn, i, true, of.key);
      }
      layout.scatter(of.query.row(first).data(), i, 0, of_qkv);
      layout.scatter(of.key.row(first).data(), i, 1, of_qkv);
      layout.scatter(of.value.row(first).data(), i, 2, of_qkv);
    });
    add_gradient(*qkv, std::move(of_qkv));
  });
}

GradientOps::Tensor GradientOps::activation(Activation function, const Tensor& x) {
  return remember(float_ops_.activation(function, copy(x->value)),
                  [this, function, x](FloatTensor& gradient) {
                    if (function == Activation::swiglu) {
                      const FloatTensor& value = x->value;
                      FloatTensor of_x(value.batch(), value.tokens(), value.channels());
                      for_rows(gradient.rows(), [&](std::size_t row) {
                        simulate::swiglu_gradient(value.row(row), gradient.row(row), of_x.row(row));
                      });
                      return add_gradient(*x, std::move(of_x));
                    }
                    for_rows(gradient.rows(), [&](std::size_t row) {
                      simulate::activation_gradient(function, x->value.row(row), gradient.row(row));
                    });
                    add_gradient(*x, std::move(gradient));
                  });
}

GradientOps::Tensor GradientOps::add(const Tensor& x, const Tensor& y) {
  return remember(float_ops_.add(copy(x->value), y->value), [x, y](FloatTensor& gradient) {
    add_gradient(*x, copy(gradient));
    add_gradient(*y, std::move(gradient));
  });
}

GradientOps::Tensor GradientOps::merge_patches(std::size_t grid, const Tensor& x) {
  std::vector<std::size_t> sources;
  const std::size_t tokens = grid * grid;
  for (std::size_t image = 0; image < x->value.batch(); ++image) {
    for (std::size_t i = 0; i < tokens; ++i) {
      sources.push_back(image * tokens + decltype(float_ops_)::merged_token(grid, i / 4, i % 4));
    }
  }
  return remember_rows(x, float_ops_.merge_patches(grid, x->value), std::move(sources));
}

GradientOps::Tensor GradientOps::first_tokens(std::size_t count, const Tensor& x) {
  std::vector<std::size_t> sources;
  for (std::size_t image = 0; image < x->value.batch(); ++image) {
    for (std::size_t t = 0; t < count; ++t) {
      sources.push_back(image * x->value.tokens() + t);
    }
  }
  return remember_rows(x, float_ops_.first_tokens(count, x->value), std::move(sources));
}

GradientOps::Tensor GradientOps::join_tokens(const Tensor& x) {
  std::vector<std::size_t> sources(x->value.rows());
  std::iota(sources.begin(), sources.end(), std::size_t{0});
  return remember_rows(x, float_ops_.join_tokens(x->value), std::move(sources));
}

GradientOps::Tensor GradientOps::mean_of_tokens(std::size_t first, const Tensor& x) {
  return remember(float_ops_.mean_of_tokens(first, x->value), [first, x](FloatTensor& gradient) {
    FloatTensor of_x = zeros_like(x->value);
    for (std::size_t image = 0; image < of_x.batch(); ++image) {
      spread_mean(gradient.row(image), first, image, of_x);
    }
    add_gradient(*x, std::move(of_x));
  });
}

GradientOps::Tensor GradientOps::first_and_mean(std::size_t first, const Tensor& x) {
  return remember(float_ops_.first_and_mean(first, x->value), [first, x](FloatTensor& gradient) {
    FloatTensor of_x = zeros_like(x->value);
    for (std::size_t image = 0; image < of_x.batch(); ++image) {
      const std::span<const float> row = gradient.row(image);
      simulate::add(of_x.row(image * of_x.tokens()), row.first(of_x.channels()));
      spread_mean(row.subspan(of_x.channels()), first, image, of_x);
    }
    add_gradient(*x, std::move(of_x));
  });
}

void GradientOps::end_block(const Block& /*block*/, const Tensor& x) {
  const std::size_t block = blocks_++;
  if (block_loss_) {
    way_back_.emplace_back([this, block, x] { block_loss_(block, *x); });
  }
}

void GradientOps::go_back() {
  for (; !way_back_.empty(); way_back_.pop_back()) {
    way_back_.back()();
  }
}

}  // namespace bitlog2::calibration
