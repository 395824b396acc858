#include "cli/job.h"

#include <fmt/format.h>
#include <malloc.h>
#include <unistd.h>

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <algorithm>
#include <chrono>
#include <exception>
#include <new>
#include <thread>

#include "bitlog2/error.h"
#include "bitlog2/files.h"
#include "bitlog2/hub.h"
#include "cli/interrupt.h"
#include "cli/options.h"
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

ModelConfig find_config(const ModelChoice& choice, const Safetensors& weights) {
  if (!choice.config.empty()) {
    const MappedFile file(choice.config);
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
  throw Error(
      fmt::format("{} does not say which model it is; give --model, one of {}, or "
                  "--config FILE.json",
                  weights.name(), model_choices()));
}

/// A message without control characters, which names in a damaged file may hold.
std::string as_one_line(std::string message) {
  std::ranges::replace_if(
      message, [](unsigned char byte) { return byte < 0x20 || byte == 0x7F; }, '?');
  return message;
}

/// Tensors come and go with every layer. glibc would give their memory back each time and have
/// it zeroed, page by page, when it takes it again: a sixth of the time of inference.
void keep_freed_memory() {
#ifdef __GLIBC__
  mallopt(M_MMAP_THRESHOLD, 32 << 20);  // as large as it may be
  mallopt(M_TRIM_THRESHOLD, 512 << 20);
#endif
}

}  // namespace

LoadedModel load_chosen_model(const ModelChoice& choice) {
  if (!choice.name.empty()) {
    find_named_model(choice.name);  // a wrong name is told before missing weights
  }
  const Safetensors weights = Safetensors::open(find_weights(choice));
  const ModelConfig config = find_config(choice, weights);
  return {load_model(weights, config), class_names(weights, config.num_classes)};
}

std::vector<RgbImage> calibration_batch(const Dataset& images, const Preprocessing& preprocessing,
                                        ThreadPool& pool) {
  std::vector<RgbImage> crops(images.size());
  pool.parallel_for(images.size(), 1, [&](std::size_t begin, std::size_t end) {
    for (std::size_t i = begin; i < end; ++i) {
      crops[i] = resize_and_crop(images.read(i), preprocessing);
    }
  });
  return crops;
}

PreparedData prepare_data(const ModelConfig& config, const CalibrationOptions& options,
                          ThreadPool& pool) {
  DatasetSplits splits = open_dataset({.path = options.dataset,
                                       .num_classes = static_cast<int>(config.num_classes),
                                       .calibration_images = options.calib_batchsize,
                                       .seed = options.seed});
  PreparedData data;
  data.validation = std::move(splits.validation);
  if (options.calib_batchsize > 0) {
    fmt::print(stderr, "calibrating on {}\n", splits.calibration_source);
    data.calibration = calibration_batch(splits.calibration, config.preprocessing, pool);
  }
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
                                  const Dataset& dataset, EvaluationOptions options) {
  Evaluation evaluation;
  {
    Progress progress(fmt::format("{}: evaluating", what));
    options.report = [&](const EvaluationProgress& reached) {
      progress.show(reached.total.images, dataset.size(),
                    fmt::format("top-1 {:.2f}  ", reached.total.top1()));
    };
    evaluation = evaluate(engine, dataset, options);
  }
  for (const std::string& message : evaluation.skipped) {
    fmt::print(stderr, "skipped: {}\n", message);
  }
  return evaluation;
}

void check_writable(const std::filesystem::path& path) {
  const std::filesystem::path target = follow_links(path);
  const std::filesystem::path folder = target.has_parent_path() ? target.parent_path() : ".";
  if (access((folder / "").c_str(), W_OK | X_OK) != 0) {
    throw Error(fmt::format("{}: cannot be written; is {} a folder that you may write to?",
                            path.string(), folder.string()));
  }
  std::error_code ignored;
  const std::filesystem::file_status status = std::filesystem::status(path, ignored);
  if (std::filesystem::exists(status) && !std::filesystem::is_regular_file(status)) {
    // Not a folder, of course, and a device would be replaced by the file.
    throw Error(fmt::format("{}: is not a regular file; give a file's name", path.string()));
  }
}

std::size_t thread_count(std::size_t asked) {
  return asked > 0 ? asked : std::max(1U, std::thread::hardware_concurrency());
}

std::optional<int> parse_arguments(CLI::App& app, int argc, char** argv) {
  app.failure_message([](const CLI::App* program, const CLI::Error& error) {
    return fmt::format("{}: error: {}; see --help\n", program->get_name(),
                       as_one_line(error.what()));
  });
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  return std::nullopt;
}

int run_reporting_errors(const char* program, const std::function<int()>& body) {
  keep_freed_memory();
  try {
    return body();
  } catch (const Interrupted&) {
    fmt::print(stderr, "{}: interrupted\n", program);
    return kInterruptedExit;
  } catch (const std::bad_alloc&) {
    fmt::print(stderr, "{}: error: out of memory; a smaller batch needs less\n", program);
  } catch (const std::exception& error) {
    fmt::print(stderr, "{}: error: {}\n", program, as_one_line(error.what()));
  }
  return 1;
}

}  // namespace bitlog2::cli
