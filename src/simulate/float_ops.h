// The float arithmetic of the forward pass (model/forward.h), over a quantization policy
// that sees every tensor where a quantizer may stand:
//   void input(const Linear&, Tensor&)          before a linear layer
//   std::span<const float> weight(const Linear&)
//   void operand(const Attention&, Slot, std::span<float>)   what attention multiplies
// and that may have a member kDropsUnreadTokens: whether it needs no tokens that no later layer
// reads.
#pragma once

#include <algorithm>
#include <cmath>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/matrix_product.h"
#include "bitlog2/engine.h"
#include "bitlog2/model.h"
#include "bitlog2/parallel.h"
#include "bitlog2/quantized_model.h"
#include "simulate/head_layout.h"
#include "simulate/loops.h"
#include "simulate/tensor.h"

namespace bitlog2::simulate {

/// The policy that quantizes nothing.
struct NoQuantization {
  static constexpr bool kDropsUnreadTokens = true;

  void input(const Linear&, Tensor&) {}
  std::span<const float> weight(const Linear& linear) { return linear.weight; }
  void operand(const Attention&, Slot, std::span<float>) {}
};

template <class Quantization>
class FloatOps {
 public:
  using Tensor = simulate::Tensor;

  /// `images` [batch, 3, S, S], normalised; everything is kept by reference.
  FloatOps(const ModelConfig& config, std::span<const float> images, Quantization& quantization,
           ThreadPool& pool, const LayerObserver& observer)
      : config_(config),
        images_(images),
        quantization_(quantization),
        pool_(pool),
        observer_(observer) {}

  /// With an observer, all tokens are computed.
  bool drops_unread_tokens() const {
    if constexpr (requires { Quantization::kDropsUnreadTokens; }) {
      return Quantization::kDropsUnreadTokens && !observer_;
    }
    return false;
  }

  Tensor embed_patches(const Linear& projection) { return linear(projection, unfold_patches()); }

  /// A convolution whose stride is its kernel is a linear layer on unfolded patches.
  Tensor unfold_patches() {
    const std::size_t side = config_.img_size;
    const std::size_t patch = config_.patch_size;
    const std::size_t grid = side / patch;
    Tensor result(images_.size() / (3 * side * side), grid * grid, 3 * patch * patch);
    for_rows(result.rows(), [&](std::size_t row) {
      const std::size_t image = row / (grid * grid);
      const std::size_t y = row % (grid * grid) / grid * patch;
      const std::size_t x = row % grid * patch;
      float* target = result.row(row).data();
      for (std::size_t channel = 0; channel < 3; ++channel) {
        for (std::size_t i = 0; i < patch; ++i) {
          const std::size_t line = ((image * 3 + channel) * side + y + i) * side + x;
          target = std::copy_n(images_.data() + line, patch, target);
        }
      }
    });
    return result;
  }

  Tensor add_positions(std::span<const float> prefix_tokens, std::span<const float> pos_embed,
                       const Tensor& patches) {
    const std::size_t prefix = prefix_tokens.size() / patches.channels();
    Tensor result(patches.batch(), patches.tokens() + prefix, patches.channels());
    const std::size_t image_size = result.tokens() * result.channels();
    for (std::size_t b = 0; b < patches.batch(); ++b) {
      const auto image = result.values().subspan(b * image_size, image_size);
      const auto source = patches.values().subspan(b * patches.tokens() * patches.channels(),
                                                   patches.tokens() * patches.channels());
      std::copy(prefix_tokens.begin(), prefix_tokens.end(), image.begin());
      std::copy(source.begin(), source.end(),
                image.begin() + static_cast<std::ptrdiff_t>(prefix_tokens.size()));
      simulate::add(image, pos_embed);
    }
    report(last_linear_, result);
    return result;
  }

  Tensor layer_norm(const LayerNorm& norm, const Tensor& x) {
    Tensor result(x.batch(), x.tokens(), x.channels());
    for_rows(x.rows(), [&](std::size_t row) {
      simulate::layer_norm(x.row(row), norm.gamma, norm.beta, norm.eps, result.row(row));
    });
    report(norm.name, result);
    return result;
  }

  Tensor linear(const Linear& layer, Tensor x) {
    quantization_.input(layer, x);
    Tensor result = apply(layer, x);
    last_linear_ = layer.name;
    report(last_linear_, result);
    return result;
  }

  /// x W^T + b.
  Tensor apply(const Linear& layer, const Tensor& x) {
    const std::span<const float> weight = quantization_.weight(layer);
    Tensor result(x.batch(), x.tokens(), layer.out_features);
    for_rows(result.rows(), [&](std::size_t row) {
      if (layer.bias.empty()) {
        std::ranges::fill(result.row(row), 0.0F);
      } else {
        std::ranges::copy(layer.bias, result.row(row).begin());
      }
    });
    const auto inputs = view(x, 0, x.rows());
    const auto weights = rows_of(weight, layer.in_features).transposed();
    float* sums = result.values().data();
    if constexpr (requires { Quantization::kKeepsPackedWeights; }) {
      if (x.rows() > 1) {  // one row is multiplied without packing
        const PackedMatrix<float>& packed = quantization_.packed(layer, weights, pool_);
        multiply(inputs, packed, sums, layer.out_features, Onto::sums, pool_);
        return result;
      }
    }
    multiply(inputs, weights, sums, layer.out_features, Onto::sums, pool_);
    return result;
  }

