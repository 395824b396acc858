// `bitlog2 eval`: accuracy of a model, in float32 and quantized, as one table.
#include <fmt/format.h>

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <iterator>
#include <memory>
#include <nlohmann/json.hpp>
#include <numeric>

#include "bitlog2/error.h"
#include "bitlog2/files.h"
#include "bitlog2/integer.h"
#include "cli/commands.h"
#include "cli/interrupt.h"
#include "cli/job.h"
#include "cli/options.h"

namespace bitlog2::cli {
namespace {

using nlohmann::ordered_json;

constexpr const char* kStandardOutput = "-";

struct EvalOptions {
  ModelChoice model;
  std::string quantized;
  CalibrationOptions calibration;
  std::vector<int> w_bits = {4};
  std::vector<int> a_bits = {4};
  std::vector<std::string> schemes = {"Sqrt2_17"};
  RecipeOptions recipe;
  std::vector<std::string> engines = {"simulate"};
  std::size_t val_batchsize = 64;
  std::size_t limit = 0;
  bool strict = false;
  std::string json;
  std::string dump_quantizers;
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
  fmt::print("{:<9} {:<18} {:>5} {:>7} {:>7} {:>7} {:>7} {:>12} {:>11}\n", "engine", "scheme",
             "bits", "top-1", "top-5", "loss", "images", "calibration", "evaluation");
}

void print_row(const Row& row) {
  const Accuracy& accuracy = row.evaluation.accuracy;
  fmt::print("{:<9} {:<18} {:>5} {:>7.2f} {:>7.2f} {:>7.4f} {:>7} {:>10.1f} s {:>9.1f} s{}\n",
             row.engine, row.scheme.empty() ? "-" : row.scheme,
             row.scheme.empty() ? "32/32" : fmt::format("{}/{}", row.w_bits, row.a_bits),
             accuracy.top1(), accuracy.top5(), accuracy.loss(), accuracy.images,
             row.calibration_seconds, row.evaluation.seconds,
             row.evaluation.stopped ? "  (interrupted)" : "");
  std::fflush(stdout);
}

ordered_json to_json(const std::string& model, const Row& row) {
  const Accuracy& accuracy = row.evaluation.accuracy;
  ordered_json object = {{"model", model}, {"engine", row.engine}};
  object["scheme"] = row.scheme.empty() ? ordered_json(nullptr) : ordered_json(row.scheme);
  object["w_bits"] = row.w_bits;
  object["a_bits"] = row.a_bits;
  object["images"] = accuracy.images;
  object["skipped"] = row.evaluation.skipped.size();
  object["top1"] = accuracy.top1();
  object["top5"] = accuracy.top5();
  object["loss"] = accuracy.loss();
  object["calibration_seconds"] = row.calibration_seconds;
  object["evaluation_seconds"] = row.evaluation.seconds;
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
    const int value = bits.size() == 1 ? bits[0] : bits[i];
    if (value < kMinBits || value > kMaxBits) {
      throw Error(
          fmt::format("{} is {}; {} to {} bits are possible", option, value, kMinBits, kMaxBits));
    }
    return value;
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

void print_json(const ordered_json& document) {
  fmt::print("{}\n", document.dump(1));
}

/// To the file that is named, if any, or to stdout.
void write_json(const std::string& path, const ordered_json& document) {
  if (path == kStandardOutput) {
    print_json(document);
  } else if (!path.empty()) {
    write_file_atomically(path, document.dump(1) + "\n");
  }
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
    if (options_.json == kStandardOutput && options_.dump_quantizers == kStandardOutput) {
      throw Error("--json and --dump-quantizers cannot both go to stdout; name a file for one");
    }
    for (const std::string& path : {options_.json, options_.dump_quantizers}) {
      if (!path.empty() && path != kStandardOutput) {
        check_writable(path);
      }
    }
    cases_ = quantized_cases(options_);
    try {
      options_.quantized.empty() ? evaluate_checkpoint() : evaluate_quantized();
    } catch (const Interrupted&) {
      // What was reached stands in the table.
    }
    if (stop_) {
      if (options_.json == kStandardOutput) {
        print_json(results_);
      }
      fmt::print(stderr, "bitlog2: interrupted; the table holds what was reached\n");
      return kInterruptedExit;
    }
    write_results();
    return 0;
  }

 private:
  bool has_engine(const std::string& name) const {
    return std::find(options_.engines.begin(), options_.engines.end(), name) !=
           options_.engines.end();
  }

  /// A file made by `bitlog2 quantize`: nothing to calibrate, one row.
  void evaluate_quantized() {
    if (!options_.model.weights.empty() || !options_.model.config.empty()) {
      throw Error("--quantized holds its own weights and config; leave out --weights and --config");
    }
    const auto engine = IntegerEngine::open(options_.quantized);
    open_dataset_for(engine->config(), false);
    print_header_once();
    evaluate_integer(engine->info().settings, *engine, 0);
  }

  void evaluate_checkpoint() {
    const bool calibrates = has_engine("simulate") || has_engine("integer");
    const LoadedModel loaded = load_chosen_model(options_.model);
    open_dataset_for(loaded.model.config, calibrates);
    print_header_once();
    if (has_engine("fp32")) {
      evaluate_row({.engine = "fp32", .scheme = "", .evaluation = {}},
                   *make_fp32_engine(loaded.model));
    }
    for (std::size_t i = 0; calibrates && i < cases_.size() && !stop_; ++i) {
      evaluate_case(loaded.model, cases_[i]);
    }
  }

  void open_dataset_for(const ModelConfig& config, bool calibrates) {
    config_ = config;
    CalibrationOptions wanted = options_.calibration;
    wanted.calib_batchsize = calibrates ? wanted.calib_batchsize : 0;
    data_ = prepare_data(config, wanted, pool_);
    if (options_.limit > 0 && options_.limit < data_.validation.size()) {
      std::vector<std::size_t> first(options_.limit);
      std::iota(first.begin(), first.end(), std::size_t{0});
      data_.validation = data_.validation.subset(first);
    }
  }

  /// Calibrates once and runs every engine that was asked for.
  void evaluate_case(const Model& model, const QuantizationSettings& settings) {
    const auto start = std::chrono::steady_clock::now();
    const Calibration calibration =
        calibrate_with_progress(model, settings, data_.calibration, pool_, stop_);
    const double seconds = seconds_since(start);
    if (!options_.dump_quantizers.empty()) {
      dumped_[settings.name()] = {
          {"after_initial_calibration",
           ordered_json::parse(quantizers_to_json(calibration.after_initial_calibration))},
          {"final", ordered_json::parse(quantizers_to_json(calibration.quantized.quantizers))}};
    }
    if (has_engine("simulate")) {
      evaluate_row(quantized_row("simulate", settings, seconds),
                   *make_simulated_engine(calibration.quantized));
    }
    if (has_engine("integer") && !stop_) {
      const auto engine = IntegerEngine::from_bytes(lower(calibration.quantized, {}), config_.name);
      evaluate_integer(settings, *engine, seconds);
    }
  }

  void evaluate_integer(const QuantizationSettings& settings, const IntegerEngine& engine,
                        double calibration_seconds) {
    evaluate_row(quantized_row("integer", settings, calibration_seconds), engine);
    if (engine.saturations() > 0) {
      fmt::print(stderr, "{}: {} values of the residual stream were cut off\n", settings.name(),
                 engine.saturations());
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
    return options_.json != kStandardOutput && options_.dump_quantizers != kStandardOutput;
  }

  void print_header_once() const {
    if (prints_table()) {
      print_header();
    }
  }

  void evaluate_row(Row row, const Engine& engine) {
    const std::string what = row.scheme.empty() ? row.engine : row.scheme;
    row.evaluation = evaluate_with_progress(what, engine, data_.validation,
                                            {.batch_size = options_.val_batchsize,
                                             .threads = pool_.size(),
                                             .strict = options_.strict,
                                             .stop = &stop_,
                                             .report = {}});
    if (prints_table()) {
      print_row(row);
    }
    results_.push_back(to_json(config_.name, row));
  }

  void write_results() const {
    write_json(options_.json, results_);
    if (!options_.dump_quantizers.empty()) {
      const ordered_json document = {{"config", ordered_json::parse(config_to_json(config_))},
                                     {"cases", dumped_}};
      write_json(options_.dump_quantizers, document);
    }
  }

  const EvalOptions& options_;
  const std::atomic<bool>& stop_;
  ThreadPool pool_;
  std::vector<QuantizationSettings> cases_;
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
  command->add_option("--w-bits", options->w_bits, "Bits of weights, 2 to 8; several: 4,6")
      ->delimiter(',')
      ->capture_default_str();
  command->add_option("--a-bits", options->a_bits, "Bits of activations, 2 to 8; several: 4,6")
      ->delimiter(',')
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
      ->check(CLI::Range(1, 65536))
      ->capture_default_str();
  command->add_option("--limit", options->limit, "Evaluate the first N images only")
      ->check(CLI::NonNegativeNumber);
  command->add_flag("--strict", options->strict, "Stop at an image that cannot be read");
  command->add_option("--json", options->json, "Write the table as JSON ('-': to stdout instead)");
  command->add_option("--dump-quantizers", options->dump_quantizers,
                      "Write every scale and zero point as JSON ('-': to stdout, without the "
                      "table)");
  command->callback([options, &run] { run = [options] { return EvalRun(*options).run(); }; });
}

}  // namespace bitlog2::cli
