// The evaluation loop.
#include "bitlog2/evaluate.h"

#include <algorithm>
#include <chrono>
#include <cmath>

#include "bitlog2/error.h"

namespace bitlog2 {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::size_t kImagesPerTask = 2;
constexpr std::size_t kTop = 5;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

/// What one task leaves behind.
struct TaskResult {
  Accuracy accuracy;
  std::vector<std::string> skipped;
};

TaskResult run_task(const Engine& engine, const Dataset& dataset, std::size_t begin,
                    std::size_t end, bool strict) {
  TaskResult result;
  std::vector<RgbImage> crops;
  std::vector<int> labels;
  for (std::size_t i = begin; i < end; ++i) {
    try {
      crops.push_back(resize_and_crop(dataset.read(i), engine.config().preprocessing));
      labels.push_back(dataset.label(i));
    } catch (const Error& error) {
      if (strict) {
        throw;
      }
      result.skipped.emplace_back(error.what());
    }
  }
  if (crops.empty()) {
    return result;
  }
  const std::vector<float> logits = engine.logits(crops);
  const std::size_t classes = engine.config().num_classes;
  for (std::size_t i = 0; i < crops.size(); ++i) {
    result.accuracy.count(std::span(logits).subspan(i * classes, classes), labels[i]);
  }
  return result;
}

}  // namespace

void Accuracy::count(std::span<const float> logits, int label) {
  const auto target = static_cast<std::size_t>(label);
  const float largest = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  std::size_t rank = 0;  // classes that beat the label's; the lower index wins a tie
  for (std::size_t i = 0; i < logits.size(); ++i) {
    sum += std::exp(static_cast<double>(logits[i] - largest));
    const bool beats = logits[i] > logits[target] || (logits[i] == logits[target] && i < target);
    rank += beats ? 1 : 0;
  }
  ++images;
  top1_correct += rank == 0 ? 1 : 0;
  top5_correct += rank < kTop ? 1 : 0;
  loss_sum += std::log(sum) - static_cast<double>(logits[target] - largest);
}

void Accuracy::add(const Accuracy& other) {
  images += other.images;
  top1_correct += other.top1_correct;
  top5_correct += other.top5_correct;
  loss_sum += other.loss_sum;
}

Evaluation evaluate(const Engine& engine, const Dataset& dataset,
                    const EvaluationOptions& options) {
  const std::size_t batch_size = std::max<std::size_t>(options.batch_size, 1);
  const Clock::time_point start = Clock::now();
  ThreadPool pool(options.threads);
  Evaluation evaluation;
  EvaluationProgress progress;
  progress.batches = (dataset.size() + batch_size - 1) / batch_size;
  const auto stop_requested = [&] { return options.stop != nullptr && options.stop->load(); };

  for (std::size_t first = 0; first < dataset.size() && !stop_requested(); first += batch_size) {
    const std::size_t images = std::min(batch_size, dataset.size() - first);
    const double started = seconds_since(start);
    std::vector<TaskResult> results((images + kImagesPerTask - 1) / kImagesPerTask);
    pool.parallel_for(images, kImagesPerTask, [&](std::size_t begin, std::size_t end) {
      if (!stop_requested()) {
        results[begin / kImagesPerTask] =
            run_task(engine, dataset, first + begin, first + end, options.strict);
      }
    });
    progress.last = {};
    for (TaskResult& result : results) {
      progress.last.add(result.accuracy);
      std::move(result.skipped.begin(), result.skipped.end(),
                std::back_inserter(evaluation.skipped));
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
