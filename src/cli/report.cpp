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
#include "cli/base64.h"
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
constexpr std::size_t kChangedShown = 12;   // answers that changed, with pictures
constexpr int kThumbnailSide = 112;         // pixels
constexpr std::size_t kImagesAtATime = 64;  // between two looks at the progress
constexpr double kSecondsToTime = 0.5;      // each engine
constexpr std::size_t kBinsAnOctave = 4;    // of probabilities
constexpr std::size_t kWeightBins = 61;

/// A picture for the page's script: small, as bytes.
ordered_json thumbnail(const RgbImage& crop) {
  const int side = std::min(crop.width, kThumbnailSide);
  Preprocessing preparation;
  preparation.resize = side;
  preparation.crop = side;
  const RgbImage small = resize_and_crop(crop, preparation);
  return {{"side", side}, {"rgb", base64(std::as_bytes(std::span(small.pixels)))}};
}

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

/// Of values within [first, last].
ordered_json histogram(std::span<const float> values, double first, double last, std::size_t bins) {
  std::vector<std::size_t> counts(bins);
  for (const float value : values) {
    const double at = (value - first) / (last - first) * static_cast<double>(bins);
    const auto bin = static_cast<std::size_t>(std::max(at, 0.0));
    ++counts[std::min(bin, bins - 1)];
  }
  return {{"first", first}, {"last", last}, {"counts", counts}};
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
    ordered_json document = {{"model", config().name},
                             {"settings", settings_.name()},
                             {"scheme", settings_.scheme.name},
                             {"recipe", options_.scheme.recipe.name},
                             {"calibration_images", data.calibration.crops.size()},
                             {"engines", engines()},
                             {"attention", attention()},
                             {"layers", layers()},
                             {"costs", costs()},
                             {"quantizers", quantizers()},
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
          if (changed_.size() < kChangedShown) {
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
    const Model exact = in_recipe_coordinates(loaded_.model, settings_.recipe);
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

  /// The first token's row of one attention map, and what every scheme makes of it.
  ordered_json attention() {
    const RgbImage& crop = crops_.front();
    const std::optional<AttentionRow> row = integer_->attention_row(crop, kShownAttention);
    if (!row) {
      return nullptr;  // windows
    }
    const std::span all_heads(row->exact);
    const std::span probabilities = all_heads.first(row->tokens);
    const double lowest = -static_cast<double>(kOctaves);
    std::vector<float> logarithms;
    for (const float probability : probabilities) {
      logarithms.push_back(std::log2(std::max(probability, std::exp2f(-float{kOctaves}))));
    }
    ordered_json schemes = ordered_json::array();
    for (const AttentionScheme& scheme : kAttentionSchemes) {
      std::vector<float> weights(probabilities.begin(), probabilities.end());
      const AttentionQuantizer quantizer =
          calibrate_attention(scheme, settings_.a_bits, all_heads, pool_);
      fake_quantize(quantizer, weights);
      double signal = 0;
      double noise = 0;
      for (std::size_t i = 0; i < weights.size(); ++i) {
        signal += std::pow(double{probabilities[i]}, 2);
        noise += std::pow(double{weights[i]} - double{probabilities[i]}, 2);
      }
      schemes.push_back({{"name", scheme.name},
                         {"levels", levels_of(quantizer)},
                         {"weights", weights},
                         {"decibels", noise > 0 ? 10 * std::log10(signal / noise) : 200.0}});
    }
    return {{"block", std::min(kShownAttention, row->attentions - 1) + 1},
            {"blocks", row->attentions},
            {"head", 1},
            {"heads", row->heads},
            {"picture", thumbnail(crop)},
            {"probabilities", std::vector<float>(probabilities.begin(), probabilities.end())},
            {"log2", histogram(logarithms, lowest, 0, kOctaves * kBinsAnOctave)},
            {"schemes", schemes}};
  }

  /// All values that codes may stand for, ascending.
  static std::vector<float> levels_of(const AttentionQuantizer& quantizer) {
    constexpr int kSteps = 1 << 14;
    std::vector<float> values(kSteps + 1);
    for (int i = 0; i <= kSteps; ++i) {
      values[static_cast<std::size_t>(i)] =
          std::exp2f(-float{kOctaves} * static_cast<float>(i) / kSteps);
    }
    fake_quantize(quantizer, values);
    std::ranges::sort(values);
    values.erase(std::unique(values.begin(), values.end()), values.end());
    return values;
  }

  /// The parameters of each, and of weights how they are distributed.
  ordered_json quantizers() {
    ordered_json all = ordered_json::parse(quantizers_to_json(quantized_->quantizers));
    Model model = quantized_->model;
    for_each_linear(model, [&](Linear& layer) {
      const std::string name = published_name({layer.name, Slot::weight});
      const auto found = all.find(name);
      if (found == all.end() || layer.weight.empty()) {
        return;
      }
      const auto [low, high] = std::ranges::minmax(layer.weight);
      const double reach = std::max({std::abs(double{low}), std::abs(double{high}), 1e-30});
      (*found)["weights"] = histogram(layer.weight, -reach, reach, kWeightBins);
    });
    return all;
  }

  static constexpr std::size_t kShownAttention = 5;
  static constexpr std::size_t kOctaves = 16;

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
