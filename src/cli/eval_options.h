// The options of `bitlog2 eval`.
#pragma once

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <cstddef>
#include <string>
#include <vector>

#include "cli/job.h"
#include "cli/options.h"
#include "cli/output.h"

namespace bitlog2::cli {

struct EvalOptions {
  ModelSource model;
  std::string quantized;
  CalibrationOptions calibration;
  std::vector<int> w_bits = {4};
  std::vector<int> a_bits = {4};
  std::vector<std::string> schemes = {SchemeOptions().scheme};
  RecipeOptions recipe;
  std::vector<std::string> engines = {"simulate"};
  std::size_t val_batchsize = 64;
  SubsetOptions subset;
  std::string pool;            ///< empty: the model's own
  std::size_t neighbours = 0;  ///< 0: no --knn
  bool linear_probe = false;
  Output json;
  Output dump_quantizers;

  /// Whether embeddings are evaluated, not classes.
  bool probes() const { return neighbours > 0 || linear_probe; }
};

/// All options of the command.
void add_eval_options(CLI::App& command, EvalOptions& options);

/// Throws Error for options of `command` that do not go together.
void check_eval_options(const CLI::App& command, const EvalOptions& options);

/// Every quantized case that the options ask for: bit widths, then schemes.
std::vector<QuantizationSettings> quantized_cases(const EvalOptions& options);

}  // namespace bitlog2::cli
