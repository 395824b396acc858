// `bitlog2 inspect`: what a checkpoint holds, and which model it is.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <CLI/App.hpp>
#include <algorithm>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string_view>
#include <system_error>
#include <vector>

#include "bitlog2/error.h"
#include "bitlog2/load.h"
#include "bitlog2/model.h"
#include "bitlog2/tensors.h"
#include "cli/commands.h"
#include "cli/console.h"
#include "cli/options.h"

namespace bitlog2::cli {
namespace {

using nlohmann::ordered_json;

constexpr std::size_t kMisfitsShown = 5;
constexpr std::size_t kLettersShown = 200;  // of a metadata value

/// At most `count` bytes of `text`, and no part of a UTF-8 sequence.
std::string_view first_letters(std::string_view text, std::size_t count) {
  if (text.size() <= count) {
    return text;
  }
  while (count > 0 && (static_cast<unsigned char>(text[count]) & 0xC0) == 0x80) {
    --count;
  }
  return text.substr(0, count);
}

std::string shortened(const std::string& value) {
  const std::string_view shown = first_letters(value, kLettersShown);
  return printable(shown) +
         (shown.size() < value.size() ? fmt::format("... ({} bytes)", value.size()) : "");
}

std::string shape_text(const TensorView& tensor) {
  return tensor.shape.empty() ? "scalar" : fmt::format("{}", fmt::join(tensor.shape, " x "));
}

/// A value of the metadata, or "?".
std::string metadata_or_unknown(const TensorFile& file, const char* key) {
  const auto found = file.metadata().find(key);
  return found == file.metadata().end() ? "?" : found->second;
}

bool is_quantized(const TensorFile& file) {
  return metadata_or_unknown(file, "format") == "bitlog2";
}

/// All there is to say about a file, however little of it is understood.
struct Findings {
  std::optional<ModelConfig> config;          ///< the file's own
  std::string config_error;                   ///< why there is none though the metadata has one
  std::vector<std::string> models;            ///< that the file fits
  std::string nearest;                        ///< else the one with the fewest misfits
  CheckpointFit fit;                          ///< to the first that it fits, or to the nearest
  std::optional<ModelDescription> described;  ///< what --model would make of it
  std::string undescribed;                    ///< why it would make nothing of it
};

void read_config(const TensorFile& file, Findings& findings) {
  const auto own = file.metadata().find("config");
  if (own == file.metadata().end()) {
    return;
  }
  try {
    findings.config = parse_config(own->second, file.name());
  } catch (const Error& error) {
    findings.config_error = error.what();
  }
}

/// Compares the file with the models that could be meant: its own config's, if it has one, else
/// the published ones.
Findings examine(const TensorFile& file) {
  Findings findings;
  read_config(file, findings);
  if (is_quantized(file)) {
    return findings;
  }
  std::vector<ModelConfig> candidates;
  if (findings.config) {
    candidates.push_back(*findings.config);
  } else {
    for (const NamedModel& model : named_models()) {
      candidates.push_back(model.config);
    }
  }
  for (const ModelConfig& config : candidates) {
    CheckpointFit fit = fit_checkpoint(file, config);
    const bool is_first = findings.models.empty() && findings.nearest.empty();
    if (fit.fits()) {
      if (findings.models.empty()) {
        findings.fit = std::move(fit);
      }
      findings.models.push_back(config.name);
    } else if (findings.models.empty() &&
               (is_first || fit.misfits.size() < findings.fit.misfits.size())) {
      findings.nearest = config.name;
      findings.fit = std::move(fit);
    }
  }
  if (!findings.models.empty()) {
    findings.nearest.clear();
  }
  return findings;
}

/// The file to look into: `path`, or the weights in a folder.
std::filesystem::path weights_in(const std::string& path) {
  std::error_code ignored;
  if (!std::filesystem::is_directory(path, ignored)) {
    return path;
  }
  return weights_of({.model = path, .weights = {}, .config = {}, .image_size = 0});
}

/// What `--model` makes of the file or folder.
void describe(const std::string& path, const TensorFile& file, Findings& findings) {
  const ModelSource source = {.model = path, .weights = {}, .config = {}, .image_size = 0};
  try {
    findings.described = describe_model(source, file);
  } catch (const Error& error) {
    findings.undescribed = error.what();
  }
}

std::string blocks_text(const ModelConfig& config) {
  std::string text;
  std::size_t channels = config.embed_dim;
  for (std::size_t stage = 0; stage < config.depths.size(); ++stage, channels *= 2) {
    text += fmt::format("{}{} block{} of {} channels in {} head{}", stage == 0 ? "" : ", ",
                        config.depths[stage], config.depths[stage] == 1 ? "" : "s", channels,
                        config.num_heads[stage], config.num_heads[stage] == 1 ? "" : "s");
  }
  return text;
}

std::string_view pooling_text(Pooling pooling) {
  switch (pooling) {
    case Pooling::class_token:
      return "the class token's output";
    case Pooling::class_tokens:
      return "two heads of two tokens, averaged";
    case Pooling::mean:
      return "the mean of the tokens";
    case Pooling::mean_then_norm:
      return "the mean of the patches before the norm";
    case Pooling::class_and_mean:
      return "class token and mean of the patches side by side";
    case Pooling::map:
      return "attention pooling";
  }
  return "";
}

std::string output_text(const ModelConfig& config) {
  return config.num_classes > 0
             ? fmt::format("{} classes", config.num_classes)
             : fmt::format("no classes, an embedding of {} values", output_size(config));
}

/// In what a model differs from a plain ViT or Swin: "; with quick GELU, a norm before the blocks".
std::string differences_text(const ModelConfig& config) {
  std::vector<std::string> parts;
  const auto add = [&](bool differs, std::string part) {
    if (differs) {
      parts.push_back(std::move(part));
    }
  };
  if (config.family == Family::vit) {
    add(config.prefix_tokens == 0, "no class token");
    add(config.prefix_tokens > 1,
        fmt::format("{} tokens before the patches'", config.prefix_tokens));
    add(config.embed_norm, "a norm before the blocks");
    add(config.relative_position_bias, "relative positions");
    add(config.rope_theta > 0, "rotary positions");
    add(config.pre_logits > 0, "a layer before the head");
    add(config.pooling != Pooling::class_token, std::string(pooling_text(config.pooling)));
  }
  add(config.activation == Activation::quick_gelu, "quick GELU");
  add(config.activation == Activation::gelu_tanh, "tanh GELU");
  add(config.activation == Activation::swiglu, "SwiGLU");
  return parts.empty() ? "" : fmt::format("; with {}", fmt::join(parts, ", "));
}

std::string possessive(std::string_view name) {
  return fmt::format("{}{}", name, name.ends_with('s') ? "'" : "'s");
}

std::string preprocessing_text(const Preprocessing& preprocessing) {
  return fmt::format(
      "{} resized to {} pixels ({}), the middle {} of them, mean {:.4g}, std {:.4g}",
      preprocessing.resize_mode == ResizeMode::squash ? "both sides" : "the shorter side",
      preprocessing.resize, kFilterNames[static_cast<std::size_t>(preprocessing.filter)],
      preprocessing.crop, fmt::join(preprocessing.mean, " "), fmt::join(preprocessing.std, " "));
}

void print_description(const Findings& findings) {
  if (!findings.described) {
    print(fmt::format("as a model: {}\n", printable(findings.undescribed)));
    return;
  }
  const ModelConfig& config = findings.described->config;
  print(
      fmt::format("as a model: {}, a {} by {} names: {}; patches of {} pixels, images of {}; "
                  "{}{}\nimages: {}\n",
                  printable(config.name), config.family == Family::vit ? "ViT" : "Swin",
                  possessive(findings.described->library), blocks_text(config), config.patch_size,
                  config.img_size, output_text(config), differences_text(config),
                  preprocessing_text(config.preprocessing)));
  for (const std::string& note : findings.described->notes) {
    print(fmt::format("{}\n", printable(note)));
  }
}

std::uint64_t count_elements(const TensorFile& file) {
  std::uint64_t count = 0;
  for (const auto& [name, tensor] : file.tensors()) {
    count += tensor.element_count;
  }
  return count;
}

/// About the file, and about how its tensors fit.
std::vector<std::string> all_notes(const TensorFile& file, const Findings& findings) {
  std::vector<std::string> notes = file.notes();
  notes.insert(notes.end(), findings.fit.notes.begin(), findings.fit.notes.end());
  return notes;
}

void print_fit(const Findings& findings) {
  const CheckpointFit& fit = findings.fit;
  if (!findings.models.empty()) {
    print(fmt::format("fits {}\n",
                      printable(fmt::format("{}", fmt::join(findings.models, " and ")))));
    return;
  }
  if (!fit.obstacle.empty()) {
    print(fmt::format("fits no model: {}\n", printable(fit.obstacle)));
    return;
  }
  print(fmt::format("fits no known model; nearest is {}, of which {} tensors do not fit:\n",
                    printable(findings.nearest), fit.misfits.size()));
  for (std::size_t i = 0; i < std::min(fit.misfits.size(), kMisfitsShown); ++i) {
    print(fmt::format("  {}\n", printable(fit.misfits[i])));
  }
  if (fit.misfits.size() > kMisfitsShown) {
    print(fmt::format("  and {} more\n", fit.misfits.size() - kMisfitsShown));
  }
  if (!fit.advice.empty()) {
    print(fmt::format("{}\n", printable(fit.advice)));
  }
}

void print_text(const TensorFile& file, const Findings& findings) {
  for (const auto& [name, tensor] : file.tensors()) {
    print(fmt::format("{:<64} {:<5} {}\n", printable(name), printable(tensor.dtype_name),
                      shape_text(tensor)));
  }
  for (const auto& [key, value] : file.metadata()) {
    print(fmt::format("metadata {}: {}\n", printable(key), shortened(value)));
  }
  print(fmt::format("{} tensors, {} elements\n", file.tensors().size(), count_elements(file)));
  if (!findings.config_error.empty()) {
    print(fmt::format("the metadata's config cannot be used: {}\n",
                      printable(findings.config_error)));
  }
  for (const std::string& note : all_notes(file, findings)) {
    print(fmt::format("{}\n", printable(note)));
  }
  if (is_quantized(file)) {
    const auto shown = [&](const char* key) { return shortened(metadata_or_unknown(file, key)); };
    print(fmt::format(
        "a quantized model: {}, {}, weights of {} bits, activations of {}, file format {}; run it "
        "with bitlog2 eval --quantized or bitlog2 predict --quantized\n",
        findings.config ? printable(findings.config->name) : "?", shown("scheme"), shown("w_bits"),
        shown("a_bits"), shown("format_version")));
    return;
  }
  if (!findings.described || !findings.models.empty()) {
    print_fit(findings);
  }
  print_description(findings);
}

ordered_json to_json(const TensorFile& file, const Findings& findings) {
  ordered_json document;
  document["tensors"] = ordered_json::object();
  for (const auto& [name, tensor] : file.tensors()) {
    document["tensors"][name] = {{"dtype", tensor.dtype_name}, {"shape", tensor.shape}};
  }
  document["metadata"] = file.metadata();
  document["elements"] = count_elements(file);
  document["quantized"] = is_quantized(file);
  document["fits"] = findings.models;
  document["nearest"] = findings.nearest;
  document["obstacle"] = findings.fit.obstacle;
  document["misfits"] = findings.fit.misfits;
  document["advice"] = findings.fit.advice;
  document["notes"] = all_notes(file, findings);
  document["config_error"] = findings.config_error;
  document["model"] = nullptr;
  if (findings.described) {
    document["model"] = ordered_json::parse(config_to_json(findings.described->config));
    document["library"] = findings.described->library;
    document["assumed"] = findings.described->notes;
  } else {
    document["missing"] = findings.undescribed;
  }
  return document;
}

}  // namespace

void add_inspect(CLI::App& app, std::function<int()>& run) {
  struct Options {
    std::string file;
    Output json;
  };
  const auto options = std::make_shared<Options>();
  CLI::App* command =
      app.add_subcommand("inspect", "List a checkpoint's tensors and say which model it is");
  command
      ->add_option("file", options->file,
                   "A checkpoint: .safetensors, .pth, .bin, an index of shards, or a folder as "
                   "timm or transformers save a model")
      ->required();
  add_json_option(*command, options->json, "Write what the file holds");
  command->callback([options, &run] {
    run = [options] {
      const std::filesystem::path path = weights_in(options->file);
      check_outputs({options->json}, {path});
      const TensorFile file = open_tensors(path);
      Findings findings = examine(file);
      if (!is_quantized(file)) {
        describe(options->file, file, findings);
      }
      if (!options->json.to_stdout()) {
        print_text(file, findings);
      }
      write_json(options->json, to_json(file, findings));
      return 0;
    };
  });
}

}  // namespace bitlog2::cli
