// `bitlog2 bench`: how fast each engine runs a model, by instruction set and threads, and where
// the integer engine's time goes.
#include <fmt/format.h>
#include <sys/resource.h>

#include <CLI/App.hpp>
#include <algorithm>
#include <atomic>
#include <chrono>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <random>

#include "base/stopwatch.h"
#include "bitlog2/calibrate.h"
#include "bitlog2/error.h"
#include "bitlog2/files.h"
#include "bitlog2/integer.h"
#include "cli/commands.h"
#include "cli/console.h"
#include "cli/costs.h"
#include "cli/interrupt.h"
#include "cli/job.h"
#include "cli/options.h"

namespace bitlog2::cli {
namespace {

using nlohmann::ordered_json;
using Clock = std::chrono::steady_clock;

constexpr std::size_t kCalibrationImages = 4;  // speed does not depend on them

struct BenchOptions {
  ModelSource model;
  std::string quantized;
  SchemeOptions scheme;
  std::vector<std::string> engines = {"integer"};
  std::vector<std::string> isas;
  std::vector<std::size_t> threads;
  double seconds = 2;
  bool profile = false;
  Output json;
};

/// Random pixels: the time of a network does not depend on its input.
std::vector<RgbImage> random_crops(std::size_t side, std::size_t count) {
  std::mt19937 random(1);
  std::vector<RgbImage> crops(count, {static_cast<int>(side), static_cast<int>(side), {}});
  for (RgbImage& crop : crops) {
    crop.pixels.resize(3 * side * side);
    for (std::uint8_t& pixel : crop.pixels) {
      pixel = static_cast<std::uint8_t>(random() & 255U);
    }
  }
  return crops;
}

using Stop = std::atomic<bool>;

/// Times of single images, seconds.
struct Latency {
  double best = 0;
  double median = 0;
  double p95 = 0;
};

/// Ends early, with fewer times, when `stop` is set; so do the functions below.
template <class RunOne>
Latency measure_latency(double seconds, const Stop& stop, RunOne run_one) {
  constexpr std::size_t kLeast = 5;
  run_one();  // not counted: pages and caches
  std::vector<double> times;
  const Clock::time_point start = Clock::now();
  do {
    const Clock::time_point begin = Clock::now();
    run_one();
    times.push_back(seconds_since(begin));
  } while (!stop && (times.size() < kLeast || seconds_since(start) < seconds));
  std::sort(times.begin(), times.end());
  return {times.front(), times[times.size() / 2], times[times.size() * 95 / 100]};
}

/// Images in a second, each thread on images of its own, the best of three tries.
template <class RunOne>
double measure_throughput(double seconds, double each, ThreadPool& pool, const Stop& stop,
                          RunOne run_one) {
  constexpr int kTries = 3;
  const double wanted = seconds / kTries / each;
  const std::size_t images =
      pool.size() * std::max<std::size_t>(2, static_cast<std::size_t>(wanted));
  double best = 0;
  for (int i = 0; i < kTries; ++i) {
    const Clock::time_point start = Clock::now();
    pool.parallel_for(images, 1, [&](std::size_t, std::size_t) {
      if (!stop) {
        run_one();
      }
    });
    best = std::max(best, static_cast<double>(images) / seconds_since(start));
  }
  return best;
}

std::size_t peak_memory_bytes() {
  rusage usage = {};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<std::size_t>(usage.ru_maxrss) * 1024;
}

/// One line of the table.
struct BenchRow {
  std::string engine;
  std::string isa;  ///< of float engines: that of their matrix products
  std::size_t threads = 1;
  Latency latency;
  double images_per_second = 0;
  double multiply_adds = 0;     ///< of an image
  double peak_of_a_thread = 0;  ///< multiply-adds per second in registers; 0: unknown

