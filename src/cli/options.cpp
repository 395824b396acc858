#include "cli/options.h"

#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <numeric>

namespace bitlog2::cli {

void add_model_options(CLI::App& command, ModelChoice& choice) {
  command.add_option("--model", choice.name,
                     "A published model: deit_tiny, deit_small, deit_base, vit_small, vit_base, "
                     "swin_tiny, swin_small");
  command.add_option("--weights", choice.weights,
                     "Checkpoint, .safetensors (default: the model's in the Hugging Face cache)");
  command.add_option("--config", choice.config, "JSON file that describes a model of other sizes");
}

void add_calibration_options(CLI::App& command, CalibrationOptions& options) {
  command.add_option("--dataset", options.dataset, "ImageNet-like folder, or .safetensors")
      ->required();
  command.add_option("--class-map", options.class_map,
                     "Text file that numbers class folders: line k names class k's");
  command.add_option("--calib-batchsize", options.calib_batchsize, "Calibration images")
      ->check(CLI::Range(1, 4096))
      ->capture_default_str();
  command.add_option("--seed", options.seed, "Of the calibration sample and of --sample")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  command.add_option("--threads", options.threads, "0: all of the machine's")
      ->check(CLI::Range(0, 1024))
      ->capture_default_str();
  command.add_flag("--strict", options.strict, "Stop at an image that cannot be read");
}

void add_subset_options(CLI::App& command, SubsetOptions& options) {
  CLI::Option* limit = command.add_option(
      "--limit", options.limit, "Evaluate the first N images in sorted order, so few classes");
  CLI::Option* sample = command.add_option(
      "--sample", options.sample, "Evaluate N images, seeded and spread evenly over the classes");
  limit->check(CLI::NonNegativeNumber)->excludes(sample);
  sample->check(CLI::NonNegativeNumber);
}

Dataset take_subset(const Dataset& images, const SubsetOptions& options, std::uint64_t seed) {
  if (options.sample > 0) {
    return images.sample_by_class(options.sample, seed);
  }
  if (options.limit == 0 || options.limit >= images.size()) {
    return images;
  }
  std::vector<std::size_t> first(options.limit);
  std::iota(first.begin(), first.end(), std::size_t{0});
  return images.subset(first);
}

QuantizationSettings SchemeOptions::settings() const {
  return {w_bits, a_bits, find_attention_scheme(scheme), recipe.recipe()};
}

Recipe RecipeOptions::recipe() const {
  Recipe recipe = find_recipe(name);
  for (const auto& [part, value] : parts) {
    if (!value.empty()) {
      set_recipe_part(recipe, part, value);
    }
  }
  return recipe;
}

void add_recipe_options(CLI::App& command, RecipeOptions& options) {
  command
      .add_option(
          "--recipe", options.name,
          "How to calibrate: repq, the published system, or best, with those of the parts below "
          "that pay together")
      ->check(CLI::IsMember({"repq", "best"}))
      ->capture_default_str();
  const auto add = [&](std::string_view part, std::vector<std::string> choices, std::string help) {
    command.add_option("--" + std::string(part), options.parts[std::string(part)], std::move(help))
        ->check(CLI::IsMember(std::move(choices)));
  };
  add(kGeluSchemePart, {kGeluSchemes.begin(), kGeluSchemes.end()},
      "Grid behind GELU: evenly spaced, shift-friendly, or a code book for each layer");
  for (const RecipePart& part : kRecipeParts) {
    add(part.name, {std::string(part.off), std::string(part.on)}, std::string(part.help));
  }
}

void add_scheme_options(CLI::App& command, SchemeOptions& options) {
  add_recipe_options(command, options.recipe);
  command
      .add_option("--log-quant-scheme", options.scheme,
                  "Attention-map quantizer: Sqrt2_16, Sqrt2_17, BitLog2_Single_16, "
                  "BitLog2_Single_17, BitLog2_Half_16, BitLog2_Half_17")
      ->capture_default_str();
  command.add_option("--w-bits", options.w_bits, "Bits of weights")
      ->check(CLI::Range(kMinBits, kMaxBits))
      ->capture_default_str();
  command.add_option("--a-bits", options.a_bits, "Bits of activations")
      ->check(CLI::Range(kMinBits, kMaxBits))
      ->capture_default_str();
}

}  // namespace bitlog2::cli
