// Options that several subcommands have, declared once.
#pragma once

#include <CLI/App.hpp>
#include <cstdint>
#include <map>
#include <string>

#include "cli/job.h"

namespace bitlog2::cli {

/// --model, --weights, --config.
void add_model_options(CLI::App& command, ModelChoice& choice);

/// What calibration needs besides a model.
struct CalibrationOptions {
  std::string dataset;
  std::string class_map;
  std::size_t calib_batchsize = 32;
  std::uint64_t seed = 0;
  std::size_t threads = 0;
  bool strict = false;
};

/// --dataset, --class-map, --calib-batchsize, --seed, --threads, --strict.
void add_calibration_options(CLI::App& command, CalibrationOptions& options);

/// Which validation images to take; 0: no bound.
struct SubsetOptions {
  std::size_t limit = 0;   ///< the first
  std::size_t sample = 0;  ///< seeded, spread over the classes
};

/// --limit and --sample, of which a command line may have one.
void add_subset_options(CLI::App& command, SubsetOptions& options);

/// The images of `images` that the options take.
Dataset take_subset(const Dataset& images, const SubsetOptions& options, std::uint64_t seed);

/// What calibration does beyond the published system: a recipe, and changes to its parts.
struct RecipeOptions {
  std::string name = "repq";
  std::map<std::string, std::string> parts;  ///< by name; empty where the recipe decides

  /// Throws Error for an unknown recipe.
  Recipe recipe() const;
};

/// --recipe and an option for each of its parts.
void add_recipe_options(CLI::App& command, RecipeOptions& options);

/// One scheme and one pair of widths, as quantize and compare take them.
struct SchemeOptions {
  std::string scheme = "BitLog2_Half_16";
  int w_bits = 4;
  int a_bits = 4;
  RecipeOptions recipe;

  /// Throws Error for an unknown scheme.
  QuantizationSettings settings() const;
};

/// --log-quant-scheme, --w-bits, --a-bits, and the recipe.
void add_scheme_options(CLI::App& command, SchemeOptions& options);

}  // namespace bitlog2::cli
