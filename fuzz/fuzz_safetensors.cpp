// Feeds arbitrary bytes to the safetensors reader, reads every tensor that it lists, compares the
// tensors with tiny models, loads the model that their names and shapes describe, and parses the
// model config that the metadata may hold. Bytes that are no safetensors file go to the function
// that names the kind of such files. For any bytes, nothing but Error may be thrown. Seeds:
// fuzz/corpus/safetensors.
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "bitlog2/error.h"
#include "bitlog2/model.h"
#include "bitlog2/safetensors.h"
#include "io/file_kind.h"
#include "model/names/infer_config.h"

namespace {

void read_tensors(const bitlog2::Safetensors& file) {
  for (const auto& [name, tensor] : file.tensors()) {
    try {
      file.read_floats(name);
    } catch (const bitlog2::Error&) {
    }
  }
}

void read_config(const bitlog2::Safetensors& file) {
  const auto config = file.metadata().find("config");
  if (config == file.metadata().end()) {
    return;
  }
  try {
    bitlog2::config_to_json(bitlog2::parse_config(config->second, file.name()));
  } catch (const bitlog2::Error&) {
  }
}

/// A tiny model of each family.
const bitlog2::ModelConfig& tiny_model(bitlog2::Family family) {
  const auto tiny = [](bitlog2::Family kind) {
    bitlog2::ModelConfig config = bitlog2::config_of(kind);
    config.img_size = 4;
    config.patch_size = kind == bitlog2::Family::vit ? 2 : 1;
    config.embed_dim = 2;
    config.window_size = 2;
    config.depths =
        kind == bitlog2::Family::vit ? std::vector<std::size_t>{1} : std::vector<std::size_t>{1, 1};
    config.num_heads =
        kind == bitlog2::Family::vit ? std::vector<std::size_t>{1} : std::vector<std::size_t>{1, 1};
    config.num_classes = 2;
    return config;
  };
  static const bitlog2::ModelConfig vit = tiny(bitlog2::Family::vit);
  static const bitlog2::ModelConfig swin = tiny(bitlog2::Family::swin);
  return family == bitlog2::Family::vit ? vit : swin;
}

void compare_with_models(const bitlog2::Safetensors& file) {
  for (const auto family : {bitlog2::Family::vit, bitlog2::Family::swin}) {
    try {
      bitlog2::load_checkpoint(file, tiny_model(family));
    } catch (const bitlog2::Error&) {
    }
  }
}

/// Loads the model that the names and shapes describe, if it is small.
void infer_and_load(const bitlog2::Safetensors& file) {
  constexpr std::size_t kMostPixels = 64;
  constexpr std::size_t kMostChannels = 64;
  try {
    const bitlog2::InferredConfig inferred = bitlog2::infer_config(file, std::nullopt, 0, 1);
    const bitlog2::ModelConfig config =
        bitlog2::parse_config(bitlog2::config_to_json(inferred.config), "inferred");
    if (config.img_size <= kMostPixels && config.embed_dim <= kMostChannels &&
        config.mlp_ratio <= 4 && config.pre_logits <= kMostChannels) {
      bitlog2::load_checkpoint(file, config, inferred.position_resize);
    }
  } catch (const bitlog2::Error&) {
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto bytes = std::as_bytes(std::span(data, size));
  bitlog2::describe_foreign_file(bytes);
  try {
    const bitlog2::Safetensors file = bitlog2::Safetensors::parse(bytes, "fuzz");
    read_tensors(file);
    read_config(file);
    compare_with_models(file);
    infer_and_load(file);
  } catch (const bitlog2::Error&) {
  }
  return 0;
}
