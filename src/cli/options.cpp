#include "cli/options.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <numeric>

#include "bitlog2/encoder.h"
#include "bitlog2/error.h"
#include "cli/console.h"

namespace bitlog2::cli {
namespace {

constexpr const char* kKeptForScripts = "Kept for scripts";  // a group of options

void append(std::vector<std::string>& words, const std::vector<std::string>& more) {
  words.insert(words.end(), more.begin(), more.end());
}

/// --recipe and its parts, by all their names.
std::vector<std::string> recipe_options() {
  std::vector<std::string> names = {"--recipe", "--" + std::string(kGeluSchemePart),
                                    "--" + std::string(kReconstructionPart)};
  for (const RecipePart& part : kRecipeParts) {
    names.push_back("--" + std::string(part.name));
    names.push_back("--" + std::string(part.names_in_files().name));
  }
  return names;
}

/// The options that say how a model is quantized.
std::vector<std::string> quantization_options() {
  std::vector<std::string> names = {"--w-bits", "--a-bits", "--log-quant-scheme"};
  append(names, recipe_options());
  return names;
}

/// What was given to an option of `command`; nothing if it was not, or there is none of this name.
std::vector<std::string> words_given(const CLI::App& command, const std::string& name) {
  const CLI::Option* option = command.get_option_no_throw(name);
  return option == nullptr ? std::vector<std::string>() : option->results();
}

/// The first of the options `names` that was given to `command`, or "".
std::string first_given(const CLI::App& command, const std::vector<std::string>& names) {
  const auto found = std::ranges::find_if(
      names, [&](const std::string& name) { return !words_given(command, name).empty(); });
  return found == names.end() ? "" : *found;
}

/// --profile runs it, whatever the engines asked for.
bool runs_integer_engine(const CLI::App& command) {
  const std::vector<std::string> engines = words_given(command, "--engine");
  return engines.empty() || std::ranges::find(engines, "integer") != engines.end() ||
         !words_given(command, "--profile").empty();
}

}  // namespace

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
  std::vector<std::string> decided = {
      "--model",  "--weights",         "--config", "--calibration", "--calibration-images",
      "--memory", "--dump-quantizers", "--pool"};
  append(decided, quantization_options());
  if (const std::string name = first_given(command, decided); !name.empty()) {
    throw Error(fmt::format(
        "--quantized {} holds its own model, bits and calibration; leave out {}", quantized, name));
  }
  const std::vector<std::string> engines = words_given(command, "--engine");
  if (std::ranges::any_of(engines, [](const auto& engine) { return engine != "integer"; })) {
    throw Error("--quantized runs on the integer engine alone; leave out --engine");
  }
}

void refuse_what_no_engine_heeds(const CLI::App& command) {
  if (runs_integer_engine(command)) {
    return;
  }
  if (!calibrates(command)) {
    std::vector<std::string> unheeded = quantization_options();
    for (const char* option : {"--dump-quantizers", "--calibration", "--memory"}) {
      unheeded.emplace_back(option);
    }
    if (const std::string name = first_given(command, unheeded); !name.empty()) {
      throw Error(fmt::format(
          "{} needs the engine simulate or integer; leave it out, or add one to --engine", name));
    }
  }
  if (!first_given(command, {"--isa"}).empty()) {
    throw Error("--isa needs the engine integer; leave it out, or add that to --engine");
  }
}

void refuse_recipe(const CLI::App& command, const std::string& why) {
  if (const std::string name = first_given(command, recipe_options()); !name.empty()) {
    throw Error(fmt::format("{}; leave out {}", why, name));
  }
}

bool calibrates(const CLI::App& command) {
  const std::vector<std::string> engines = words_given(command, "--engine");
  const bool float_alone = !engines.empty() && std::ranges::all_of(engines, [](const auto& engine) {
    return engine == "fp32";
  });
  return first_given(command, {"--quantized"}).empty() && !float_alone;
}

void hide_kept_options(CLI::App& app) {
  for (CLI::App* command : app.get_subcommands([](const CLI::App*) { return true; })) {
    for (CLI::Option* option : command->get_options()) {
      if (option->get_group() == kKeptForScripts) {
        option->group("");
      }
    }
  }
}

void add_model_options(CLI::App& command, ModelSource& source) {
  command.add_option("--model", source.model,
                     "A folder as timm or transformers save a model, a checkpoint file, a "
                     "repository in the Hugging Face cache, or a published model: " +
                         model_names());
  command.add_option(
      "--weights", source.weights,
      "Checkpoint: .safetensors, .pth, .bin or an index of shards (default: the model's in "
      "the Hugging Face cache)");
  command.add_option("--config", source.config,
                     "JSON file that describes a model, or what its files do not say");
  command
      .add_option("--image-size", source.image_size,
                  "Side of the input, pixels; positions are interpolated (default: as the model's "
                  "files say)")
      ->check(CLI::Range(1, 1 << 14));
}

void add_pool_option(CLI::App& command, std::string& pool) {
  std::vector<std::string> names;
  names.reserve(kEmbeddingPoolings.size());
  for (const NamedEmbeddingPooling& pooling : kEmbeddingPoolings) {
    names.emplace_back(pooling.name);
  }
  command
      .add_option(
          "--pool", pool,
          "The embedding: what the model's own head reads, the class token, the mean of the "
          "patches, attention pooling, or the projection (docs/embeddings.md)")
      ->check(CLI::IsMember(names));
}

void add_calibration_options(CLI::App& command, CalibrationOptions& options) {
  command.add_option("--dataset", options.dataset, "ImageNet-like folder, or .safetensors")
      ->required();
  command.add_option("--calibration", options.folder,
                     "Folder of images to calibrate on, anywhere below it, without labels; without "
                     "it: the dataset's train/, else its validation images");
  command.add_option("--class-map", options.class_map,
                     "Text file that numbers class folders: line k names class k's");
  command
      .add_option("--calibration-images,--calib-batchsize", options.images,
                  "How many images calibrate")
      ->check(whole_number(1, 1'000'000))
      ->capture_default_str();
  command
      .add_option(
          "--memory", options.memory_bytes,
          "How much memory the images' residual streams may take while calibrating, such as "
          "500M or 2G; a temporary file has the rest")
      ->transform(CLI::AsSizeValue(false))
      ->type_name("SIZE");
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
          "How to calibrate: repq, the published system; best, with those of the parts below "
          "that pay together; reconstruct, best and learning by gradients, which takes minutes")
      ->check(CLI::IsMember(std::vector<std::string>(kRecipeNames.begin(), kRecipeNames.end())))
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
  add(kReconstructionPart, "STEPS",
      "How many steps the calibrated network then learns the float network's outputs, by gradients "
      "on the calibration images; 0: none");
  for (const RecipePart& part : kRecipeParts) {
    add(part.name, fmt::format("{{{},{}}}", part.off, part.on), part.help);
    if (part.names_in_files().name != part.name) {
      add(part.names_in_files().name, "", part.help)->group(kKeptForScripts);
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
