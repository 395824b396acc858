#include "cli/eval_probes.h"

#include <fmt/format.h>

#include <chrono>
#include <functional>
#include <optional>
#include <utility>

#include "bitlog2/error.h"
#include "bitlog2/probe.h"
#include "cli/console.h"
#include "cli/job.h"
#include "cli/progress.h"

namespace bitlog2::cli {
namespace {

class Stopwatch {
 public:
  double seconds() const {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
  }

 private:
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

/// A probe that has learned, and what it came to so far.
struct Running {
  std::function<Accuracy(const Embeddings&)> measure;
  Probed probed;

  void add(const Embeddings& queries) {
    const Stopwatch watch;
    probed.evaluation.accuracy.add(measure(queries));
    probed.evaluation.seconds += watch.seconds();
  }
};

/// One encoder's evaluation.
class Probes {
 public:
  Probes(const std::string& what, const Engine& encoder, const LabelledSplits& splits,
         const EvalOptions& options, ThreadPool& pool, const std::atomic<bool>& stop)
      : what_(what),
        encoder_(encoder),
        splits_(splits),
        options_(options),
        pool_(pool),
        stop_(stop) {}

  std::vector<Probed> run() {
    const Stopwatch watch;
    learn();
    double own = 0;  // of the probes, not of embedding
    for (const Running& probe : running_) {
      own += probe.probed.evaluation.seconds;
    }
    EmbeddedImages tested;
    if (!stop_) {
      tested = embed(splits_.validation, "embedding val/", [&](const Embeddings& batch) {
        for (Running& probe : running_) {
          const double before = probe.probed.evaluation.seconds;
          probe.add(batch);
          own += probe.probed.evaluation.seconds - before;
        }
      });
    }
    std::vector<Probed> results;
    for (Running& probe : running_) {
      Evaluation& evaluation = probe.probed.evaluation;
      evaluation.stopped = stop_;
      evaluation.skipped = tested.skipped;
      evaluation.seconds += watch.seconds() - own;
      results.push_back(std::move(probe.probed));
    }
    tell_skipped(results.front().evaluation);
    return results;
  }

 private:
  EmbeddedImages embed(const Dataset& images, const std::string& work,
                       const std::function<void(const Embeddings&)>& take) {
    Progress progress(fmt::format("{}: {}", what_, work));
    return for_each_embedding(
        encoder_, images, pool_,
        {.batch_size = options_.val_batchsize,
         .strict = options_.calibration.strict,
         .stop = &stop_,
         .report = [&](std::size_t done) { progress.show(done, images.size()); }},
        take);
  }

  void embed_training() {
    training_.size = output_size(encoder_.config());
    training_.values.reserve(splits_.training.size() * training_.size);
    const EmbeddedImages images =
        embed(splits_.training, "embedding train/", [&](const Embeddings& batch) {
          training_.values.insert(training_.values.end(), batch.values.begin(), batch.values.end());
          training_.labels.insert(training_.labels.end(), batch.labels.begin(), batch.labels.end());
        });
    for (const std::string& message : images.skipped) {
      tell("skipped: " + message);
    }
    if (training_.count() == 0 && !stop_) {
      throw Error(fmt::format("none of the {} training images could be read; nothing was evaluated",
                              images.skipped.size()));
    }
  }

  void learn() {
    embed_training();
    if (options_.neighbours > 0) {
      const Stopwatch watch;
      neighbours_.emplace(training_, splits_.classes, options_.neighbours);
      add(
          {.name = fmt::format("knn {}", options_.neighbours),
           .neighbours = options_.neighbours,
           .training_images = training_.count()},
          [&](const Embeddings& queries) { return neighbours_->accuracy(queries, pool_); }, watch);
    }
    if (options_.linear_probe) {
      const Stopwatch watch;
      fit_linear();
      add(
          {.name = "linear", .penalty = linear_.penalty, .training_images = training_.count()},
          [&](const Embeddings& queries) { return linear_probe_accuracy(linear_, queries, pool_); },
          watch);
    }
  }

  void fit_linear() {
    if (stop_) {
      return;
    }
    const Progress progress(fmt::format("{}: fitting a linear probe", what_));
    linear_ = fit_linear_probe(training_, splits_.classes, pool_, {.stop = &stop_});
    if (!linear_.converged && !stop_) {
      tell(fmt::format("note: {}: the linear probe is near its best, not at it", what_));
    }
  }

  void add(ProbeInfo info, std::function<Accuracy(const Embeddings&)> measure,
           const Stopwatch& watch) {
    running_.push_back({std::move(measure), {std::move(info), {}}});
    running_.back().probed.evaluation.seconds = watch.seconds();
  }

  const std::string& what_;
  const Engine& encoder_;
  const LabelledSplits& splits_;
  const EvalOptions& options_;
  ThreadPool& pool_;
  const std::atomic<bool>& stop_;
  Embeddings training_;
  std::optional<NearestNeighbours> neighbours_;
  LinearProbe linear_;
  std::vector<Running> running_;
};

}  // namespace

void check_neighbours(std::size_t neighbours, const LabelledSplits& splits) {
  if (neighbours > splits.training.size()) {
    throw Error(fmt::format("--knn {}: there are {} training images; give at most as many",
                            neighbours, splits.training.size()));
  }
}

std::vector<Probed> evaluate_probes(const std::string& what, const Engine& encoder,
                                    const LabelledSplits& splits, const EvalOptions& options,
                                    ThreadPool& pool, const std::atomic<bool>& stop) {
  return Probes(what, encoder, splits, options, pool, stop).run();
}

}  // namespace bitlog2::cli
