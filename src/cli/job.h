// What the subcommands share: finding a model and its weights, opening a dataset,
// calibrating and evaluating with progress on the terminal.
#pragma once

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "bitlog2/calibrate.h"
#include "bitlog2/dataset.h"
#include "bitlog2/evaluate.h"
#include "bitlog2/model.h"
#include "bitlog2/safetensors.h"

namespace CLI {
class App;
}

namespace bitlog2::cli {

/// Which model, as the user says it; any of these may be empty.
struct ModelChoice {
  std::string name;     ///< a published name
  std::string weights;  ///< a checkpoint file
  std::string config;   ///< a JSON file that describes a model of other sizes
};

/// A model with its weights, and the names of its classes if they are known.
struct LoadedModel {
  Model model;
  std::vector<std::string> class_names;
};

/// Loads what was chosen. The config comes from `choice.config`, else from the published
/// model's name, else from the checkpoint's metadata; the weights from `choice.weights`,
/// else from the Hugging Face cache. Throws Error that says what is missing and, for
/// weights, the command that gets them.
LoadedModel load_chosen_model(const ModelChoice& choice);

/// Decoded and cropped calibration images. An image that cannot be read is fatal here: a smaller
/// batch would be another calibration.
std::vector<RgbImage> calibration_batch(const Dataset& images, const Preprocessing& preprocessing,
                                        ThreadPool& pool);

struct CalibrationOptions;

/// A dataset, opened and ready for a model.
struct PreparedData {
  Dataset validation;
  std::vector<RgbImage> calibration;  ///< crops
};

/// Opens the dataset for a model of this config, says on stderr which images calibrate, and
/// reads them.
PreparedData prepare_data(const ModelConfig& config, const CalibrationOptions& options,
                          ThreadPool& pool);

/// calibrate() with progress; throws Interrupted when `stop` is set.
Calibration calibrate_with_progress(const Model& model, const QuantizationSettings& settings,
                                    std::span<const RgbImage> crops, ThreadPool& pool,
                                    const std::atomic<bool>& stop);

/// evaluate() with progress; skipped images are named on stderr.
Evaluation evaluate_with_progress(const std::string& what, const Engine& engine,
                                  const Dataset& dataset, EvaluationOptions options);

/// Throws Error unless a file can be created at `path`: asked before long work, not after.
void check_writable(const std::filesystem::path& path);

/// The number of threads to use: `asked`, or all of the machine's for 0.
std::size_t thread_count(std::size_t asked);

/// Parses a program's command line. The result is empty, or the exit code to leave with: 0
/// after --help, 2 after wrong arguments, told in one line on stderr.
std::optional<int> parse_arguments(CLI::App& app, int argc, char** argv);

/// Runs a program's body and turns what it throws into one line on stderr and an exit code:
/// 1 for an Error, 130 for Interrupted.
int run_reporting_errors(const char* program, const std::function<int()>& body);

}  // namespace bitlog2::cli
