// How far the engines are from each other, layer by layer.
#pragma once

#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "bitlog2/distance.h"
#include "bitlog2/integer.h"
#include "bitlog2/quantized_model.h"

namespace bitlog2::cli {

/// Distances of the integer, the simulated and the float32 engine, by layer, in order of execution.
/// Its arguments must outlive it; `model` is in the recipe's coordinates
/// (in_recipe_coordinates).
class Comparison {
 public:
  Comparison(const Model& model, const QuantizedModel& quantized, const IntegerEngine& engine);

  void add_image(const RgbImage& crop);

  /// A table.
  std::string text() const;

  /// [{"layer": ..., "integer_to_fp32_db": ..., ...}]
  nlohmann::ordered_json rows() const;

 private:
  struct LayerDistances {
    Distance integer_to_simulated;
    Distance integer_to_fp32;
    Distance simulated_to_fp32;
  };

  const Model& model_;
  Model weights_quantized_;
  const Quantizers& quantizers_;
  const IntegerEngine& engine_;
  std::vector<std::string> order_;
  std::map<std::string, LayerDistances> distances_;
};

}  // namespace bitlog2::cli
