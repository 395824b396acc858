// `bitlog2 compare`: layer by layer, how far the integer engine is from the simulated and the
// float32 one, so that a weak layer is seen.
#include <fmt/format.h>

#include <CLI/App.hpp>
#include <algorithm>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>

#include "bitlog2/distance.h"
#include "bitlog2/error.h"
#include "bitlog2/integer.h"
#include "cli/commands.h"
#include "cli/console.h"
#include "cli/interrupt.h"
#include "cli/job.h"
#include "cli/options.h"

namespace bitlog2::cli {
namespace {

using nlohmann::ordered_json;

struct CompareOptions {
  ModelSource model;
  CalibrationOptions calibration;
  SchemeOptions scheme;
  std::string pool;
  std::size_t images = 8;
  Output json;
};

struct LayerDistances {
  Distance integer_to_simulated;
  Distance integer_to_fp32;
  Distance simulated_to_fp32;
};

using LayerOutputs = std::map<std::string, std::vector<float>>;

LayerObserver collect_into(LayerOutputs& outputs) {
  return [&outputs](const std::string& layer, std::span<const float> values) {
    outputs[layer].assign(values.begin(), values.end());
  };
}

/// Distances by layer, in order of execution.
class Comparison {
 public:
  Comparison(const Model& model, const QuantizedModel& quantized, const IntegerEngine& engine)
      : model_(model),
        weights_quantized_(with_quantized_weights(quantized)),
        quantizers_(quantized.quantizers),
        engine_(engine) {}

  void add_image(const RgbImage& crop) {
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

  std::string text() const {
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

  ordered_json rows() const {
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

 private:
  static std::string cell(const Distance& distance) {
    return fmt::format("{:.1f} {:.5f}", distance.decibels(), distance.cosine());
  }

  const Model& model_;
  Model weights_quantized_;
  const Quantizers& quantizers_;
  const IntegerEngine& engine_;
  std::vector<std::string> order_;
  std::map<std::string, LayerDistances> distances_;
};

int compare(const CompareOptions& options) {
  const std::atomic<bool>& stop = catch_interrupt();
  check_outputs({options.json}, files_read(options.model, options.calibration));
  const QuantizationSettings settings = options.scheme.settings();
  const LoadedModel loaded = load_pooled(options.model, options.pool);
  ThreadPool pool(thread_count(options.calibration.threads));
  const PreparedData data =
      prepare_data(loaded.model.config, loaded.class_names, options.calibration, pool);
  const Calibration calibration = calibrate_with_progress(
      loaded.model, settings, data.calibration, options.calibration.memory_bytes, pool, stop);
  const auto engine =
      IntegerEngine::from_bytes(lower(calibration.quantized, {}), loaded.model.config.name);
  const Model exact = in_recipe_coordinates(loaded.model, settings.recipe);
  Comparison comparison(exact, calibration.quantized, *engine);
  const std::size_t images = std::min(options.images, data.validation.size());
  std::size_t compared = 0;
  for (std::size_t i = 0; i < data.validation.size() && compared < images && !stop; ++i) {
    RgbImage crop;
    try {
      crop = resize_and_crop(data.validation.read(i), loaded.model.config.preprocessing);
    } catch (const Error& error) {
      if (options.calibration.strict) {
        throw;
      }
      tell(fmt::format("skipped: {}", error.what()));
      continue;
    }
    comparison.add_image(crop);
    ++compared;
  }
  if (compared == 0 && !stop) {
    throw Error("no validation image could be read; nothing was compared");
  }
  if (!options.json.to_stdout()) {
    print(comparison.text());
  }
  ordered_json rows = comparison.rows();
  const bool interrupted = stop && compared < images;
  if (interrupted) {
    tell(fmt::format("bitlog2: interrupted; the results are those of {} of {} images", compared,
                     images));
    rows.push_back({{"interrupted", true}});
  }
  write_json(options.json, rows);
  return interrupted ? interrupted_exit() : 0;
}

}  // namespace

void add_compare(CLI::App& app, std::function<int()>& run) {
  const auto options = std::make_shared<CompareOptions>();
  CLI::App* command = app.add_subcommand(
      "compare", "Signal-to-noise ratio and cosine similarity of the integer engine, by layer");
  add_model_options(*command, options->model);
  add_calibration_options(*command, options->calibration);
  add_scheme_options(*command, options->scheme);
  add_pool_option(*command, options->pool);
  command->add_option("--images", options->images, "Validation images to compare on")
      ->check(whole_number(1, 1 << 20))
      ->capture_default_str();
  add_json_option(*command, options->json, "Write the table");
  command->callback([options, &run] { run = [options] { return compare(*options); }; });
}

}  // namespace bitlog2::cli