  Tensor attention(const Attention& attn, Tensor qkv) {
    Heads heads = split_heads(attn, qkv);
    quantization_.operand(attn, Slot::query, heads.query.values());
    quantization_.operand(attn, Slot::key, heads.key.values());
    quantization_.operand(attn, Slot::value, heads.value.values());
    Tensor map = attention_map(attn, heads);
    quantization_.operand(attn, Slot::attention_map, map.values());
    return weigh_values(attn, heads, map);
  }

  Heads split_heads(const Attention& attn, const Tensor& qkv) {
    const HeadLayout layout(attn, qkv.batch());
    Heads heads;
    heads.images = qkv.batch();
    for (Tensor* part : {&heads.query, &heads.key, &heads.value}) {
      *part = Tensor(layout.matrices(), layout.tokens, layout.head_dim);
    }
    for_rows(layout.matrices(), [&](std::size_t matrix) {
      layout.gather(qkv, matrix, 0, heads.query);
      layout.gather(qkv, matrix, 1, heads.key);
      layout.gather(qkv, matrix, 2, heads.value);
      if (!attn.rotation.empty()) {
        layout.rotate(attn, matrix, false, heads.query);
        layout.rotate(attn, matrix, false, heads.key);
      }
    });
    if (attn.scale_query) {
      simulate::scale(heads.query.values(), layout.scale());
    }
    return heads;
  }

  /// The probabilities, [images * groups * heads, tokens, tokens].
  Tensor attention_map(const Attention& attn, const Heads& heads) {
    const HeadLayout layout(attn, heads.images);
    const std::vector<float> bias = expanded_bias(attn);
    Tensor probabilities(layout.matrices(), layout.tokens, layout.tokens);
    for_queries(layout, [&](std::size_t matrix, std::size_t begin, std::size_t end) {
      const std::size_t first = matrix * layout.tokens;
      multiply(view(heads.query, first + begin, end - begin),
               view(heads.key, first, layout.tokens).transposed(),
               probabilities.row(first + begin).data(), layout.tokens);
      for (std::size_t i = begin; i < end; ++i) {
        const std::span<float> scores = probabilities.row(first + i);
        if (!attn.scale_query) {
          simulate::scale(scores, layout.scale());
        }
        add_bias_and_mask(layout, bias, matrix, i, scores);
        softmax(scores);
      }
    });
    return probabilities;
  }

  /// The contexts, [images, groups * tokens, heads * head_dim].
  Tensor weigh_values(const Attention& attn, const Heads& heads, const Tensor& map) {
    const HeadLayout layout(attn, heads.images);
    Tensor result(layout.images, layout.groups.count * layout.tokens,
                  layout.heads * layout.head_dim);
    for_queries(layout, [&](std::size_t matrix, std::size_t begin, std::size_t end) {
      const std::size_t first = matrix * layout.tokens;
      std::vector<float> context((end - begin) * layout.head_dim);
      multiply(view(map, first + begin, end - begin), view(heads.value, first, layout.tokens),
               context.data(), layout.head_dim);
      for (std::size_t i = begin; i < end; ++i) {
        std::copy_n(
            context.data() + (i - begin) * layout.head_dim, layout.head_dim,
            result.row(layout.row(matrix, i)).data() + layout.head(matrix) * layout.head_dim);
      }
    });
    return result;
  }

  Tensor activation(Activation function, Tensor x) {
    if (function == Activation::swiglu) {
      Tensor result(x.batch(), x.tokens(), x.channels() / 2);
      for_rows(x.rows(), [&](std::size_t row) { swiglu(x.row(row), result.row(row)); });
      return result;
    }
    for_rows(x.rows(), [&](std::size_t row) { simulate::activate(function, x.row(row)); });
    return x;
  }

  Tensor add(Tensor x, const Tensor& y) {
    for_rows(x.rows(), [&](std::size_t row) { simulate::add(x.row(row), y.row(row)); });
    report(last_linear_, x);
    return x;
  }

  /// The n-th of the four tokens of a [grid, grid] image that become one, `token`, in timm's order
  /// of neighbours: (0,0), (1,0), (0,1), (1,1) as (row, column).
  static std::size_t merged_token(std::size_t grid, std::size_t token, std::size_t n) {
    const std::size_t half = grid / 2;
    return (2 * (token / half) + n % 2) * grid + 2 * (token % half) + n / 2;
  }

