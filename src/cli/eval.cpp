// `bitlog2 eval`: accuracy of a model, in float32 and quantized, as one table.
#include <fmt/format.h>

#include <CLI/App.hpp>
#include <algorithm>
#include <chrono>
#include <cmath>
#include <iterator>
#include <memory>
#include <nlohmann/json.hpp>

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

struct EvalOptions {
  ModelSource model;
  std::string quantized;
  CalibrationOptions calibration;
  std::vector<int> w_bits = {4};
  std::vector<int> a_bits = {4};
  std::vector<std::string> schemes = {SchemeOptions().scheme};
  RecipeOptions recipe;
  std::vector<std::string> engines = {"simulate"};
  std::size_t val_batchsize = 64;
  SubsetOptions subset;
  Output json;
  Output dump_quantizers;
};

/// One line of the table.
struct Row {
  std::string engine;
  std::string scheme;  ///< empty for fp32
  int w_bits = 32;
  int a_bits = 32;
  double calibration_seconds = 0;
  Evaluation evaluation;
};

void print_header() {
  print(fmt::format("{:<9} {:<18} {:>5} {:>7} {:>7} {:>7} {:>7} {:>12} {:>11}\n", "engine",
                    "scheme", "bits", "top-1", "top-5", "loss", "images", "calibration",
                    "evaluation"));
}

/// A number, or "-" where there is none.
std::string number(double value, int decimals) {
  return std::isnan(value) ? "-" : fmt::format("{:.{}f}", value, decimals);
}

void print_row(const Row& row) {
  const Accuracy& accuracy = row.evaluation.accuracy;
  print(fmt::format("{:<9} {:<18} {:>5} {:>7} {:>7} {:>7} {:>7} {:>10.1f} s {:>9.1f} s{}\n",
                    row.engine, row.scheme.empty() ? "-" : row.scheme,
                    row.scheme.empty() ? "32/32" : fmt::format("{}/{}", row.w_bits, row.a_bits),
                    number(accuracy.top1(), 2), number(accuracy.top5(), 2),
                    number(accuracy.loss(), 4), accuracy.images, row.calibration_seconds,
                    row.evaluation.seconds, row.evaluation.stopped ? "  (interrupted)" : ""));
  flush_output();
}

ordered_json to_json(const std::string& model, const Row& row) {
  const Accuracy& accuracy = row.evaluation.accuracy;
  ordered_json object = {{"model", model}, {"engine", row.engine}};
  object["scheme"] = row.scheme.empty() ? ordered_json(nullptr) : ordered_json(row.scheme);
  object["w_bits"] = row.w_bits;
  object["a_bits"] = row.a_bits;
  object["images"] = accuracy.images;
  object["skipped"] = row.evaluation.skipped.size();
  object["top1"] = accuracy.top1();  // not a number is null in JSON
  object["top5"] = accuracy.top5();
  object["loss"] = accuracy.loss();
  object["calibration_seconds"] = row.calibration_seconds;
  object["evaluation_seconds"] = row.evaluation.seconds;
  if (row.evaluation.stopped) {
    object["interrupted"] = true;
  }
  return object;
}

