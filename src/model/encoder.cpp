// Takes the classes off a model. All that changes is behind the last block.
#include "bitlog2/encoder.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "bitlog2/error.h"

namespace bitlog2 {
namespace {

/// Whether the final LayerNorm sees every token, not their mean.
bool norms_tokens(const ModelConfig& config) {
  return config.pooling != Pooling::mean_then_norm;
}

/// Whether the first token is a class token. Of several that nothing reads, all may be registers.
bool has_class_token(const ModelConfig& config) {
  return tokens_read(config.pooling) > 0 || config.pooling == Pooling::class_and_mean ||
         config.prefix_tokens == 1;
}

bool has_projection(const ModelConfig& config) {
  return is_encoder(config) && config.projection > 0;
}

bool is_possible(const ModelConfig& config, EmbeddingPooling pooling) {
  switch (pooling) {
    case EmbeddingPooling::class_token:
      return norms_tokens(config) && has_class_token(config);
    case EmbeddingPooling::map:
      return config.pooling == Pooling::map;
    case EmbeddingPooling::projection:
      return has_projection(config);
    case EmbeddingPooling::native:
    case EmbeddingPooling::mean:
      break;
  }
  return true;
}

/// What stands before the head of the encoder.
Pooling pooling_of(const ModelConfig& config, EmbeddingPooling pooling) {
  switch (pooling) {
    case EmbeddingPooling::class_token:
      return Pooling::class_token;
    case EmbeddingPooling::mean:
      return norms_tokens(config) ? Pooling::mean : Pooling::mean_then_norm;
    case EmbeddingPooling::map:
      return Pooling::map;
    case EmbeddingPooling::native:
    case EmbeddingPooling::projection:
      break;
  }
  return config.pooling == Pooling::class_tokens ? Pooling::class_token : config.pooling;
}

Linear identity(std::size_t size) {
  Linear linear;
  linear.name = "head";
  linear.role = Role::projection;
  linear.in_features = size;
  linear.out_features = size;
  linear.weight.assign(size * size, 0.0F);
  linear.bias.assign(size, 0.0F);
  for (std::size_t i = 0; i < size; ++i) {
    linear.weight[i * size + i] = 1;
  }
  return linear;
}

/// Whether the model's output is this embedding already.
bool gives(const ModelConfig& config, EmbeddingPooling pooling) {
  if (!is_encoder(config)) {
    return false;
  }
  const bool own = pooling == EmbeddingPooling::native || pooling == EmbeddingPooling::projection;
  return own && (has_projection(config) || config.pooling != Pooling::class_tokens);
}

}  // namespace

std::string_view name_of(EmbeddingPooling pooling) {
  return std::ranges::find(kEmbeddingPoolings, pooling, &NamedEmbeddingPooling::pooling)->name;
}

EmbeddingPooling find_embedding_pooling(std::string_view name) {
  const auto* const found =
      std::ranges::find(kEmbeddingPoolings, name, &NamedEmbeddingPooling::name);
  if (found == kEmbeddingPoolings.end()) {
    std::vector<std::string_view> names(kEmbeddingPoolings.size());
    std::ranges::transform(kEmbeddingPoolings, names.begin(), &NamedEmbeddingPooling::name);
    throw Error(fmt::format("unknown pooling '{}'; choose {}", name, fmt::join(names, ", ")));
  }
  return found->pooling;
}

std::vector<EmbeddingPooling> embedding_poolings(const ModelConfig& config) {
  std::vector<EmbeddingPooling> possible;
  for (const NamedEmbeddingPooling& named : kEmbeddingPoolings) {
    if (is_possible(config, named.pooling)) {
      possible.push_back(named.pooling);
    }
  }
  return possible;
}

Model as_encoder(Model model, EmbeddingPooling pooling) {
  ModelConfig& config = model.config;
  if (!is_possible(config, pooling)) {
    const std::vector<EmbeddingPooling> poolings = embedding_poolings(config);
    std::vector<std::string_view> names(poolings.size());
    std::ranges::transform(poolings, names.begin(),
                           [](EmbeddingPooling other) { return name_of(other); });
    throw Error(fmt::format("{} has no embedding by pooling '{}'; it has {}", config.name,
                            name_of(pooling), fmt::join(names, ", ")));
  }
  if (gives(config, pooling)) {
    return model;
  }
  config.pooling = pooling_of(config, pooling);
  config.num_classes = 0;
  config.pre_logits = 0;
  config.projection = 0;
  model.pre_logits.reset();
  if (config.pooling != Pooling::map) {
    model.attention_pooling.reset();
  }
  model.head = identity(output_size(config));
  return model;
}

}  // namespace bitlog2