  double rate() const { return images_per_second * multiply_adds; }
  double share() const {
    return peak_of_a_thread > 0 ? rate() / (peak_of_a_thread * static_cast<double>(threads)) : 0;
  }
};

void print_columns() {
  print(fmt::format("{:<9} {:<12} {:>7} {:>9} {:>9} {:>9} {:>9} {:>9} {:>8}\n", "engine", "isa",
                    "threads", "best ms", "p50 ms", "p95 ms", "images/s", "GMAC/s", "ceiling"));
  flush_output();
}

void print_row(const BenchRow& row) {
  print(fmt::format("{:<9} {:<12} {:>7} {:>9.2f} {:>9.2f} {:>9.2f} {:>9.1f} {:>9} {:>8}\n",
                    row.engine, row.isa, row.threads, 1e3 * row.latency.best,
                    1e3 * row.latency.median, 1e3 * row.latency.p95, row.images_per_second,
                    row.rate() > 0 ? fmt::format("{:.1f}", row.rate() / 1e9) : "-",
                    row.share() > 0 ? fmt::format("{:.0f} %", 100 * row.share()) : "-"));
  flush_output();
}

ordered_json to_json(const std::string& model, const BenchRow& row) {
  return {{"model", model},
          {"engine", row.engine},
          {"isa", row.isa},
          {"threads", row.threads},
          {"latency_best_seconds", row.latency.best},
          {"latency_p50_seconds", row.latency.median},
          {"latency_p95_seconds", row.latency.p95},
          {"images_per_second", row.images_per_second},
          {"multiply_adds", row.multiply_adds},
          {"multiply_adds_per_second", row.rate()},
          {"ceiling_per_thread", row.peak_of_a_thread},
          {"peak_memory_bytes", peak_memory_bytes()}};
}

/// Names of instruction sets; the empty one is the machine's best.
std::vector<std::string> isas_to_measure(const BenchOptions& options) {
  if (std::ranges::find(options.isas, "all") != options.isas.end()) {
    return available_isas();
  }
  return options.isas.empty() ? std::vector<std::string>{""} : options.isas;
}

/// One run of `bitlog2 bench`.
class BenchRun {
 public:
  explicit BenchRun(const BenchOptions& options)
      : options_(options), isas_(isas_to_measure(options)) {
    check_outputs({options_.json}, options_.quantized.empty()
                                       ? files_of(options_.model)
                                       : std::vector<std::filesystem::path>{options_.quantized});
    threads_ =
        options_.threads.empty() ? std::vector<std::size_t>{1, thread_count(0)} : options_.threads;
    threads_.erase(std::unique(threads_.begin(), threads_.end()), threads_.end());
  }

  int run() {
    try {
      measure();
    } catch (const Interrupted&) {
      tell("bitlog2: interrupted; the results hold what was reached");
      results_.push_back({{"interrupted", true}});
    }
    write_json(options_.json, results_);
    return stop_ ? interrupted_exit() : 0;
  }

 private:
  void measure() {
    if (options_.quantized.empty()) {
      load_checkpoint();
    } else {
      const MappedFile file(options_.quantized);
      quantized_.assign(file.bytes().begin(), file.bytes().end());
      config_ = IntegerEngine::from_bytes(quantized_, options_.quantized)->config();
    }
    crops_ = random_crops(config_.img_size, 1);
    if (!to_stdout()) {
      print_columns();
    }
    for (const std::string& engine : options_.engines) {
      engine == "integer" ? bench_integer() : bench_float(engine);
    }
    if (options_.profile) {
      profile();
    }
    if (!options_.quantized.empty()) {
      report_opening();
    }
  }

  bool to_stdout() const { return options_.json.to_stdout(); }

  bool wants(const std::string& engine) const {
    return std::find(options_.engines.begin(), options_.engines.end(), engine) !=
           options_.engines.end();
  }

