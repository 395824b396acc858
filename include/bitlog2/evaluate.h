// Accuracy of an engine over a dataset.
#pragma once

#include <atomic>
#include <cstddef>
#include <functional>
#include <limits>
#include <span>
#include <string>
#include <vector>

#include "bitlog2/dataset.h"
#include "bitlog2/engine.h"
#include "bitlog2/parallel.h"

#pragma GCC visibility push(default)
namespace bitlog2 {

struct Accuracy {
  std::size_t images = 0;
  std::size_t top1_correct = 0;
  std::size_t top5_correct = 0;
  double loss_sum = 0;  ///< sum of the images' cross entropies, natural logarithm

  /// Accuracy in percent, and the mean cross entropy; NaN where no image was counted.
  double top1() const { return percent(top1_correct); }
  double top5() const { return percent(top5_correct); }
  double loss() const { return per_image(loss_sum); }

  /// Counts one image; `label` is the index of one of `logits`.
  void count(std::span<const float> logits, int label);
  void add(const Accuracy& other);

 private:
  double percent(std::size_t correct) const {
    return per_image(100.0 * static_cast<double>(correct));
  }
  double per_image(double sum) const {
    return images == 0 ? std::numeric_limits<double>::quiet_NaN()
                       : sum / static_cast<double>(images);
  }
};

/// The label of an image. Throws Error naming the image if it has no label, or one that is not from
/// 0 to `classes` - 1.
int checked_label(const Dataset& dataset, std::size_t index, std::size_t classes);

/// What evaluate reports after every batch.
struct EvaluationProgress {
  std::size_t batch = 0;  ///< index of the batch that was finished last
  std::size_t batches = 0;
  double batch_seconds = 0;  ///< since the batch before it was finished
  Accuracy last;             ///< of this batch
  Accuracy total;            ///< of all batches so far
};

struct EvaluationOptions {
  std::size_t batch_size = 64;              ///< images between two reports
  bool strict = false;                      ///< an image that cannot be read is fatal, not skipped
  const std::atomic<bool>* stop = nullptr;  ///< checked often; true ends the evaluation early
  std::function<void(const EvaluationProgress&)> report;
};

struct Evaluation {
  Accuracy accuracy;
  std::vector<std::string> skipped;  ///< one message per image that could not be read
  double seconds = 0;                ///< reading images included
  bool stopped = false;              ///< ended early by options.stop
};

/// Runs `engine` over `dataset` on all threads of `pool`. Each thread decodes its own images and
/// runs the engine on them, so that decoding and inference overlap. Memory does not grow with the
/// dataset. Results do not depend on the number of threads. Throws Error naming the image if its
/// label is none of the model's classes, or if it cannot be read and options.strict is set.
Evaluation evaluate(const Engine& engine, const Dataset& dataset, ThreadPool& pool,
                    const EvaluationOptions& options);

}  // namespace bitlog2
#pragma GCC visibility pop
