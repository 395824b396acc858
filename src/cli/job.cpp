#include "cli/job.h"

#include <fmt/format.h>

#include <algorithm>
#include <thread>

#include "bitlog2/error.h"
#include "bitlog2/files.h"
#include "bitlog2/hub.h"
#include "cli/console.h"
#include "cli/interrupt.h"
#include "cli/progress.h"

namespace bitlog2::cli {
namespace {

std::string model_choices() {
  std::string choices;
  for (const NamedModel& model : named_models()) {
    choices += (choices.empty() ? "" : ", ") + model.config.name;
  }
  return choices;
}

std::filesystem::path find_weights(const ModelChoice& choice) {
  if (!choice.weights.empty()) {
    return choice.weights;
  }
  if (choice.name.empty()) {
    throw Error(fmt::format("no model: give --weights FILE.safetensors, or --model, one of {}",
                            model_choices()));
  }
  const std::string& repository = find_named_model(choice.name).repository;
  if (const auto cached = find_in_hub_cache(repository)) {
    return *cached;
  }
  throw Error(
      fmt::format("the weights of {} are not on this machine; give --weights FILE, or "
                  "download them: {}",
                  choice.name, hub_download_command(repository)));
}

/// Throws Error for two descriptions of one model.
void check_choice(const ModelChoice& choice) {
  if (!choice.name.empty() && !choice.config.empty()) {
    throw Error("--model and --config both describe the model; leave one out");
  }
  if (!choice.name.empty()) {
    find_named_model(choice.name);  // a wrong name is told before missing weights
  }
}

/// The classes' names. Those in a file that do not fit its model are no reason to stop.
std::vector<std::string> usable_class_names(const TensorFile& weights, const ModelConfig& config) {
  try {
    return class_names(weights, config);
  } catch (const Error& error) {
    tell(fmt::format("note: {}; the classes have no names", error.what()));
    return {};
  }
}

ModelConfig find_config(const ModelChoice& choice, const TensorFile& weights) {
  if (!choice.config.empty()) {
    const FileBytes file(choice.config);
    const auto* text = reinterpret_cast<const char*>(file.bytes().data());
    return parse_config({text, file.bytes().size()}, choice.config);
  }
  if (!choice.name.empty()) {
    return find_named_model(choice.name).config;
  }
  const auto found = weights.metadata().find("config");
  if (found != weights.metadata().end()) {
    return parse_config(found->second, weights.name());
  }
  // A file of another library is told as such.
  const CheckpointFit fit = fit_checkpoint(weights, named_models().front().config);
  if (!fit.obstacle.empty()) {
    throw Error(fmt::format("{}: {}", weights.name(), fit.obstacle));
  }
  throw Error(
      fmt::format("{} does not say which model it is; give --model, one of {}, or "
                  "--config FILE.json (docs/datasets-and-configs.md)",
                  weights.name(), model_choices()));
}

}  // namespace

std::vector<std::filesystem::path> model_files(const ModelChoice& choice) {
  check_choice(choice);
  std::vector<std::filesystem::path> files = {find_weights(choice)};
  if (!choice.config.empty()) {
    files.emplace_back(choice.config);
  }
  return files;
}

std::vector<std::filesystem::path> files_read(const ModelChoice& choice,
                                              const CalibrationOptions& options) {
  std::vector<std::filesystem::path> files = model_files(choice);
  files.emplace_back(options.dataset);
  if (!options.class_map.empty()) {
    files.emplace_back(options.class_map);
  }
  return files;
}

LoadedModel load_chosen_model(const ModelChoice& choice) {
  check_choice(choice);
  const TensorFile weights = open_tensors(find_weights(choice));
  const ModelConfig config = find_config(choice, weights);
  LoadedCheckpoint loaded = load_checkpoint(weights, config);
  tell_notes(loaded.notes);
  return {std::move(loaded.model), usable_class_names(weights, config)};
}

void tell_notes(const std::vector<std::string>& notes) {
  for (const std::string& note : notes) {
    tell("note: " + note);
  }
}

std::vector<RgbImage> calibration_batch(const DatasetSplits& splits,
                                        const Preprocessing& preprocessing, ThreadPool& pool,
                                        bool strict) {
  CalibrationImages images = read_calibration(splits, preprocessing, pool, strict);
  for (const std::string& line : images.replaced) {
    tell("skipped: " + line);
  }
  return std::move(images.crops);
}

PreparedData prepare_data(const ModelConfig& config, const std::vector<std::string>& class_names,
                          const CalibrationOptions& options, ThreadPool& pool) {
  DatasetSplits splits = open_dataset({.path = options.dataset,
                                       .num_classes = static_cast<int>(config.num_classes),
                                       .calibration_images = options.calib_batchsize,
                                       .seed = options.seed,
                                       .class_names = class_names,
                                       .class_map = options.class_map});
  tell_notes(splits.notes);
  PreparedData data;
  if (options.calib_batchsize > 0) {
    tell(fmt::format("calibrating on {}", splits.calibration_source));
    data.calibration = calibration_batch(splits, config.preprocessing, pool, options.strict);
  }
  data.validation = std::move(splits.validation);
  return data;
}

Calibration calibrate_with_progress(const Model& model, const QuantizationSettings& settings,
                                    std::span<const RgbImage> crops, ThreadPool& pool,
                                    const std::atomic<bool>& stop) {
  Progress progress(fmt::format("{}: calibrating", settings.name()));
  return calibrate(model, settings, crops, pool, [&](std::size_t done, std::size_t total) {
    if (stop) {
      throw Interrupted();
    }
    progress.show(done, total);
  });
}

Evaluation evaluate_with_progress(const std::string& what, const Engine& engine,
                                  const Dataset& dataset, ThreadPool& pool,
                                  EvaluationOptions options) {
  Evaluation evaluation;
  {
    Progress progress(fmt::format("{}: evaluating", what));
    options.report = [&](const EvaluationProgress& reached) {
      progress.show(reached.total.images, dataset.size(),
                    fmt::format("top-1 {:.2f}  ", reached.total.top1()));
    };
    evaluation = evaluate(engine, dataset, pool, options);
  }
  tell_skipped(evaluation);
  return evaluation;
}

void tell_skipped(const Evaluation& evaluation) {
  for (const std::string& message : evaluation.skipped) {
    tell("skipped: " + message);
  }
  if (evaluation.accuracy.images == 0 && !evaluation.stopped) {
    throw Error(fmt::format("none of the {} images could be read; nothing was evaluated",
                            evaluation.skipped.size()));
  }
}

std::size_t thread_count(std::size_t asked) {
  return asked > 0 ? asked : std::max(1U, std::thread::hardware_concurrency());
}

}  // namespace bitlog2::cli
