// `bitlog2 eval`: accuracy of a model, in float32 and quantized, as one table.
#include <fmt/format.h>

#include <CLI/App.hpp>
#include <algorithm>
#include <chrono>
#include <memory>
#include <nlohmann/json.hpp>

#include "base/stopwatch.h"
#include "bitlog2/encoder.h"
#include "bitlog2/error.h"
#include "bitlog2/integer.h"
#include "cli/commands.h"
#include "cli/console.h"
#include "cli/eval_options.h"
#include "cli/eval_probes.h"
#include "cli/eval_table.h"
#include "cli/images.h"
#include "cli/interrupt.h"
#include "cli/job.h"

namespace bitlog2::cli {
namespace {

using nlohmann::ordered_json;

/// One run of `bitlog2 eval`.
class EvalRun {
 public:
  explicit EvalRun(const EvalOptions& options)
      : options_(options),
        stop_(catch_interrupt()),
        pool_(thread_count(options.calibration.threads)) {}

  int run() {
    check_outputs({options_.json, options_.dump_quantizers}, inputs());
    cases_ = quantized_cases(options_);
    try {
      options_.quantized.empty() ? evaluate_checkpoint() : evaluate_quantized();
    } catch (const Interrupted&) {
      add_interrupted_row();
    }
    write_results();
    if (stop_) {
      tell("bitlog2: interrupted; the results hold what was reached");
      return interrupted_exit();
    }
    return 0;
  }

 private:
  bool has_engine(const std::string& name) const {
    return std::find(options_.engines.begin(), options_.engines.end(), name) !=
           options_.engines.end();
  }

  std::vector<std::filesystem::path> inputs() const {
    return options_.quantized.empty() ? files_read(options_.model, options_.calibration)
                                      : std::vector<std::filesystem::path>{
                                            options_.quantized, options_.calibration.dataset,
                                            options_.calibration.class_map};
  }

  /// A file made by `bitlog2 quantize`: nothing to calibrate, one row.
  void evaluate_quantized() {
    const auto engine = IntegerEngine::open(options_.quantized);
    if (options_.probes()) {
      require_embeddings(engine->config(), options_.quantized);
    } else {
      require_classes(engine->config(), options_.quantized);
    }
    open_dataset_for(engine->config(), engine->info().class_names, false);
    evaluate_integer(engine->info().settings, *engine, 0);
  }

  void evaluate_checkpoint() {
    const bool calibrates = has_engine("simulate") || has_engine("integer");
    const LoadedModel loaded = options_.probes() ? load_encoder(options_.model, options_.pool)
                                                 : load_and_tell(options_.model);
    if (!options_.probes()) {
      require_classes(loaded.model.config, loaded.model.config.name);
    }
    open_dataset_for(loaded.model.config, loaded.class_names, calibrates);
    if (has_engine("fp32")) {
      evaluate_row({.engine = "fp32", .scheme = "", .evaluation = {}},
                   *make_fp32_engine(loaded.model));
    }
    for (std::size_t i = 0; calibrates && i < cases_.size() && !interrupted_; ++i) {
      evaluate_case(loaded.model, cases_[i]);
    }
  }

  void open_dataset_for(const ModelConfig& config, const std::vector<std::string>& class_names,
                        bool calibrates) {
    config_ = config;
    CalibrationOptions wanted = options_.calibration;
    wanted.images = calibrates ? wanted.images : 0;
    if (options_.probes()) {
      open_labelled(wanted);
      return;
    }
    data_ = prepare_data(config, class_names, wanted, pool_);
    data_.validation = take_subset(data_.validation, options_.subset, wanted.seed);
  }

  /// For encoders, whose classes are those of the training images.
  void open_labelled(const CalibrationOptions& wanted) {
    labelled_ = open_labelled_splits(wanted.dataset);
    tell_notes(labelled_.notes);
    check_probes(probe_request(options_), labelled_);
    labelled_.validation = take_subset(labelled_.validation, options_.subset, wanted.seed);
    if (wanted.images > 0) {
      data_.calibration = read_calibration_and_tell(open_splits(config_, {}, wanted),
                                                    config_.preprocessing, wanted, pool_);
    }
  }

