// `bitlog2 quantize`: a checkpoint and a few images become one small file that runs in
// integers only.
#include <fmt/format.h>

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <utility>

#include "bitlog2/error.h"
#include "bitlog2/files.h"
#include "bitlog2/integer.h"
#include "cli/commands.h"
#include "cli/console.h"
#include "cli/interrupt.h"
#include "cli/job.h"
#include "cli/options.h"

namespace bitlog2::cli {
namespace {

struct QuantizeOptions {
  ModelSource model;
  CalibrationOptions calibration;
  SchemeOptions scheme;
  std::string pool;
  Output output;
  Output json;
  bool default_bits = true;  // whether no option sets the bits
};

/// `best` fits weights and codebooks to its images; fewer images than these are too few for it.
constexpr std::size_t kImagesForBest = 128;

void tell_what_is_better(const QuantizeOptions& options, const QuantizationSettings& settings,
                         std::size_t images) {
  if (!settings.recipe.is_repq() && images < kImagesForBest) {
    tell(
        fmt::format("note: {} image{} calibrated; from {} on the recipe {} is closer to float32 "
                    "(--calibration-images, docs/accuracy.md)",
                    images, images == 1 ? "" : "s", kImagesForBest, options.scheme.recipe.name));
  }
  if (options.default_bits) {
    tell(
        "note: W4A4 is for hardware that multiplies 4 bits; on a CPU --a-bits 8 costs little time "
        "and comes close to float32 (docs/choosing-bits.md)");
  }
}

int quantize(const QuantizeOptions& options, const std::atomic<bool>& stop) {
  if (options.output.to_stdout()) {
    throw Error("-o -: a quantized file cannot go to stdout; give a file's name");
  }
  check_outputs({options.output, options.json}, files_read(options.model, options.calibration));
  const QuantizationSettings settings = options.scheme.settings();
  LoadedModel loaded = load_pooled(options.model, options.pool);
  const ModelConfig config = loaded.model.config;
  ThreadPool pool(thread_count(options.calibration.threads));
  const PreparedData data = prepare_data(config, loaded.class_names, options.calibration, pool);
  const Calibration calibration =
      calibrate_with_progress(std::move(loaded.model), settings, data.calibration,
                              options.calibration.memory_bytes, pool, stop);
  const std::vector<std::byte> content = lower(calibration.quantized, loaded.class_names);
  // The file is opened before it is written, so that every file on disk runs.
  const auto engine = IntegerEngine::from_bytes(content, options.output.path);
  write_file_atomically(options.output.path, content);
  if (!options.json.to_stdout()) {
    print(fmt::format("{}: {} {}, {:.2f} MB; needs {:.2f} MB to run\n",
                      printable(options.output.path), printable(config.name), settings.name(),
                      static_cast<double>(content.size()) / 1e6,
                      static_cast<double>(engine->arena_bytes()) / 1e6));
  }
  flush_output();
  tell_what_is_better(options, settings, data.calibration.crops.size());
  write_json(options.json, {{"file", options.output.path},
                            {"model", config.name},
                            {"settings", settings.name()},
                            {"file_bytes", content.size()},
                            {"arena_bytes", engine->arena_bytes()}});
  return 0;
}

int quantize_or_tell(const QuantizeOptions& options) {
  try {
    return quantize(options, catch_interrupt());
  } catch (const Interrupted&) {
    write_json(options.json, {{"file", nullptr}, {"interrupted", true}});
    throw;
  }
}

}  // namespace

void add_quantize(CLI::App& app, std::function<int()>& run) {
  const auto options = std::make_shared<QuantizeOptions>();
  CLI::App* command = app.add_subcommand(
      "quantize", "Calibrate a model and write it as a file that runs in integers only");
  add_model_options(*command, options->model);
  add_calibration_options(*command, options->calibration);
  // Unlabelled images do.
  command->get_option("--dataset")->required(false);
  add_scheme_options(*command, options->scheme);
  add_pool_option(*command, options->pool);
  add_output_option(*command, "-o,--output", options->output, "The file to write, .safetensors")
      ->required();
  add_json_option(*command, options->json, "Write what was made");
  command->callback([command, options, &run] {
    if (options->calibration.dataset.empty() && options->calibration.folder.empty()) {
      throw CLI::RequiredError("--dataset or --calibration");
    }
    if (options->calibration.dataset.empty() && !options->calibration.class_map.empty()) {
      throw CLI::ValidationError("--class-map", "it numbers the folders of a --dataset");
    }
    options->default_bits =
        command->get_option("--w-bits")->empty() && command->get_option("--a-bits")->empty();
    run = [options] { return quantize_or_tell(*options); };
  });
}

}  // namespace bitlog2::cli
