// `bitlog2 predict`: the classes of images, by a quantized model or a checkpoint in float32.
#include <fmt/format.h>

#include <CLI/App.hpp>
#include <algorithm>
#include <cmath>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <numeric>

#include "base/elementary.h"
#include "bitlog2/error.h"
#include "bitlog2/integer.h"
#include "cli/commands.h"
#include "cli/console.h"
#include "cli/images.h"
#include "cli/interrupt.h"
#include "cli/job.h"
#include "cli/options.h"

namespace bitlog2::cli {
namespace {

using nlohmann::ordered_json;

struct PredictOptions {
  std::string quantized;
  ModelSource model;  // where there is no quantized file
  std::vector<std::string> images;
  std::size_t top = 5;
  std::size_t threads = 0;
  Output json;
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
  if (options.quantized.empty()) {
    LoadedModel loaded = load_and_tell(options.model);
    require_classes(loaded.model.config, loaded.model.config.name);
    return {make_fp32_engine(std::move(loaded.model)), std::move(loaded.class_names)};
  }
  auto engine = IntegerEngine::open(options.quantized);
  require_classes(engine->config(), options.quantized);
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
    sum += elementary::exp(static_cast<double>(logit - logits[order[0]]));
  }
  std::vector<Prediction> predictions;
  for (std::size_t i = 0; i < std::min(count, order.size()); ++i) {
    const std::size_t index = order[i];
    predictions.push_back(
        {index, index < names.size() ? names[index] : "",
         elementary::exp(static_cast<double>(logits[index] - logits[order[0]])) / sum});
  }
  return predictions;
}

/// What became of one image.
struct Answer {
  std::string image;
  std::vector<Prediction> predictions;
  std::string error;  ///< why there are none
};

std::string to_text(const Answer& answer) {
  std::string text = printable(answer.image) + "\n";
  for (const Prediction& prediction : answer.predictions) {
    text += fmt::format("  {:5.1f}%  {}\n", 100 * prediction.probability,
                        prediction.name.empty() ? fmt::format("class {}", prediction.index)
                                                : printable(prediction.name));
  }
  return text;
}

ordered_json to_json(const Answer& answer) {
  ordered_json object = {{"image", answer.image}};
  if (!answer.error.empty()) {
    object["error"] = answer.error;
    return object;
  }
  object["predictions"] = ordered_json::array();
  for (const Prediction& prediction : answer.predictions) {
    object["predictions"].push_back({{"index", prediction.index},
                                     {"class", prediction.name},
                                     {"probability", prediction.probability}});
  }
  return object;
}

Answer answer_image(const Predictor& predictor, const std::string& path, std::size_t top,
                    const std::atomic<bool>& stop) {
  Answer answer = {path, {}, ""};
  try {
    const RgbImage crop = read_crop(path, predictor.engine->config().preprocessing, stop);
    answer.predictions =
        best_classes(predictor.engine->logits(std::span(&crop, 1)), predictor.class_names, top);
  } catch (const Error& error) {
    answer.error = error.what();
  }
  return answer;
}

int predict(const PredictOptions& options) {
  const std::atomic<bool>& stop = catch_interrupt();
  check_model_choice("predict", options.quantized, options.model);
  check_outputs({options.json}, files_read(options.images, options.quantized, options.model));
  const Predictor predictor = load_predictor(options);
  const std::vector<std::string> paths = images_named(options.images);
  ThreadPool pool(thread_count(options.threads));
  ordered_json results = ordered_json::array();
  bool all_read = true;
  // A few images for each thread at a time, so that answers come in order and soon.
  std::vector<Answer> answers(4 * pool.size());
  for (std::size_t first = 0; first < paths.size() && !stop; first += answers.size()) {
    answers.resize(std::min(answers.size(), paths.size() - first));
    pool.parallel_for(answers.size(), 1, [&](std::size_t i, std::size_t) {
      answers[i] = answer_image(predictor, paths[first + i], options.top, stop);
    });
    for (const Answer& answer : answers) {
      if (!answer.error.empty() && stop) {
        break;  // perhaps it was the signal that ended the reading
      }
      if (!answer.error.empty()) {
        tell("bitlog2: error: " + answer.error);
        all_read = false;
      } else if (!options.json.to_stdout()) {
        print(to_text(answer));
      }
      results.push_back(to_json(answer));
    }
    flush_output();
  }
  tell_saturations(predictor.engine->config().name, *predictor.engine);
  const bool interrupted = results.size() < paths.size();
  if (interrupted) {
    tell(fmt::format("bitlog2: interrupted after {} of {} images", results.size(), paths.size()));
    results.push_back({{"interrupted", true}});
  }
  write_json(options.json, results);
  if (interrupted) {
    return interrupted_exit();
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
      ->check(whole_number(1, 1 << 20))
      ->capture_default_str();
  add_threads_option(*command, options->threads);
  add_json_option(*command, options->json, "Write the predictions");
  command->callback([options, &run] { run = [options] { return predict(*options); }; });
}

}  // namespace bitlog2::cli
