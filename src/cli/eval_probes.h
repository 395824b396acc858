// Accuracy of an encoder, by probes on its embeddings.
#pragma once

#include <atomic>
#include <cstddef>
#include <string>
#include <vector>

#include "bitlog2/dataset.h"
#include "bitlog2/engine.h"
#include "bitlog2/parallel.h"
#include "bitlog2/probe.h"
#include "cli/eval_options.h"
#include "cli/eval_table.h"

namespace bitlog2::cli {

/// The probes that `options` ask for.
ProbeRequest probe_request(const EvalOptions& options);

/// The result of one probe.
struct Probed {
  ProbeInfo probe;
  Evaluation evaluation;
};

/// Runs the probes that `options` asks for, with progress. Images that cannot be read are named on
/// stderr. Throws Error if no training or no validation image was read.
std::vector<Probed> evaluate_probes(const std::string& what, const Engine& encoder,
                                    const LabelledSplits& splits, const EvalOptions& options,
                                    ThreadPool& pool, const std::atomic<bool>& stop);

}  // namespace bitlog2::cli
