#include "cli/options.h"

#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>

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
  if (!gelu_grid.empty()) {
    recipe.gelu_grid = gelu_grid == "Uniform"    ? Recipe::GeluGrid::uniform
                       : gelu_grid == "Shift" ? Recipe::GeluGrid::shift
                                                 : Recipe::GeluGrid::code_book;
  }
  const auto choose = [](const std::string& text, const char* on, bool& part) {
    part = text.empty() ? part : text == on;
  };
  choose(gptq, "gptq", recipe.gptq);
  choose(compensation, "ridge", recipe.compensation);
  choose(head_quantizers, "head", recipe.head_quantizers);
  choose(head_transforms, "balanced", recipe.head_transforms);
  choose(output_search, "output", recipe.output_search);
  choose(nearest_attention, "nearest", recipe.nearest_attention);
  choose(fine_attention, "by_bits", recipe.fine_attention);
  return recipe;
}

void add_recipe_options(CLI::App& command, RecipeOptions& options) {
  command
      .add_option("--recipe", options.name,
                  "How to calibrate: repq, the published system, or best, all parts below")
      ->check(CLI::IsMember({"repq", "best"}))
      ->capture_default_str();
  const auto add = [&](const char* flag, std::string& value, std::vector<std::string> choices,
                       const char* help) {
    command.add_option(flag, value, help)->check(CLI::IsMember(std::move(choices)));
  };
  add("--gelu-quant-scheme", options.gelu_grid, {"Uniform", "Shift", "CodeBook"},
      "Grid behind GELU");
  add("--weight-rounding", options.gptq, {"nearest", "gptq"}, "How weights find their codes");
  add("--compensation", options.compensation, {"none", "ridge"},
      "Correct weights and biases for their quantized input");
  add("--attention-quantizers", options.head_quantizers, {"tensor", "head"},
      "q, k, v and the attention map: one quantizer for all heads, or one each");
  add("--head-basis", options.head_transforms, {"own", "balanced"},
      "q, k, v as they are, or in a basis that balances their channels");
  add("--scale-search", options.output_search, {"tensor", "output"},
      "Whose error chooses scales: the tensor's own, or the layer's output");
  add("--attention-rounding", options.nearest_attention, {"truncate", "nearest"},
      "How BitLog2 drops bits");
  add("--attention-levels", options.fine_attention, {"published", "by_bits"},
      "BitLog2's levels: 16 or 17, or more where a_bits is above 4");
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
