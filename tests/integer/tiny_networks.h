// Networks that are small enough for tests that run damaged files thousands of times, and the
// images that the integer engine's tests share.
#pragma once

#include <algorithm>
#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "bitlog2/calibrate.h"
#include "bitlog2/engine.h"
#include "bitlog2/integer.h"
#include "bitlog2/model.h"
#include "integer/architectures.h"
#include "reference.h"

namespace bitlog2::testing {

/// Crops of smooth random colours with some noise.
inline std::vector<RgbImage> random_crops(std::size_t side, std::size_t count, std::uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<RgbImage> crops;
  for (std::size_t n = 0; n < count; ++n) {
    RgbImage crop = {static_cast<int>(side), static_cast<int>(side), {}};
    int base[3] = {};
    int slope[3] = {};
    for (int c = 0; c < 3; ++c) {
      base[c] = static_cast<int>(random() % 256);
      slope[c] = static_cast<int>(random() % 17) - 8;
    }
    for (std::size_t i = 0; i < 3 * side * side; ++i) {
      const std::size_t c = i % 3;
      const auto along = static_cast<int>(i / 3 % side + 2 * (i / 3 / side));
      const int noise = static_cast<int>(random() % 81) - 40;
      crop.pixels.push_back(
          static_cast<std::uint8_t>(std::clamp(base[c] + slope[c] * along + noise, 0, 255)));
    }
    crops.push_back(std::move(crop));
  }
  return crops;
}

inline QuantizedModel quantize(const Model& model, const QuantizationSettings& settings,
                               std::uint32_t seed = 1) {
  ThreadPool pool(1);
  const auto crops = random_crops(model.config.img_size, 8, seed);
  return calibrate(model, settings, crops, pool).quantized;
}

/// The file of a random tiny model, quantized.
inline std::vector<std::byte> tiny_network(Family family, const std::string& scheme, int bits,
                                           const std::string& recipe = "repq") {
  return lower(quantize(make_random_model(tiny_config(family), 3),
                        {bits, bits, find_attention_scheme(scheme), find_recipe(recipe)}),
               {});
}

/// The file of a random model of a tiny_architecture, quantized.
inline std::vector<std::byte> tiny_network(const std::string& architecture,
                                           const std::string& scheme, int bits,
                                           const std::string& recipe = "repq") {
  return lower(quantize(random_model(tiny_architecture(architecture)),
                        {bits, bits, find_attention_scheme(scheme), find_recipe(recipe)}),
               {});
}

/// One of the models in tests/data/nano.
inline Model nano_model(const std::string& name) {
  const auto weights = Safetensors::open(fixtures() / "nano" / (name + ".safetensors"));
  return load_model(weights, parse_config(weights.metadata().at("config"), name));
}

}  // namespace bitlog2::testing
