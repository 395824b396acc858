// Models as encoders: the same network without its classes, whose output is an embedding.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "bitlog2/model.h"

namespace bitlog2 {

/// How an image's embedding is computed. `norm` is the final LayerNorm, x the last block's tokens.
enum class EmbeddingPooling : std::uint8_t {
  native,       ///< what the model's own head reads; an encoder's output, its projection included
  class_token,  ///< norm(x)[0]
  mean,         ///< mean(norm(x)) over the patches' tokens
  map,          ///< the output of attention pooling
  projection,   ///< the output of the model's projection
};

struct NamedEmbeddingPooling {
  EmbeddingPooling pooling;
  std::string_view name;  ///< as `--pool` takes it
};

inline constexpr std::array kEmbeddingPoolings = {
    NamedEmbeddingPooling{EmbeddingPooling::native, "native"},
    NamedEmbeddingPooling{EmbeddingPooling::class_token, "class"},
    NamedEmbeddingPooling{EmbeddingPooling::mean, "mean"},
    NamedEmbeddingPooling{EmbeddingPooling::map, "map"},
    NamedEmbeddingPooling{EmbeddingPooling::projection, "projection"}};

/// The name of a pooling: "class" for EmbeddingPooling::class_token.
std::string_view name_of(EmbeddingPooling pooling);

/// The pooling of this name. Throws Error that lists the names.
EmbeddingPooling find_embedding_pooling(std::string_view name);

/// Whether the model's output is an embedding, not the logits of classes.
constexpr bool is_encoder(const ModelConfig& config) {
  return config.num_classes == 0;
}

/// The poolings that as_encoder accepts for a model of this config; `native` is always one.
std::vector<EmbeddingPooling> embedding_poolings(const ModelConfig& config);

/// The same network without its classes. Its output is the embedding, [output_size(config)]. Its
/// head is the model's projection where `pooling` keeps that, else the identity. A layer before the
/// head (pre_logits) is removed with the classes. A distilled DeiT's native embedding is its class
/// token. Throws Error that names the poolings of this model if `pooling` is none of them.
Model as_encoder(Model model, EmbeddingPooling pooling);

}  // namespace bitlog2