  void load_checkpoint() {
    LoadedModel loaded = load_and_tell(options_.model);
    config_ = loaded.model.config;
    model_ = std::move(loaded.model);
    if (wants("simulate") || wants("integer") || options_.profile) {
      ThreadPool pool(thread_count(0));
      const auto crops = random_crops(config_.img_size, kCalibrationImages);
      calibrated_ = calibrate(model_, options_.scheme.settings(), crops, pool).quantized;
      quantized_ = lower(calibrated_, {});
    }
  }

  std::unique_ptr<IntegerEngine> integer_engine(const std::string& isa) const {
    return IntegerEngine::from_bytes(quantized_, config_.name, isa);
  }

  void bench_integer() {
    for (const std::string& isa : isas_) {
      const auto engine = integer_engine(isa);
      const double peak = peak_multiply_adds_per_second(engine->isa());
      double multiply_adds = 0;
      for (const OperationCost& cost : engine->profile(crops_[0])) {
        multiply_adds += static_cast<double>(cost.multiply_adds);
      }
      multiply_adds_ = multiply_adds;
      for (const std::size_t threads : threads_) {
        ThreadPool pool(threads);
        const auto together = [&] { engine->integer_logits(crops_[0], pool); };
        const auto alone = [&] { engine->integer_logits(crops_[0]); };
        add_row({"integer", engine->isa(), threads, {}, 0, multiply_adds, peak}, pool, together,
                alone);
      }
    }
  }

  void bench_float(const std::string& name) {
    const auto engine =
        name == "fp32" ? make_fp32_engine(model_) : make_simulated_engine(calibrated_);
    for (const std::size_t threads : threads_) {
      ThreadPool pool(threads);
      const auto together = [&] { static_cast<void>(engine->logits(crops_, pool)); };
      const auto alone = [&] { static_cast<void>(engine->logits(crops_)); };
      add_row({name, float_isa(), threads, {}, 0, multiply_adds_, 0}, pool, together, alone);
    }
  }

  void stop_if_asked() const {
    if (stop_) {
      throw Interrupted();
    }
  }

  template <class Together, class Alone>
  void add_row(BenchRow row, ThreadPool& pool, Together together, Alone alone) {
    row.latency = measure_latency(options_.seconds, stop_, together);
    const double each = row.latency.median * static_cast<double>(row.threads);
    stop_if_asked();
    row.images_per_second = measure_throughput(options_.seconds, each, pool, stop_, alone);
    stop_if_asked();
    if (!to_stdout()) {
      print_row(row);
    }
    results_.push_back(to_json(config_.name, row));
  }

  /// How long it takes to open the file, and what memory running it takes.
  void report_opening() {
    const auto open = [&] { static_cast<void>(IntegerEngine::open(options_.quantized)); };
    const double seconds = measure_latency(options_.seconds / 4, stop_, open).best;
    stop_if_asked();
    const auto engine = IntegerEngine::open(options_.quantized);
    if (!to_stdout()) {
      print(
          fmt::format("\n{:.2f} MB, opened in {:.2f} ms; {:.2f} MB of working memory for an image, "
                      "{:.2f} MB of packed weights\n",
                      static_cast<double>(engine->file_bytes()) / 1e6, 1e3 * seconds,
                      static_cast<double>(engine->arena_bytes()) / 1e6,
                      static_cast<double>(engine->packed_bytes()) / 1e6));
    }
    results_.push_back({{"model", config_.name},
                        {"file_bytes", engine->file_bytes()},
                        {"opening_seconds", seconds},
                        {"arena_bytes", engine->arena_bytes()},
                        {"packed_bytes", engine->packed_bytes()}});
  }

