// `bitlog2 predict`: the classes of images, by a quantized model or a checkpoint in float32.
#include <fmt/format.h>

#include <CLI/App.hpp>
#include <algorithm>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>

#include "bitlog2/error.h"
#include "bitlog2/integer.h"
#include "bitlog2/predictions.h"
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

/// The result for one image.
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
        break;  // the signal may have ended the reading
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
