// Options that several subcommands have, declared once.
#pragma once

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <cstdint>
#include <map>
#include <string>

#include "cli/job.h"
#include "cli/output.h"

namespace bitlog2::cli {

/// A check for options that take a whole number from `least` to `most`.
CLI::Validator whole_number(std::uint64_t least, std::uint64_t most);

/// A check for options that take a number from `least` to `most`.
CLI::Validator number_between(double least, double most);

/// --json [FILE], which says what `what` is.
void add_json_option(CLI::App& command, Output& json, const std::string& what);

/// An option that names a file to write.
CLI::Option* add_output_option(CLI::App& command, const std::string& names, Output& output,
                               const std::string& help);

/// --threads.
void add_threads_option(CLI::App& command, std::size_t& threads);

/// Throws Error if an option of `command` was given that a quantized file decides: the model, how
/// it was calibrated, its bits; or engines besides the integer one, which alone runs it.
void refuse_what_the_file_decides(const CLI::App& command, const std::string& quantized);

/// Throws Error if an option of `command` was given that none of its engines heeds: bits, the
/// scheme, the recipe or --dump-quantizers for float32, --isa without the integer engine.
void refuse_what_no_engine_heeds(const CLI::App& command);

/// Throws Error saying `why` if --recipe or one of its parts was given to `command`.
void refuse_recipe(const CLI::App& command, const std::string& why);

/// Whether a run of `command`, if it has --calibration-images, calibrates.
bool calibrates(const CLI::App& command);

/// Leaves options that are kept for scripts out of `app`'s help. Not to be called before the
/// command line is parsed: CLI11 has no name for a hidden option in what it says of its value.
void hide_kept_options(CLI::App& app);

/// --model, --weights, --config.
void add_model_options(CLI::App& command, ModelSource& source);

/// --pool, empty where it is not given.
void add_pool_option(CLI::App& command, std::string& pool);

/// --dataset, --class-map, --calibration, --calibration-images, --memory, --seed, --threads,
/// --strict.
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