  /// Operations by what they do, summed over blocks.
  void profile() {
    for (const std::string& isa : isas_) {
      const auto engine = integer_engine(isa);
      stop_if_asked();
      const double peak = peak_multiply_adds_per_second(engine->isa());
      std::vector<OperationCost> roles =
          costs_by_role(best_costs(*engine, crops_[0], options_.seconds, stop_));
      OperationCost linear = {"all linear layers", "", 0, 0};
      OperationCost all = {"everything", "", 0, 0};
      const auto add = [](OperationCost& total, const OperationCost& cost) {
        total.multiply_adds += cost.multiply_adds;
        total.seconds += cost.seconds;
      };
      for (const OperationCost& cost : roles) {
        add(all, cost);
        if (cost.kind == "linear" || cost.kind == "gated_linear" || cost.kind == "rotary_linear" ||
            cost.kind == "embed") {
          add(linear, cost);
        }
      }
      stop_if_asked();
      roles.push_back(linear);
      roles.push_back(all);
      print_profile(engine->isa(), roles, peak);
    }
  }

  void print_profile(const std::string& isa, const std::vector<OperationCost>& roles, double peak) {
    if (!to_stdout()) {
      print(fmt::format("\n{}, one thread, best time of every operation\n", isa));
      print(fmt::format("{:<24} {:<11} {:>9} {:>7} {:>9} {:>8}\n", "layer", "operation", "ms",
                        "share", "GMAC/s", "ceiling"));
    }
    for (const OperationCost& cost : roles) {
      const double rate = static_cast<double>(cost.multiply_adds) / cost.seconds;
      if (!to_stdout()) {
        print(fmt::format("{:<24} {:<11} {:>9.3f} {:>5.1f} % {:>9.1f} {:>8}\n", cost.layer,
                          cost.kind, 1e3 * cost.seconds, 100 * cost.seconds / roles.back().seconds,
                          rate / 1e9, rate > 0 ? fmt::format("{:.0f} %", 100 * rate / peak) : "-"));
      }
      results_.push_back({{"model", config_.name},
                          {"isa", isa},
                          {"layer", cost.layer},
                          {"operation", cost.kind},
                          {"seconds", cost.seconds},
                          {"multiply_adds", cost.multiply_adds},
                          {"ceiling_per_thread", peak}});
    }
  }

  const BenchOptions& options_;
  const Stop& stop_ = catch_interrupt();
  std::vector<std::size_t> threads_;
  std::vector<std::string> isas_;
  ModelConfig config_;
  Model model_;
  QuantizedModel calibrated_;
  std::vector<std::byte> quantized_;
  std::vector<RgbImage> crops_;
  double multiply_adds_ = 0;
  ordered_json results_ = ordered_json::array();
};

}  // namespace

void add_bench(CLI::App& app, std::function<int()>& run) {
  const auto options = std::make_shared<BenchOptions>();
  CLI::App* command =
      app.add_subcommand("bench", "Measure a model's speed: latency, throughput, profile");
  add_model_options(*command, options->model);
  command->add_option("--quantized", options->quantized,
                      "A file made by bitlog2 quantize, instead of a checkpoint");
  add_scheme_options(*command, options->scheme);
  command->add_option("--engine", options->engines, "One or several of integer, fp32, simulate")
      ->delimiter(',')
      ->check(CLI::IsMember({"integer", "fp32", "simulate"}))
      ->capture_default_str();
  command
      ->add_option("--isa", options->isas,
                   "Instruction sets of the integer engine, several or 'all' (default: the "
                   "machine's best)")
      ->delimiter(',');
  command->add_option("--threads", options->threads, "Numbers of threads (default: 1 and all)")
      ->delimiter(',')
      ->check(whole_number(1, 1024));
  command->add_option("--seconds", options->seconds, "Time for each measurement")
      ->check(number_between(0.01, 3600.0))
      ->capture_default_str();
  command->add_flag("--profile", options->profile, "Show where the integer engine's time goes");
  add_json_option(*command, options->json, "Write the table");
  command->callback([options, command, &run] {
    run = [options, command] {
      if (!options->quantized.empty()) {
        refuse_what_the_file_decides(*command, options->quantized);
      }
      refuse_what_no_engine_heeds(*command);
      return BenchRun(*options).run();
    };
  });
}

}  // namespace bitlog2::cli