  Tensor merge_patches(std::size_t grid, const Tensor& x) {
    const std::size_t half = grid / 2;
    Tensor result(x.batch(), half * half, 4 * x.channels());
    for (std::size_t row = 0; row < result.rows(); ++row) {
      const std::size_t image = row / (half * half);
      const std::size_t token = row % (half * half);
      for (std::size_t n = 0; n < 4; ++n) {
        const std::size_t source = merged_token(grid, token, n);
        std::copy_n(x.row(image * x.tokens() + source).data(), x.channels(),
                    result.row(row).data() + n * x.channels());
      }
    }
    return result;
  }

  Tensor first_tokens(std::size_t count, const Tensor& x) {
    Tensor result(x.batch(), count, x.channels());
    for (std::size_t b = 0; b < x.batch(); ++b) {
      std::copy_n(x.row(b * x.tokens()).data(), count * x.channels(), result.row(b * count).data());
    }
    return result;
  }

  Tensor mean_of_tokens(std::size_t first, const Tensor& x) {
    Tensor result(x.batch(), 1, x.channels());
    for (std::size_t b = 0; b < x.batch(); ++b) {
      write_mean(first, x, b, result.row(b));
    }
    report("mean", result);
    return result;
  }

  Tensor join_tokens(const Tensor& x) {
    Tensor result(x.batch(), 1, x.tokens() * x.channels());
    std::ranges::copy(x.values(), result.values().begin());
    return result;
  }

  Tensor first_and_mean(std::size_t first, const Tensor& x) {
    Tensor result(x.batch(), 1, 2 * x.channels());
    for (std::size_t b = 0; b < x.batch(); ++b) {
      std::ranges::copy(x.row(b * x.tokens()), result.row(b).begin());
      write_mean(first, x, b, result.row(b).subspan(x.channels()));
    }
    return result;
  }

 private:
  void report(const std::string& layer, const Tensor& output) const {
    if (observer_) {
      observer_(layer, output.values());
    }
  }

  /// The mean of an image's tokens from `first` on.
  static void write_mean(std::size_t first, const Tensor& x, std::size_t image,
                         std::span<float> mean) {
    std::ranges::fill(mean, 0.0F);
    for (std::size_t t = first; t < x.tokens(); ++t) {
      simulate::add(mean, x.row(image * x.tokens() + t));
    }
    simulate::scale(mean, 1.0F / static_cast<float>(x.tokens() - first));
  }

  template <class Body>
  void for_rows(std::size_t rows, Body body) {
    pool_.parallel_for(rows, rows_per_task(rows), [&](std::size_t begin, std::size_t end) {
      for (std::size_t row = begin; row < end; ++row) {
        body(row);
      }
    });
  }

  /// Calls body(matrix, begin, end) for the rows of all attention matrices; matrices are divided if
  /// there are fewer than threads.
  template <class Body>
  void for_queries(const HeadLayout& layout, Body body) {
    const std::size_t wanted = pool_.size() == 1 ? 1 : 4 * pool_.size();
    const std::size_t parts = (wanted + layout.matrices() - 1) / layout.matrices();
    for_rows(layout.matrices() * parts, [&](std::size_t task) {
      const std::size_t part = task % parts;
      body(task / parts, layout.tokens * part / parts, layout.tokens * (part + 1) / parts);
    });
  }

  static MatrixView<float> rows_of(std::span<const float> values, std::size_t columns) {
    return {values.data(), values.size() / columns, columns, columns};
  }

  static MatrixView<float> view(const Tensor& x, std::size_t first, std::size_t count) {
    return rows_of(x.values(), x.channels()).middle_rows(first, count);
  }

  std::size_t rows_per_task(std::size_t rows) const {
    return std::max<std::size_t>(1, rows / (4 * pool_.size()));
  }

  /// [heads, tokens, tokens], or empty.
  static std::vector<float> expanded_bias(const Attention& attn) {
    std::vector<float> bias;
    for (std::size_t head = 0; head < attn.num_heads && !attn.bias_table.empty(); ++head) {
      for (const std::uint32_t index : attn.bias_index) {
        bias.push_back(attn.bias_table[index * attn.num_heads + head]);
      }
    }
    return bias;
  }

  static void add_bias_and_mask(const HeadLayout& layout, std::span<const float> bias,
                                std::size_t matrix, std::size_t i, std::span<float> scores) {
    constexpr float kMasked = -100.0F;
    if (!bias.empty()) {
      simulate::add(scores, bias.subspan((layout.head(matrix) * layout.tokens + i) * layout.tokens,
                                         layout.tokens));
    }
    if (!layout.groups.regions.empty()) {
      const std::uint8_t* regions =
          layout.groups.regions.data() + layout.group(matrix) * layout.tokens;
      for (std::size_t j = 0; j < layout.tokens; ++j) {
        scores[j] += regions[i] == regions[j] ? 0.0F : kMasked;
      }
    }
  }

  const ModelConfig& config_;
  std::span<const float> images_;
  Quantization& quantization_;
  ThreadPool& pool_;
  const LayerObserver& observer_;
  std::string last_linear_;  // whose output is added to the residual stream next
};

}  // namespace bitlog2::simulate
