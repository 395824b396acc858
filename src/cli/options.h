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

/// Adds --json [FILE], whose help is `what`.
void add_json_option(CLI::App& command, Output& json, const std::string& what);

/// An option that names a file to write.
CLI::Option* add_output_option(CLI::App& command, const std::string& names, Output& output,
                               const std::string& help);

/// --threads.
void add_threads_option(CLI::App& command, std::size_t& threads);

/// Throws Error if `command` was given an option that a quantized file decides (the model, its
/// calibration, its bits), or an engine other than the integer engine.
void refuse_what_the_file_decides(const CLI::App& command, const std::string& quantized);

/// Throws Error if `command` was given an option that none of its engines uses: bits, the scheme,
/// the recipe or --dump-quantizers with float32 only, or --isa without the integer engine.
void refuse_what_no_engine_heeds(const CLI::App& command);

/// Throws Error saying `why` if --recipe or one of its parts was given to `command`.
void refuse_recipe(const CLI::App& command, const std::string& why);

/// Whether a run of `command`, if it has --calibration-images, calibrates.
bool calibrates(const CLI::App& command);

/// Hides options that are kept for old scripts from `app`'s help. To be called after the command
/// line is parsed, since CLI11's messages on the value of a hidden option do not name it.
void hide_kept_options(CLI::App& app);

/// --model, --weights, --config.
void add_model_options(CLI::App& command, ModelSource& source);

/// --pool; `pool` stays empty if it is not given.
void add_pool_option(CLI::App& command, std::string& pool);

/// --dataset, --class-map, --calibration, --calibration-images, --memory, --seed, --threads,
/// --strict.
void add_calibration_options(CLI::App& command, CalibrationOptions& options);

/// Which validation images to take; 0: all.
struct SubsetOptions {
  std::size_t limit = 0;   ///< the first
  std::size_t sample = 0;  ///< seeded, spread over the classes
};

/// --limit and --sample, of which a command line may have one.
void add_subset_options(CLI::App& command, SubsetOptions& options);

/// The images of `images` that the options take.
Dataset take_subset(const Dataset& images, const SubsetOptions& options, std::uint64_t seed);

/// A recipe, and changes to its parts.
struct RecipeOptions {
  std::string name = "repq";
  std::map<std::string, std::string> parts;  ///< values by part; empty where the recipe decides

  /// Throws Error for an unknown recipe.
  Recipe recipe() const;
};

/// --recipe and an option for each of its parts.
void add_recipe_options(CLI::App& command, RecipeOptions& options);

/// One scheme and one pair of widths, for quantize and compare.
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
