// An encoder's evaluation by probes.
#include <fmt/format.h>

#include <chrono>
#include <functional>
#include <optional>
#include <utility>

#include "base/stopwatch.h"
#include "bitlog2/error.h"
#include "bitlog2/probe.h"

namespace bitlog2 {
namespace {

using Clock = std::chrono::steady_clock;

/// A fitted probe, and its results so far.
struct Running {
  std::function<Accuracy(const Embeddings&)> measure;
  ProbeResult result;

  void add(const Embeddings& queries) {
    const Clock::time_point start = Clock::now();
    result.evaluation.accuracy.add(measure(queries));
    result.evaluation.seconds += seconds_since(start);
  }
};

class Probes {
 public:
  Probes(const Engine& encoder, const LabelledSplits& splits, const ProbeRequest& request,
         ThreadPool& pool, const ProbingOptions& options)
      : encoder_(encoder), splits_(splits), request_(request), pool_(pool), options_(options) {}

  ProbeResults run() {
    const Clock::time_point start = Clock::now();
    ProbeResults results;
    results.skipped = embed_training();
    results.training_images = training_.count();
    learn();
    const EmbeddedImages tested = embed(splits_.validation, false, [&](const Embeddings& batch) {
      for (Running& probe : running_) {
        probe.add(batch);
      }
    });
    const double embedding = seconds_since(start) - own_seconds();
    for (Running& probe : running_) {
      Evaluation& evaluation = probe.result.evaluation;
      evaluation.stopped = stopped();
      evaluation.skipped = tested.skipped;
      evaluation.seconds += embedding;
      refuse_none(evaluation.accuracy.images, "", tested.skipped.size());
      results.probes.push_back(std::move(probe.result));
    }
    return results;
  }

 private:
  bool stopped() const { return options_.stop != nullptr && options_.stop->load(); }

  double own_seconds() const {
    double own = 0;
    for (const Running& probe : running_) {
      own += probe.result.evaluation.seconds;
    }
    return own;
  }

  void refuse_none(std::size_t read, const char* which, std::size_t skipped) const {
    if (read == 0 && !stopped()) {
      throw Error(fmt::format("none of the {} {}images could be read; nothing was evaluated",
                              skipped, which));
    }
  }

  EmbeddedImages embed(const Dataset& images, bool training,
                       const std::function<void(const Embeddings&)>& take) {
    const auto report = [&](std::size_t done) {
      if (options_.report) {
        options_.report({training, done, images.size()});
      }
    };
    return for_each_embedding(encoder_, images, pool_,
                              {.batch_size = options_.batch_size,
                               .strict = options_.strict,
                               .stop = options_.stop,
                               .report = report},
                              take);
  }

  std::vector<std::string> embed_training() {
    training_.size = output_size(encoder_.config());
    training_.values.reserve(splits_.training.size() * training_.size);
    EmbeddedImages images = embed(splits_.training, true, [&](const Embeddings& batch) {
      training_.values.insert(training_.values.end(), batch.values.begin(), batch.values.end());
      training_.labels.insert(training_.labels.end(), batch.labels.begin(), batch.labels.end());
    });
    refuse_none(training_.count(), "training ", images.skipped.size());
    return std::move(images.skipped);
  }

  void learn() {
    if (request_.neighbours > 0) {
      const Clock::time_point start = Clock::now();
      neighbours_.emplace(training_, splits_.classes, request_.neighbours);
      add({.neighbours = request_.neighbours, .evaluation = {}}, start,
          [&](const Embeddings& queries) { return neighbours_->accuracy(queries, pool_); });
    }
    if (request_.linear) {
      const Clock::time_point start = Clock::now();
      if (!stopped()) {
        linear_ = fit_linear_probe(training_, splits_.classes, pool_, {.stop = options_.stop});
      }
      add({.penalty = linear_.penalty, .converged = linear_.converged, .evaluation = {}}, start,
          [&](const Embeddings& queries) {
            return linear_probe_accuracy(linear_, queries, pool_);
          });
    }
  }

  void add(ProbeResult result, Clock::time_point start,
           std::function<Accuracy(const Embeddings&)> measure) {
    result.evaluation.seconds = seconds_since(start);
    running_.push_back({std::move(measure), std::move(result)});
  }

  const Engine& encoder_;
  const LabelledSplits& splits_;
  const ProbeRequest& request_;
  ThreadPool& pool_;
  const ProbingOptions& options_;
  Embeddings training_;
  std::optional<NearestNeighbours> neighbours_;
  LinearProbe linear_;
  std::vector<Running> running_;
};

}  // namespace

void check_probes(const ProbeRequest& request, const LabelledSplits& splits) {
  if (request.neighbours > splits.training.size()) {
    throw Error(
        fmt::format("{} nearest neighbours: there are {} training images; give at most as many",
                    request.neighbours, splits.training.size()));
  }
}

ProbeResults measure_probes(const Engine& encoder, const LabelledSplits& splits,
                            const ProbeRequest& request, ThreadPool& pool,
                            const ProbingOptions& options) {
  check_probes(request, splits);
  return Probes(encoder, splits, request, pool, options).run();
}

}  // namespace bitlog2
