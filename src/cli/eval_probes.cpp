#include "cli/eval_probes.h"

#include <fmt/format.h>

#include <optional>
#include <utility>

#include "cli/console.h"
#include "cli/job.h"
#include "cli/progress.h"

namespace bitlog2::cli {
namespace {

/// One line on the terminal for the training images, then one for the others.
class ProbeLines {
 public:
  explicit ProbeLines(const std::string& what) : what_(what) {}

  void show(const ProbeProgress& reached) {
    if (!line_ || reached.training != training_) {
      training_ = reached.training;
      line_.emplace(fmt::format("{}: embedding {}", what_, training_ ? "train/" : "val/"));
    }
    line_->show(reached.done, reached.total);
  }

 private:
  const std::string& what_;
  bool training_ = true;
  std::optional<Progress> line_;
};

ProbeInfo info_of(const ProbeResult& probe, std::size_t training_images) {
  return {.name = probe.neighbours > 0 ? fmt::format("knn {}", probe.neighbours) : "linear",
          .neighbours = probe.neighbours,
          .penalty = probe.penalty,
          .training_images = training_images};
}

}  // namespace

ProbeRequest probe_request(const EvalOptions& options) {
  return {.neighbours = options.neighbours, .linear = options.linear_probe};
}

std::vector<Probed> evaluate_probes(const std::string& what, const Engine& encoder,
                                    const LabelledSplits& splits, const EvalOptions& options,
                                    ThreadPool& pool, const std::atomic<bool>& stop) {
  std::optional<ProbeLines> lines(what);
  ProbeResults results =
      measure_probes(encoder, splits, probe_request(options), pool,
                     {.batch_size = options.val_batchsize,
                      .strict = options.calibration.strict,
                      .stop = &stop,
                      .report = [&](const ProbeProgress& reached) { lines->show(reached); }});
  lines.reset();
  for (const std::string& message : results.skipped) {
    tell("skipped: " + message);
  }
  std::vector<Probed> probed;
  for (ProbeResult& probe : results.probes) {
    if (!probe.converged && !stop) {
      tell(fmt::format("note: {}: the linear probe is near its best, not at it", what));
    }
    probed.push_back({info_of(probe, results.training_images), std::move(probe.evaluation)});
  }
  tell_skipped(probed.front().evaluation);
  return probed;
}

}  // namespace bitlog2::cli
