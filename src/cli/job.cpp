#include "cli/job.h"

#include <fmt/format.h>

#include <algorithm>
#include <thread>
#include <utility>

#include "bitlog2/encoder.h"
#include "bitlog2/error.h"
#include "cli/console.h"
#include "cli/interrupt.h"
#include "cli/progress.h"

namespace bitlog2::cli {
std::vector<std::filesystem::path> files_read(const ModelSource& source,
                                              const CalibrationOptions& options) {
  std::vector<std::filesystem::path> files = files_of(source);
  for (const std::string& path : {options.dataset, options.class_map, options.folder}) {
    if (!path.empty()) {
      files.emplace_back(path);
    }
  }
  return files;
}

LoadedModel load_and_tell(const ModelSource& source) {
  LoadedModel loaded = load_model(source);
  tell_notes(loaded.notes);
  return loaded;
}

LoadedModel load_encoder(const ModelSource& source, const std::string& pool) {
  LoadedModel loaded = load_and_tell(source);
  loaded.model = as_encoder(std::move(loaded.model),
                            pool.empty() ? EmbeddingPooling::native : find_embedding_pooling(pool));
  loaded.class_names.clear();
  return loaded;
}

LoadedModel load_pooled(const ModelSource& source, const std::string& pool) {
  return pool.empty() ? load_and_tell(source) : load_encoder(source, pool);
}

void require_classes(const ModelConfig& config, const std::string& what) {
  if (is_encoder(config)) {
    throw Error(
        fmt::format("{}: it has no classes, its output is an embedding; 'bitlog2 embed' writes it, "
                    "'bitlog2 eval --knn 20' measures it",
                    what));
  }
}

void require_embeddings(const ModelConfig& config, const std::string& path) {
  if (!is_encoder(config)) {
    throw Error(fmt::format(
        "{}: this file gives class scores; make one that gives embeddings with 'bitlog2 quantize "
        "--pool native ...'",
        path));
  }
}

void check_model_choice(const std::string& command, const std::string& quantized,
                        const ModelSource& source) {
  if (quantized.empty() ==
      (source.model.empty() && source.weights.empty() && source.config.empty())) {
    throw Error(fmt::format(
        "{} takes either --quantized, a file made by bitlog2 quantize, or a checkpoint: --model, "
        "--weights or both",
        command));
  }
}

void tell_notes(const std::vector<std::string>& notes) {
  for (const std::string& note : notes) {
    tell("note: " + note);
  }
}

CalibrationImages calibration_batch(const DatasetSplits& splits, const Preprocessing& preprocessing,
                                    ThreadPool& pool, bool strict) {
  CalibrationImages images = read_calibration(splits, preprocessing, pool, strict);
  for (const std::string& line : images.replaced) {
    tell("skipped: " + line);
  }
  return images;
}

DatasetSplits open_splits(const ModelConfig& config, const std::vector<std::string>& class_names,
                          const CalibrationOptions& options) {
  DatasetRequest request = {.path = options.dataset,
                            .num_classes = static_cast<int>(config.num_classes),
                            .calibration_images = options.folder.empty() ? options.images : 0,
                            .seed = options.seed,
                            .class_names = class_names,
                            .class_map = options.class_map,
                            .labelled = !is_encoder(config)};
  DatasetSplits splits = options.dataset.empty() ? DatasetSplits{} : open_dataset(request);
  if (!options.folder.empty() && options.images > 0) {
    request.calibration_images = options.images;
    calibrate_on_folder(options.folder, request, splits);
  }
  return splits;
}

CalibrationImages read_calibration_and_tell(const DatasetSplits& splits,
                                            const Preprocessing& preprocessing,
                                            const CalibrationOptions& options, ThreadPool& pool) {
  tell(fmt::format("calibrating on {}", splits.calibration_source));
  return calibration_batch(splits, preprocessing, pool, options.strict);
}

PreparedData prepare_data(const ModelConfig& config, const std::vector<std::string>& class_names,
                          const CalibrationOptions& options, ThreadPool& pool) {
  DatasetSplits splits = open_splits(config, class_names, options);
  tell_notes(splits.notes);
  PreparedData data;
  if (options.images > 0) {
    data.calibration = read_calibration_and_tell(splits, config.preprocessing, options, pool);
  }
  data.validation = std::move(splits.validation);
  return data;
}

Calibration calibrate_with_progress(Model model, const QuantizationSettings& settings,
                                    const CalibrationImages& images, std::size_t memory_bytes,
                                    ThreadPool& pool, const std::atomic<bool>& stop) {
  Progress progress(fmt::format("{}: calibrating", settings.name()));
  const auto show = [&](std::size_t done, std::size_t total) {
    if (stop) {
      throw Interrupted();
    }
    progress.show(done, total);
  };
  return calibrate(std::move(model), settings, images.crops, pool,
                   {.progress = show, .image_names = images.names, .memory_bytes = memory_bytes});
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
