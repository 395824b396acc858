#include "cli/options.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>

#include "bitlog2/error.h"

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
  command.add_option("--calib-batchsize", options.calib_batchsize, "Calibration images")
      ->check(CLI::Range(1, 4096))
      ->capture_default_str();
  command.add_option("--seed", options.seed, "Of the calibration sample")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  command.add_option("--threads", options.threads, "0: all of the machine's")
      ->check(CLI::Range(0, 1024))
      ->capture_default_str();
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
  const auto add = [&](std::string_view part, const std::string& choices, std::string_view help) {
    const auto check = [part](const std::string& value) {
      try {
        Recipe recipe;
        set_recipe_part(recipe, part, value);
      } catch (const Error& error) {
        return std::string(error.what());
      }
      return std::string();
    };
    return command
        .add_option("--" + std::string(part), options.parts[std::string(part)], std::string(help))
        ->check(CLI::Validator(check, choices));
  };
  add(kGeluSchemePart, fmt::format("{{{}}}", fmt::join(kGeluSchemes, ",")),
      "Codes behind GELU: evenly spaced, shift-friendly, or a codebook for each layer");
  for (const RecipePart& part : kRecipeParts) {
    add(part.name, fmt::format("{{{},{}}}", part.off, part.on), part.help);
    if (part.names_in_files().name != part.name) {
      add(part.names_in_files().name, "", part.help)->group("");  // hidden, kept for scripts
    }
  }
}

void add_scheme_options(CLI::App& command, SchemeOptions& options) {
  add_recipe_options(command, options.recipe);
  command
      .add_option("--log-quant-scheme", options.scheme,
                  "Attention-map quantizer: " + attention_scheme_names())
      ->capture_default_str();
  command.add_option("--w-bits", options.w_bits, "Bits of weights")
      ->check(CLI::Range(kMinBits, kMaxBits))
      ->capture_default_str();
  command.add_option("--a-bits", options.a_bits, "Bits of activations")
      ->check(CLI::Range(kMinBits, kMaxBits))
      ->capture_default_str();
}

}  // namespace bitlog2::cli