/// Every quantized case that the options ask for: bit widths, then schemes.
std::vector<QuantizationSettings> quantized_cases(const EvalOptions& options) {
  std::vector<AttentionScheme> schemes;
  for (const std::string& name : options.schemes) {
    if (name == "all") {
      std::ranges::copy_if(kAttentionSchemes, std::back_inserter(schemes),
                           &AttentionScheme::published);
    } else {
      schemes.push_back(find_attention_scheme(name));
    }
  }
  const std::size_t widths = std::max(options.w_bits.size(), options.a_bits.size());
  const auto pick = [&](const std::vector<int>& bits, const char* option, std::size_t i) {
    if (bits.size() != 1 && bits.size() != widths) {
      throw Error(fmt::format("{} has {} entries, the other width has {}; give as many, or one",
                              option, bits.size(), widths));
    }
    return bits.size() == 1 ? bits[0] : bits[i];
  };
  std::vector<QuantizationSettings> cases;
  for (std::size_t i = 0; i < widths; ++i) {
    const int w_bits = pick(options.w_bits, "--w-bits", i);
    const int a_bits = pick(options.a_bits, "--a-bits", i);
    for (const AttentionScheme& scheme : schemes) {
      cases.push_back({w_bits, a_bits, scheme, options.recipe.recipe()});
    }
  }
  return cases;
}

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

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
    open_dataset_for(engine->config(), engine->info().class_names, false);
    evaluate_integer(engine->info().settings, *engine, 0);
  }

  void evaluate_checkpoint() {
    const bool calibrates = has_engine("simulate") || has_engine("integer");
    const LoadedModel loaded = load_and_tell(options_.model);
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
    wanted.calib_batchsize = calibrates ? wanted.calib_batchsize : 0;
    data_ = prepare_data(config, class_names, wanted, pool_);
    data_.validation = take_subset(data_.validation, options_.subset, wanted.seed);
  }

  /// Calibrates once and runs every engine that was asked for.
  void evaluate_case(const Model& model, const QuantizationSettings& settings) {
    const auto start = std::chrono::steady_clock::now();
    current_ = settings;
    const Calibration calibration =
        calibrate_with_progress(model, settings, data_.calibration, pool_, stop_);
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
    if (engine.saturations() > 0) {
      tell(fmt::format("{}: {} values of the residual stream were cut off", settings.name(),
                       engine.saturations()));
    }
  }

  static Row quantized_row(const char* engine, const QuantizationSettings& settings,
                           double calibration_seconds) {
    return {.engine = engine,
            .scheme = std::string(settings.scheme.name),
            .w_bits = settings.w_bits,
            .a_bits = settings.a_bits,
            .calibration_seconds = calibration_seconds,
            .evaluation = {}};
  }

  /// The table is for stdout, unless something else is.
  bool prints_table() const {
    return !options_.json.to_stdout() && !options_.dump_quantizers.to_stdout();
  }

  void evaluate_row(Row row, const Engine& engine) {
    const std::string what = row.scheme.empty() ? row.engine : row.scheme;
    row.evaluation = evaluate_with_progress(what, engine, data_.validation, pool_,
                                            {.batch_size = options_.val_batchsize,
                                             .strict = options_.calibration.strict,
                                             .stop = &stop_,
                                             .report = {}});
    add_row(row);
  }

  void add_row(const Row& row) {
    if (prints_table()) {
      if (results_.empty()) {
        print_header();
      }
      print_row(row);
    }
    results_.push_back(to_json(config_.name, row));
    interrupted_ = row.evaluation.stopped;
  }

  /// For a case whose calibration was interrupted.
  void add_interrupted_row() {
    Row row = quantized_row(has_engine("simulate") ? "simulate" : "integer", current_, 0);
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
  ordered_json results_ = ordered_json::array();
  ordered_json dumped_ = ordered_json::object();
};

}  // namespace

void add_eval(CLI::App& app, std::function<int()>& run) {
  const auto options = std::make_shared<EvalOptions>();
  CLI::App* command =
      app.add_subcommand("eval", "Measure a model's accuracy, in float32 and quantized");
  add_model_options(*command, options->model);
  command->add_option("--quantized", options->quantized,
                      "A file made by bitlog2 quantize, run by the integer engine");
  add_calibration_options(*command, options->calibration);
  command->add_option("--w-bits", options->w_bits, "Bits of weights; several: 4,6")
      ->delimiter(',')
      ->check(whole_number(kMinBits, kMaxBits))
      ->capture_default_str();
  command->add_option("--a-bits", options->a_bits, "Bits of activations; several: 4,6")
      ->delimiter(',')
      ->check(whole_number(kMinBits, kMaxBits))
      ->capture_default_str();
  command
      ->add_option("--log-quant-scheme", options->schemes,
                   "Attention-map quantizers, several, or 'all' that are published: " +
                       attention_scheme_names())
      ->delimiter(',')
      ->capture_default_str();
  add_recipe_options(*command, options->recipe);
  command->add_option("--engine", options->engines, "One or several of fp32, simulate, integer")
      ->delimiter(',')
      ->check(CLI::IsMember({"fp32", "simulate", "integer"}))
      ->capture_default_str();
  command->add_option("--val-batchsize", options->val_batchsize, "Images between progress reports")
      ->check(whole_number(1, 65536))
      ->capture_default_str();
  add_subset_options(*command, options->subset);
  add_json_option(*command, options->json, "Write the table");
  add_output_option(*command, "--dump-quantizers", options->dump_quantizers,
                    "Write every scale and zero point as JSON ('-': to stdout, without the table)");
  command->callback([options, command, &run] {
    run = [options, command] {
      if (!options->quantized.empty()) {
        refuse_what_the_file_decides(*command, options->quantized);
      }
      refuse_what_no_engine_heeds(*command);
      return EvalRun(*options).run();
    };
  });
}

}  // namespace bitlog2::cli
