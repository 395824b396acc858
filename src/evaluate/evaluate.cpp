// The evaluation loop.
#include "bitlog2/evaluate.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>

#include "base/elementary.h"
#include "base/stopwatch.h"
#include "bitlog2/error.h"

namespace bitlog2 {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::size_t kTop = 5;

/// The result for one image.
struct ImageResult {
  Accuracy accuracy;
  std::string skipped;  ///< why, if it could not be read
};

ImageResult run_image(const Engine& engine, const Dataset& dataset, std::size_t index,
                      bool strict) {
  ImageResult result;
  const int label = checked_label(dataset, index, engine.config().num_classes);
  RgbImage crop;
  try {
    crop = resize_and_crop(dataset.read(index), engine.config().preprocessing);
  } catch (const Error& error) {
    if (strict) {
      throw;
    }
    result.skipped = error.what();
    return result;
  }
  result.accuracy.count(engine.logits(std::span(&crop, 1)), label);
  return result;
}

}  // namespace

int checked_label(const Dataset& dataset, std::size_t index, std::size_t classes) {
  const int label = dataset.label(index);
  if (label < 0) {
    throw Error(fmt::format("{}: has no label; accuracy needs one", dataset.name(index)));
  }
  if (static_cast<std::size_t>(label) >= classes) {
    throw Error(fmt::format("{}: its label is {}, this model has classes 0 to {}",
                            dataset.name(index), label, classes - 1));
  }
  return label;
}

void Accuracy::count(std::span<const float> logits, int label) {
  const auto target = static_cast<std::size_t>(label);
  const float largest = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  std::size_t rank = 0;  // classes that beat the label's; the lower index wins a tie
  for (std::size_t i = 0; i < logits.size(); ++i) {
    sum += elementary::exp(static_cast<double>(logits[i] - largest));
    const bool beats = logits[i] > logits[target] || (logits[i] == logits[target] && i < target);
    rank += beats ? 1 : 0;
  }
  ++images;
  top1_correct += rank == 0 ? 1 : 0;
  top5_correct += rank < kTop ? 1 : 0;
  loss_sum += elementary::log(sum) - static_cast<double>(logits[target] - largest);
}

void Accuracy::add(const Accuracy& other) {
  images += other.images;
  top1_correct += other.top1_correct;
  top5_correct += other.top5_correct;
  loss_sum += other.loss_sum;
}

Evaluation evaluate(const Engine& engine, const Dataset& dataset, ThreadPool& pool,
                    const EvaluationOptions& options) {
  const std::size_t batch_size = std::max<std::size_t>(options.batch_size, 1);
  const Clock::time_point start = Clock::now();
  Evaluation evaluation;
  EvaluationProgress progress;
  progress.batches = (dataset.size() + batch_size - 1) / batch_size;
  const auto stop_requested = [&] { return options.stop != nullptr && options.stop->load(); };

  for (std::size_t first = 0; first < dataset.size() && !stop_requested(); first += batch_size) {
    const double started = seconds_since(start);
    // One image at a time: its activations stay in a core's caches, which is worth more than
    // fetching weights once for several.
    std::vector<ImageResult> results(std::min(batch_size, dataset.size() - first));
    pool.parallel_for(results.size(), 1, [&](std::size_t i, std::size_t) {
      if (!stop_requested()) {
        results[i] = run_image(engine, dataset, first + i, options.strict);
      }
    });
    progress.last = {};
    for (ImageResult& result : results) {
      progress.last.add(result.accuracy);
      if (!result.skipped.empty()) {
        evaluation.skipped.push_back(std::move(result.skipped));
      }
    }
    evaluation.accuracy.add(progress.last);
    progress.batch = first / batch_size;
    progress.batch_seconds = seconds_since(start) - started;
    progress.total = evaluation.accuracy;
    if (options.report) {
      options.report(progress);
    }
  }
  evaluation.stopped = stop_requested();
  evaluation.seconds = seconds_since(start);
  return evaluation;
}

}  // namespace bitlog2
