// `bitlog2 report`: what quantization does to a model, as one page to look at.
#include <fmt/format.h>

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <algorithm>
#include <cmath>
#include <memory>
#include <nlohmann/json.hpp>

#include "base/stopwatch.h"
#include "bitlog2/engine.h"
#include "bitlog2/error.h"
#include "bitlog2/files.h"
#include "bitlog2/integer.h"
#include "bitlog2/predictions.h"
#include "cli/commands.h"
#include "cli/comparison.h"
#include "cli/console.h"
#include "cli/costs.h"
#include "cli/html.h"
#include "cli/interrupt.h"
#include "cli/job.h"
#include "cli/options.h"
#include "cli/progress.h"
#include "cli/report_page.h"
#include "cli/report_parts.h"

namespace bitlog2::cli {
namespace {

using nlohmann::ordered_json;

struct ReportOptions {
  ModelSource model;
  CalibrationOptions calibration;
  SchemeOptions scheme;
  SubsetOptions subset;
  Output output;
  Output json;
};

constexpr std::size_t kComparedImages = 8;  // layer by layer
constexpr std::size_t kChangedListed = 1000;
constexpr std::size_t kChangedShown = 24;   // of these, with pictures
constexpr std::size_t kImagesAtATime = 64;  // between two looks at the progress
constexpr double kSecondsToTime = 0.5;      // each engine

ordered_json to_json(const Prediction& prediction) {
  return {{"index", prediction.index},
          {"class", prediction.name},
          {"probability", prediction.probability}};
}

ordered_json to_json(const Accuracy& accuracy) {
  return {{"images", accuracy.images},
          {"top1", accuracy.top1()},
          {"top5", accuracy.top5()},
          {"loss", accuracy.loss()}};
}

/// What both engines say of one image.
struct Answers {
  Accuracy exact;
  Accuracy quantized;
  ordered_json changed;  // null: the same class
  std::string skipped;
};

double best_seconds(const Engine& engine, const RgbImage& crop) {
  double best = std::numeric_limits<double>::infinity();
  const auto start = std::chrono::steady_clock::now();
  do {
    const auto begin = std::chrono::steady_clock::now();
    static_cast<void>(engine.logits(std::span(&crop, 1)));
    best = std::min(best, seconds_since(begin));
  } while (seconds_since(start) < kSecondsToTime);
  return best;
}

class Report {
 public:
  explicit Report(const ReportOptions& options)
      : options_(options),
        settings_(options.scheme.settings()),
        loaded_(load_and_tell(options.model)),
        pool_(thread_count(options.calibration.threads)) {
    require_classes(loaded_.model.config, loaded_.model.config.name);
  }

  /// Everything that the page shows.
  ordered_json make() {
    PreparedData data = prepare_data(config(), loaded_.class_names, options_.calibration, pool_);
    data.validation = take_subset(data.validation, options_.subset, options_.calibration.seed);
    const Calibration calibration =
        calibrate_with_progress(loaded_.model, settings_, data.calibration,
                                options_.calibration.memory_bytes, pool_, stop_);
    quantized_ = &calibration.quantized;
    integer_ = IntegerEngine::from_bytes(lower(*quantized_, loaded_.class_names), config().name);
    exact_ = make_fp32_engine(loaded_.model);
    evaluate_both(data.validation);
    ordered_json document = {
        {"model", config().name},
        {"settings", settings_.name()},
        {"scheme", settings_.scheme.name},
        {"recipe", options_.scheme.recipe.name},
        {"calibration_images", data.calibration.crops.size()},
        {"engines", engines()},
        {"attention", attention_of(calibration.quantized, *integer_, crops_.front(), pool_)},
        {"layers", layers()},
        {"costs", costs()},
        {"quantizers", quantizers_of(calibration.quantized, crops_, pool_)},
        {"changed", changed_},
        {"changed_count", changed_count_}};
    return document;
  }

 private:
  const ModelConfig& config() const { return loaded_.model.config; }

  void stop_if_asked() const {
    if (stop_) {
      throw Interrupted();
    }
  }

  Answers answer(const Dataset& dataset, std::size_t index) const {
    Answers answers;
    const int label = checked_label(dataset, index, config().num_classes);
    RgbImage crop;
    try {
      crop = resize_and_crop(dataset.read(index), config().preprocessing);
    } catch (const Error& error) {
      if (options_.calibration.strict) {
        throw;
      }
      answers.skipped = error.what();
      return answers;
    }
    const std::vector<float> exact = exact_->logits(std::span(&crop, 1));
    const std::vector<float> quantized = integer_->logits(std::span(&crop, 1));
    answers.exact.count(exact, label);
    answers.quantized.count(quantized, label);
    const Prediction before = best_classes(exact, loaded_.class_names, 1).front();
    const Prediction after = best_classes(quantized, loaded_.class_names, 1).front();
    if (before.index != after.index) {
      const auto known = static_cast<std::size_t>(label);
      answers.changed = {
          {"image", dataset.name(index)},
          {"label", label},
          {"label_class",
           known < loaded_.class_names.size() ? loaded_.class_names[known] : std::string()},
          {"float32", to_json(before)},
          {"integer", to_json(after)},
          {"picture", thumbnail(crop)}};
    }
    return answers;
  }