  /// Calibrates once and runs every engine that was asked for.
  void evaluate_case(const Model& model, const QuantizationSettings& settings) {
    const auto start = std::chrono::steady_clock::now();
    current_ = settings;
    const Calibration calibration = calibrate_with_progress(
        model, settings, data_.calibration, options_.calibration.memory_bytes, pool_, stop_);
    const double seconds = seconds_since(start);
    if (options_.dump_quantizers.wanted()) {
      dumped_[settings.name()] = {
          {"after_initial_calibration",
           ordered_json::parse(quantizers_to_json(calibration.after_initial_calibration))},
          {"final", ordered_json::parse(quantizers_to_json(calibration.quantized.quantizers))}};
    }
    if (has_engine("simulate")) {
      evaluate_row(quantized_row("simulate", settings, seconds),
                   *make_simulated_engine(calibration.quantized));
    }
    if (has_engine("integer") && !interrupted_) {
      const auto engine = IntegerEngine::from_bytes(lower(calibration.quantized, {}), config_.name);
      evaluate_integer(settings, *engine, seconds);
    }
  }

  void evaluate_integer(const QuantizationSettings& settings, const IntegerEngine& engine,
                        double calibration_seconds) {
    evaluate_row(quantized_row("integer", settings, calibration_seconds), engine);
    tell_saturations(settings.name(), engine);
  }

  static EvalRow quantized_row(const char* engine, const QuantizationSettings& settings,
                               double calibration_seconds) {
    return {.engine = engine,
            .scheme = std::string(settings.scheme.name),
            .w_bits = settings.w_bits,
            .a_bits = settings.a_bits,
            .calibration_seconds = calibration_seconds,
            .evaluation = {}};
  }

  /// The table goes to stdout, unless other results do.
  bool prints_table() const {
    return !options_.json.to_stdout() && !options_.dump_quantizers.to_stdout();
  }

  void evaluate_row(EvalRow row, const Engine& engine) {
    const std::string what = row.scheme.empty() ? row.engine : row.scheme;
    if (options_.probes()) {
      for (const Probed& probed :
           evaluate_probes(what, engine, labelled_, options_, pool_, stop_)) {
        row.probe = probed.probe;
        row.evaluation = probed.evaluation;
        add_row(row);
      }
      return;
    }
    row.evaluation = evaluate_with_progress(what, engine, data_.validation, pool_,
                                            {.batch_size = options_.val_batchsize,
                                             .strict = options_.calibration.strict,
                                             .stop = &stop_,
                                             .report = {}});
    add_row(row);
  }

  void add_row(const EvalRow& row) {
    if (prints_table()) {
      if (results_.empty()) {
        print_header(options_.probes());
      }
      print_row(row);
    }
    results_.push_back(to_json(config_.name, row));
    interrupted_ = row.evaluation.stopped;
  }

  /// Adds the row of a case whose calibration was interrupted.
  void add_interrupted_row() {
    EvalRow row = quantized_row(has_engine("simulate") ? "simulate" : "integer", current_, 0);
    row.probe.name = options_.probes() ? "-" : "";
    row.evaluation.stopped = true;
    add_row(row);
  }

  void write_results() const {
    write_json(options_.json, results_);
    if (options_.dump_quantizers.wanted()) {
      ordered_json document = {{"config", ordered_json::parse(config_to_json(config_))},
                               {"cases", dumped_}};
      if (stop_) {
        document["interrupted"] = true;
      }
      write_json(options_.dump_quantizers, document);
    }
  }

  const EvalOptions& options_;
  const std::atomic<bool>& stop_;
  ThreadPool pool_;
  std::vector<QuantizationSettings> cases_;
  QuantizationSettings current_;  ///< being calibrated
  bool interrupted_ = false;      ///< the last row is not whole
  ModelConfig config_;
  PreparedData data_;
  LabelledSplits labelled_;
  ordered_json results_ = ordered_json::array();
  ordered_json dumped_ = ordered_json::object();
};

}  // namespace

void add_eval(CLI::App& app, std::function<int()>& run) {
  const auto options = std::make_shared<EvalOptions>();
  CLI::App* command =
      app.add_subcommand("eval", "Measure a model's accuracy, in float32 and quantized");
  add_eval_options(*command, *options);
  command->callback([options, command, &run] {
    run = [options, command] {
      check_eval_options(*command, *options);
      return EvalRun(*options).run();
    };
  });
}

}  // namespace bitlog2::cli
