#include "cli/options.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <array>
#include <charconv>
#include <numeric>

#include "bitlog2/error.h"
#include "cli/console.h"

namespace bitlog2::cli {

CLI::Validator whole_number(std::uint64_t least, std::uint64_t most) {
  const auto check = [=](const std::string& text) -> std::string {
    std::uint64_t number = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    const bool whole = error == std::errc() && end == text.data() + text.size();
    if (whole && number >= least && number <= most) {
      return {};
    }
    return fmt::format("'{}' is not a whole number from {} to {}", printable(text), least, most);
  };
  return {check, fmt::format("{}..{}", least, most)};
}

CLI::Validator number_between(double least, double most) {
  const auto check = [=](const std::string& text) -> std::string {
    double number = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    const bool whole = error == std::errc() && end == text.data() + text.size();
    if (whole && number >= least && number <= most) {  // never true of NaN
      return {};
    }
    return fmt::format("'{}' is not a number from {} to {}", printable(text), least, most);
  };
  return {check, fmt::format("{}..{}", least, most)};
}

void add_json_option(CLI::App& command, Output& json, const std::string& what) {
  add_output_option(
      command, "--json", json,
      what + " as JSON: to FILE, which ends in .json, or to stdout without FILE or with '-'");
}

CLI::Option* add_output_option(CLI::App& command, const std::string& names, Output& output,
                               const std::string& help) {
  CLI::Option* option = command.add_option(names, output.path, help)->type_name("FILE");
  output.option = option->get_name();
  return option->check(
      [](const std::string& path) { return path.empty() ? "a file's name is needed" : ""; });
}

void add_threads_option(CLI::App& command, std::size_t& threads) {
  command.add_option("--threads", threads, "0: all of the machine's")
      ->check(whole_number(0, 1024))
      ->capture_default_str();
}

void refuse_what_the_file_decides(const CLI::App& command, const std::string& quantized) {
  constexpr std::array kDecided = {"--model",  "--weights",         "--config",
                                   "--w-bits", "--a-bits",          "--log-quant-scheme",
                                   "--recipe", "--calib-batchsize", "--dump-quantizers"};
  std::vector<std::string> decided(kDecided.begin(), kDecided.end());
  for (const RecipePart& part : kRecipeParts) {
    decided.push_back("--" + std::string(part.name));
    decided.push_back("--" + std::string(part.names_in_files().name));
  }
  decided.push_back("--" + std::string(kGeluSchemePart));
  for (const std::string& name : decided) {
    const CLI::Option* option = command.get_option_no_throw(name);
    if (option != nullptr && option->count() > 0) {
      throw Error(
          fmt::format("--quantized {} holds its own model, bits and calibration; leave out {}",
                      quantized, name));
    }
  }
}

void add_model_options(CLI::App& command, ModelSource& source) {
  command.add_option("--model", source.model, "A published model: " + model_names());
  command.add_option("--weights", source.weights,
                     "Checkpoint, .safetensors (default: the model's in the Hugging Face cache)");
  command.add_option("--config", source.config, "JSON file that describes a model of other sizes");
}

void add_calibration_options(CLI::App& command, CalibrationOptions& options) {
  command.add_option("--dataset", options.dataset, "ImageNet-like folder, or .safetensors")
      ->required();
  command.add_option("--class-map", options.class_map,
                     "Text file that numbers class folders: line k names class k's");
  command.add_option("--calib-batchsize", options.calib_batchsize, "Calibration images")
      ->check(whole_number(1, 4096))
      ->capture_default_str();
  command.add_option("--seed", options.seed, "Of the calibration sample and of --sample")
      ->check(whole_number(0, UINT64_MAX))
      ->capture_default_str();
  add_threads_option(command, options.threads);
  command.add_flag("--strict", options.strict, "Stop at an image that cannot be read");
}

void add_subset_options(CLI::App& command, SubsetOptions& options) {
  CLI::Option* limit = command.add_option(
      "--limit", options.limit, "Evaluate the first N images in sorted order, so few classes");
  CLI::Option* sample = command.add_option(
      "--sample", options.sample, "Evaluate N images, seeded and spread evenly over the classes");
  limit->check(whole_number(0, UINT64_MAX))->excludes(sample);
  sample->check(whole_number(0, UINT64_MAX));
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
      ->check(whole_number(kMinBits, kMaxBits))
      ->capture_default_str();
  command.add_option("--a-bits", options.a_bits, "Bits of activations")
      ->check(whole_number(kMinBits, kMaxBits))
      ->capture_default_str();
}

}  // namespace bitlog2::cli
