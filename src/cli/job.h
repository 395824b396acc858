// Shared by the subcommands: finding a model and its weights, opening a dataset, calibrating and
// evaluating with progress on the terminal.
#pragma once

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <limits>
#include <string>
#include <vector>

#include "bitlog2/calibrate.h"
#include "bitlog2/dataset.h"
#include "bitlog2/evaluate.h"
#include "bitlog2/load.h"
#include "bitlog2/model.h"
#include "bitlog2/parallel.h"
#include "bitlog2/safetensors.h"

namespace bitlog2::cli {

/// The options of calibration.
struct CalibrationOptions {
  std::string dataset;
  std::string class_map;
  std::string folder;  ///< of the calibration images; empty: the dataset has them
  std::size_t images = 32;
  std::size_t memory_bytes = std::numeric_limits<std::size_t>::max();  ///< CalibrationContext's
  std::uint64_t seed = 0;
  std::size_t threads = 0;
  bool strict = false;
};

/// The files that load_model would read, and the dataset's. Throws Error as load_model does where
/// the weights are not found.
std::vector<std::filesystem::path> files_read(const ModelSource& source,
                                              const CalibrationOptions& options);

/// load_model, with its notes on stderr.
LoadedModel load_and_tell(const ModelSource& source);

/// load_and_tell of a model as an encoder with this pooling; empty: the model's own.
LoadedModel load_encoder(const ModelSource& source, const std::string& pool);

/// load_encoder, or load_and_tell where no pooling is asked for.
LoadedModel load_pooled(const ModelSource& source, const std::string& pool);

/// Throws Error, which says what to do instead, if this config is that of an encoder; `what` names
/// the model.
void require_classes(const ModelConfig& config, const std::string& what);

/// Throws Error, which says how to make one, if the quantized file `path` with this config is no
/// encoder.
void require_embeddings(const ModelConfig& config, const std::string& path);

/// Throws Error unless `command` was given either a quantized file or a checkpoint.
void check_model_choice(const std::string& command, const std::string& quantized,
                        const ModelSource& source);

/// Decoded and cropped calibration images. An image that cannot be read is named on stderr and
/// replaced by another, so that the number of images stays the same; if `strict`, it is an error.
CalibrationImages calibration_batch(const DatasetSplits& splits, const Preprocessing& preprocessing,
                                    ThreadPool& pool, bool strict);

/// Writes notes on a model or a dataset to stderr.
void tell_notes(const std::vector<std::string>& notes);

/// A dataset, opened and ready for a model.
struct PreparedData {
  Dataset validation;
  CalibrationImages calibration;
};

/// Opens the dataset, if one was given, for a model of this config and these classes, and the
/// folder of calibration images, if one was given. An encoder needs no labels.
DatasetSplits open_splits(const ModelConfig& config, const std::vector<std::string>& class_names,
                          const CalibrationOptions& options);

/// Says on stderr which images calibrate, and reads them.
CalibrationImages read_calibration_and_tell(const DatasetSplits& splits,
                                            const Preprocessing& preprocessing,
                                            const CalibrationOptions& options, ThreadPool& pool);

/// Opens the dataset for a model of this config and these classes, says on stderr which images
/// calibrate, and reads them.
PreparedData prepare_data(const ModelConfig& config, const std::vector<std::string>& class_names,
                          const CalibrationOptions& options, ThreadPool& pool);

/// calibrate() with progress; throws Interrupted when `stop` is set.
Calibration calibrate_with_progress(Model model, const QuantizationSettings& settings,
                                    const CalibrationImages& images, std::size_t memory_bytes,
                                    ThreadPool& pool, const std::atomic<bool>& stop);

/// evaluate() with progress, and tell_skipped() of what it gives.
Evaluation evaluate_with_progress(const std::string& what, const Engine& engine,
                                  const Dataset& dataset, ThreadPool& pool,
                                  EvaluationOptions options);

/// Names the images that could not be read on stderr. Throws Error if no image was read.
void tell_skipped(const Evaluation& evaluation);

/// The number of threads to use: `asked`, or for 0 the number of the machine's processors.
std::size_t thread_count(std::size_t asked);

}  // namespace bitlog2::cli
