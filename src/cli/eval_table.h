// The table of `bitlog2 eval`.
#pragma once

#include <cstddef>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "bitlog2/evaluate.h"

namespace bitlog2::cli {

/// The probe that found the classes of an encoder's images.
struct ProbeInfo {
  std::string name;                 ///< "knn 20" or "linear"; empty: the model has classes
  std::size_t neighbours = 0;       ///< of knn
  double penalty = 0;               ///< of a linear probe
  std::size_t training_images = 0;  ///< that were read
};

/// One line of the table.
struct EvalRow {
  std::string engine;
  std::string scheme;  ///< empty for fp32
  int w_bits = 32;
  int a_bits = 32;
  ProbeInfo probe = {};
  double calibration_seconds = 0;
  Evaluation evaluation;
};

/// The line above the rows; `probes`: whether theirs are of encoders.
void print_header(bool probes);

void print_row(const EvalRow& row);

nlohmann::ordered_json to_json(const std::string& model, const EvalRow& row);

}  // namespace bitlog2::cli
