// `bitlog2 predict`: the classes of images, by a quantized model or a checkpoint in float32.
#include <fmt/format.h>

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <algorithm>
#include <cmath>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <numeric>

#include "bitlog2/dataset.h"
#include "bitlog2/error.h"
#include "bitlog2/integer.h"
#include "cli/commands.h"
#include "cli/job.h"
#include "cli/options.h"

namespace bitlog2::cli {
namespace {

using nlohmann::ordered_json;

struct PredictOptions {
  std::string quantized;
  ModelChoice model;  // where there is no quantized file
  std::vector<std::string> images;
  std::size_t top = 5;
  bool json = false;
};

struct Prediction {
  std::size_t index;
  std::string name;
  double probability;
};

struct Predictor {
  std::unique_ptr<Engine> engine;
  std::vector<std::string> class_names;
};

Predictor load_predictor(const PredictOptions& options) {
  const ModelChoice& model = options.model;
  const bool has_model = !(model.name + model.weights + model.config).empty();
  if (options.quantized.empty() != has_model) {
    throw Error(
        "predict takes either --quantized, a file made by bitlog2 quantize, or a checkpoint: "
        "--model, --weights or both");
  }
  if (has_model) {
    LoadedModel loaded = load_chosen_model(model);
    return {make_fp32_engine(std::move(loaded.model)), std::move(loaded.class_names)};
  }
  auto engine = IntegerEngine::open(options.quantized);
  std::vector<std::string> names = engine->info().class_names;
  return {std::move(engine), std::move(names)};
}

/// The `count` most probable classes, best first.
std::vector<Prediction> best_classes(std::span<const float> logits,
                                     const std::vector<std::string>& names, std::size_t count) {
  std::vector<std::size_t> order(logits.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return logits[a] > logits[b]; });
  double sum = 0;
  for (const float logit : logits) {
    sum += std::exp(static_cast<double>(logit - logits[order[0]]));
  }
  std::vector<Prediction> predictions;
  for (std::size_t i = 0; i < std::min(count, order.size()); ++i) {
    const std::size_t index = order[i];
    predictions.push_back({index, index < names.size() ? names[index] : "",
                           std::exp(static_cast<double>(logits[index] - logits[order[0]])) / sum});
  }
  return predictions;
}

std::vector<std::filesystem::path> expand(const std::vector<std::string>& arguments) {
  std::vector<std::filesystem::path> paths;
  for (const std::string& argument : arguments) {
    if (std::filesystem::is_directory(argument)) {
      std::vector<std::string> notes;
      const auto inside = list_images(argument, &notes);
      print_notes(notes);
      paths.insert(paths.end(), inside.begin(), inside.end());
    } else {
      paths.emplace_back(argument);
    }
  }
  return paths;
}

void print_text(const std::string& image, const std::vector<Prediction>& predictions) {
  fmt::print("{}\n", image);
  for (const Prediction& prediction : predictions) {
    fmt::print(
        "  {:5.1f}%  {}\n", 100 * prediction.probability,
        prediction.name.empty() ? fmt::format("class {}", prediction.index) : prediction.name);
  }
}

ordered_json to_json(const std::string& image, const std::vector<Prediction>& predictions) {
  ordered_json object = {{"image", image}, {"predictions", ordered_json::array()}};
  for (const Prediction& prediction : predictions) {
    object["predictions"].push_back({{"index", prediction.index},
                                     {"class", prediction.name},
                                     {"probability", prediction.probability}});
  }
  return object;
}

int predict(const PredictOptions& options) {
  const auto [engine, class_names] = load_predictor(options);
  const std::vector<std::filesystem::path> paths = expand(options.images);
  ordered_json results = ordered_json::array();
  bool all_read = true;
  for (const std::filesystem::path& path : paths) {
    try {
      const RgbImage crop = resize_and_crop(read_image(path), engine->config().preprocessing);
      const std::vector<float> logits = engine->logits(std::span(&crop, 1));
      const auto predictions = best_classes(logits, class_names, options.top);
      if (options.json) {
        results.push_back(to_json(path.string(), predictions));
      } else {
        print_text(path.string(), predictions);
      }
    } catch (const Error& error) {
      fmt::print(stderr, "bitlog2: error: {}\n", error.what());
      all_read = false;
    }
  }
  if (options.json) {
    fmt::print("{}\n", results.dump(1));
  }
  return all_read ? 0 : 1;
}

}  // namespace

void add_predict(CLI::App& app, std::function<int()>& run) {
  const auto options = std::make_shared<PredictOptions>();
  CLI::App* command =
      app.add_subcommand("predict", "Name what images show, by a quantized model or in float32");
  command->add_option("--quantized", options->quantized, "A file made by bitlog2 quantize");
  add_model_options(*command, options->model);
  command->add_option("images", options->images, "Images, or folders of them")->required();
  command->add_option("--top", options->top, "Classes per image")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  command->add_flag("--json", options->json, "Print JSON instead of text");
  command->callback([options, &run] { run = [options] { return predict(*options); }; });
}

}  // namespace bitlog2::cli
