#include "cli/comparison.h"

#include <fmt/format.h>

#include "bitlog2/engine.h"

namespace bitlog2::cli {
namespace {

using nlohmann::ordered_json;

using LayerOutputs = std::map<std::string, std::vector<float>>;

LayerObserver collect_into(LayerOutputs& outputs) {
  return [&outputs](const std::string& layer, std::span<const float> values) {
    outputs[layer].assign(values.begin(), values.end());
  };
}

std::string cell(const Distance& distance) {
  return fmt::format("{:.1f} {:.5f}", distance.decibels(), distance.cosine());
}

}  // namespace

Comparison::Comparison(const Model& model, const QuantizedModel& quantized,
                       const IntegerEngine& engine)
    : model_(model),
      weights_quantized_(with_quantized_weights(quantized)),
      quantizers_(quantized.quantizers),
      engine_(engine) {}

void Comparison::add_image(const RgbImage& crop) {
  ThreadPool serial(1);
  const std::vector<float> image =
      normalised_batch(std::span(&crop, 1), model_.config.preprocessing);
  LayerOutputs fp32;
  LayerOutputs simulated;
  run_fp32(model_, image, serial, collect_into(fp32));
  run_simulated(weights_quantized_, quantizers_, image, serial, collect_into(simulated));
  engine_.observe(crop, [&](const std::string& layer, std::span<const float> values) {
    if (!distances_.contains(layer)) {
      order_.push_back(layer);
    }
    LayerDistances& distances = distances_[layer];
    distances.integer_to_simulated.add(simulated.at(layer), values);
    distances.integer_to_fp32.add(fp32.at(layer), values);
    distances.simulated_to_fp32.add(fp32.at(layer), simulated.at(layer));
  });
}

std::string Comparison::text() const {
  std::string text = fmt::format(
      "signal-to-noise ratio, dB, and mean cosine similarity of an image's output\n"
      "{:<32} {:>20} {:>18} {:>18}\n",
      "layer", "integer / simulated", "integer / fp32", "simulated / fp32");
  for (const std::string& layer : order_) {
    const LayerDistances& distances = distances_.at(layer);
    text +=
        fmt::format("{:<32} {:>20} {:>18} {:>18}\n", layer, cell(distances.integer_to_simulated),
                    cell(distances.integer_to_fp32), cell(distances.simulated_to_fp32));
  }
  return text;
}

ordered_json Comparison::rows() const {
  ordered_json rows = ordered_json::array();
  for (const std::string& layer : order_) {
    const LayerDistances& distances = distances_.at(layer);
    rows.push_back({{"layer", layer},
                    {"integer_to_simulated_db", distances.integer_to_simulated.decibels()},
                    {"integer_to_fp32_db", distances.integer_to_fp32.decibels()},
                    {"simulated_to_fp32_db", distances.simulated_to_fp32.decibels()},
                    {"integer_to_simulated_cosine", distances.integer_to_simulated.cosine()},
                    {"integer_to_fp32_cosine", distances.integer_to_fp32.cosine()},
                    {"simulated_to_fp32_cosine", distances.simulated_to_fp32.cosine()}});
  }
  return rows;
}

}  // namespace bitlog2::cli
