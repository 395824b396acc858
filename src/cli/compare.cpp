// `bitlog2 compare`: layer by layer, how far the integer engine is from the simulated and the
// float32 one, to find layers that lose accuracy.
#include <fmt/format.h>

#include <CLI/App.hpp>
#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>

#include "bitlog2/error.h"
#include "bitlog2/integer.h"
#include "cli/commands.h"
#include "cli/comparison.h"
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
  const Model exact = in_recipe_coordinates(loaded.model, settings.recipe, pool);
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