  /// Accuracy of both engines, and what changed; the first images are kept to look at.
  void evaluate_both(const Dataset& dataset) {
    Progress progress(fmt::format("{}: evaluating", settings_.name()));
    std::vector<std::string> skipped;
    for (std::size_t first = 0; first < dataset.size(); first += kImagesAtATime) {
      stop_if_asked();
      std::vector<Answers> batch(std::min(kImagesAtATime, dataset.size() - first));
      pool_.parallel_for(batch.size(), 1, [&](std::size_t i, std::size_t) {
        if (!stop_) {
          batch[i] = answer(dataset, first + i);
        }
      });
      for (Answers& each : batch) {
        exact_accuracy_.add(each.exact);
        accuracy_.add(each.quantized);
        if (!each.skipped.empty()) {
          skipped.push_back(std::move(each.skipped));
        }
        if (!each.changed.is_null()) {
          ++changed_count_;
          if (changed_.size() >= kChangedShown) {
            each.changed.erase("picture");
          }
          if (changed_.size() < kChangedListed) {
            changed_.push_back(std::move(each.changed));
          }
        }
      }
      progress.show(first + batch.size(), dataset.size());
    }
    stop_if_asked();
    for (const std::string& message : skipped) {
      tell("skipped: " + message);
    }
    for (std::size_t i = 0; i < dataset.size() && crops_.size() < kComparedImages; ++i) {
      try {
        crops_.push_back(resize_and_crop(dataset.read(i), config().preprocessing));
      } catch (const Error&) {
        continue;  // told above
      }
    }
    if (crops_.empty()) {
      throw Error(fmt::format("none of the {} images could be read; there is nothing to report",
                              dataset.size()));
    }
  }

  ordered_json engines() {
    std::size_t parameters = 0;
    for_each_parameter(loaded_.model,
                       [&](const Parameter& parameter) { parameters += parameter.values.size(); });
    ordered_json exact = {{"name", "float32"}};
    exact.update(to_json(exact_accuracy_));
    exact["bytes"] = 4 * parameters;
    exact["seconds"] = best_seconds(*exact_, crops_.front());
    exact["isa"] = float_isa();
    ordered_json integer = {{"name", settings_.name()}};
    integer.update(to_json(accuracy_));
    integer["bytes"] = integer_->file_bytes();
    integer["seconds"] = best_seconds(*integer_, crops_.front());
    integer["isa"] = integer_->isa();
    integer["arena_bytes"] = integer_->arena_bytes();
    return {exact, integer};
  }

  ordered_json layers() {
    const Model exact = in_recipe_coordinates(loaded_.model, settings_.recipe, pool_);
    Comparison comparison(exact, *quantized_, *integer_);
    for (const RgbImage& crop : crops_) {
      stop_if_asked();
      comparison.add_image(crop);
    }
    return comparison.rows();
  }

  ordered_json costs() const {
    ordered_json rows = ordered_json::array();
    for (const OperationCost& cost :
         costs_by_role(best_costs(*integer_, crops_.front(), kSecondsToTime, stop_))) {
      rows.push_back({{"layer", cost.layer},
                      {"operation", cost.kind},
                      {"seconds", cost.seconds},
                      {"multiply_adds", cost.multiply_adds}});
    }
    return rows;
  }

  const ReportOptions& options_;
  QuantizationSettings settings_;
  LoadedModel loaded_;
  ThreadPool pool_;
  const std::atomic<bool>& stop_ = catch_interrupt();
  const QuantizedModel* quantized_ = nullptr;
  std::unique_ptr<IntegerEngine> integer_;
  std::unique_ptr<Engine> exact_;
  Accuracy exact_accuracy_;
  Accuracy accuracy_;
  std::vector<RgbImage> crops_;  // the first that can be read
  ordered_json changed_ = ordered_json::array();
  std::size_t changed_count_ = 0;
};

int write_report(const ReportOptions& options) {
  if (options.output.to_stdout()) {
    throw Error("-o -: a page cannot go to stdout; give a file's name");
  }
  check_outputs({options.output, options.json}, files_read(options.model, options.calibration));
  const ordered_json document = Report(options).make();
  const std::string title =
      fmt::format("{}, {}", document["model"].get<std::string>(), options.scheme.settings().name());
  std::string page = replaced(kReportPage, "@TITLE@", for_html(printable(title)));
  page = replaced(page, "@REPORT@", for_script(document));
  write_file_atomically(options.output.path, page);
  if (!options.json.to_stdout()) {
    print(fmt::format("{}: {:.2f} MB, for any browser\n", printable(options.output.path),
                      static_cast<double>(page.size()) / 1e6));
  }
  write_json(options.json, document);
  return 0;
}

}  // namespace

void add_report(CLI::App& app, std::function<int()>& run) {
  const auto options = std::make_shared<ReportOptions>();
  CLI::App* command =
      app.add_subcommand("report", "Quantize a model and write a page of what that does to it");
  add_model_options(*command, options->model);
  add_calibration_options(*command, options->calibration);
  add_scheme_options(*command, options->scheme);
  add_subset_options(*command, options->subset);
  add_output_option(*command, "-o,--output", options->output, "The page to write, .html")
      ->required();
  add_json_option(*command, options->json, "Write the page's numbers");
  command->callback([options, &run] { run = [options] { return write_report(*options); }; });
}

}  // namespace bitlog2::cli
