// Checkpoints: timm's names, current and older, to a model's parameters. A file is
// checked whole before anything is read from it.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>

#include "bitlog2/dataset.h"
#include "bitlog2/error.h"
#include "bitlog2/model.h"
#include "model/names/assembly.h"
#include "model/names/checkpoint_names.h"
#include "model/names/class_name_list.h"

namespace bitlog2 {
namespace {

constexpr std::size_t kMisfitsNamed = 4;  // in a message

std::string shape_text(const std::vector<std::uint64_t>& shape) {
  return fmt::format("[{}]", fmt::join(shape, ", "));
}

// ---- What a checkpoint of something else is ---------------------------------------------

struct OtherNaming {
  std::string_view part;  ///< of a name, as only this library has it
  std::string_view library;
};

constexpr auto kOtherNamings =
    std::to_array<OtherNaming>({{"visual.transformer.resblocks.", "OpenCLIP's"},
                                {"patch_embed.projection.", "MMPretrain's"},
                                {"attn.w_msa.", "MMPretrain's"},
                                {"to_patch_embedding.", "vit-pytorch's"},
                                {"Transformer/encoderblock_", "JAX's (big_vision)"}});

struct UnknownPart {
  std::string_view part;  ///< of a name
  std::string_view what;
};

constexpr auto kUnknownParts =
    std::to_array<UnknownPart>({{"mlp.fc1_g.", "a SwiGLU MLP of two layers"},
                                {"mlp.gate_proj.", "a SwiGLU MLP of two layers"},
                                {"mlp.norm.", "a norm inside its MLPs"},
                                {"attn.q_norm.", "normalised queries and keys"},
                                {"norm1.bias_", "an unknown LayerNorm"},
                                {"attn.logit_scale", "Swin V2's cosine attention"}});

/// Why the file is no checkpoint of any supported model; empty if it may be one.
std::string find_obstacle(const TensorFile& file, const CheckpointNames& names) {
  const auto format = file.metadata().find("format");
  if (format != file.metadata().end() && format->second == "bitlog2") {
    return "it is a quantized model already; run it with bitlog2 eval --quantized or bitlog2 "
           "predict --quantized";
  }
  for (const auto& [name, tensor] : file.tensors()) {
    if (name.find(".lora_A.") != std::string::npos) {
      return fmt::format(
          "it holds LoRA adapters ('{}'), which change another checkpoint; merge them into it "
          "(PEFT's merge_and_unload) and save that",
          name);
    }
    const auto* naming =
        std::ranges::find_if(kOtherNamings, [&text = name](const OtherNaming& other) {
          return text.find(other.part) != std::string::npos;
        });
    if (naming != kOtherNamings.end()) {
      return fmt::format(
          "its tensors have {} names ('{}'); those of timm, transformers and torchvision are "
          "known: "
          "save the model from one of these, or rename its tensors",
          naming->library, name);
    }
  }
  for (const UnknownPart& unknown : kUnknownParts) {
    if (names.contains_part(unknown.part)) {
      return fmt::format("it has {} ('{}'), which is not supported", unknown.what, unknown.part);
    }
  }
  if (names.twice()) {
    const auto quoted = [](const std::string& prefix) {
      return prefix.empty() ? std::string("no prefix") : fmt::format("'{}'", prefix);
    };
    const auto& [first, second] = *names.twice();
    const std::string& kept = second.empty() ? first : second;
    return fmt::format(
        "it holds the weights twice, under {} and under {}; keep one: python3 -c \"import "
        "safetensors.torch as s; s.save_file({{k.removeprefix('{}'): v for k, v in "
        "s.load_file('FILE').items() if k.startswith('{}')}}, 'one.safetensors')\"",
        quoted(first), quoted(second), kept, kept);
  }
  return "";
}

/// Tensors that do not fit a model, and the data for advice about them.
struct Differences {
  std::vector<std::string> misfits;
  std::map<std::string, const TensorView*> by_parameter;  ///< nullptr: missing
  bool strangers = false;                                 ///< tensors that are no parameter
};

/// The side of the image for which a position embedding was made; 0 if that cannot be told.
std::size_t embedded_image_size(const TensorView& embedding, const ModelConfig& config) {
  if (embedding.shape.size() != 3 || embedding.shape[2] != config.embed_dim ||
      embedding.shape[1] < 2 || embedding.shape[1] > (1U << 20)) {
    return 0;
  }
  const std::size_t patches = static_cast<std::size_t>(embedding.shape[1]) - 1;
  const auto side = static_cast<std::size_t>(std::lround(std::sqrt(static_cast<double>(patches))));
  return side * side == patches ? side * config.patch_size : 0;
}

/// What to do if all that differs is the head, or the position embedding, or both.
std::string advice_about(const Differences& differences, const ModelConfig& config) {
  if (differences.strangers || differences.by_parameter.empty()) {
    return "";
  }
  const std::size_t features = config.embed_dim << (config.depths.size() - 1);
  std::vector<std::string> causes;
  std::vector<std::string> keys;
  bool headless = false;
  for (const auto& [name, tensor] : differences.by_parameter) {
    if (name == "head.bias") {
      continue;  // goes with head.weight
    }
    if (name == "head.weight" && tensor == nullptr) {
      headless = true;
    } else if (name == "head.weight" && tensor->shape.size() == 2 &&
               tensor->shape[0] != config.num_classes && tensor->shape[1] == features) {
      causes.push_back(fmt::format("its head has {} classes, {} has {}", tensor->shape[0],
                                   config.name, config.num_classes));
      keys.push_back(fmt::format("\"num_classes\": {}", tensor->shape[0]));
    } else if (name == "pos_embed" && tensor != nullptr &&
               embedded_image_size(*tensor, config) > 0) {
      const std::size_t size = embedded_image_size(*tensor, config);
      causes.push_back(fmt::format("its position embedding is for images of {} x {}, {} has {}",
                                   size, size, config.name, config.img_size));
      keys.push_back(fmt::format("\"img_size\": {}", size));
    } else {
      return "";  // something else differs
    }
  }
  if (headless) {
    return fmt::format(
        "it has no head (head.weight), so it classifies nothing; give a checkpoint of {} that was "
        "trained to classify",
        config.name);
  }
  if (causes.empty()) {
    return "";
  }
  return fmt::format("{}; use --config FILE.json with {} (docs/datasets-and-configs.md)",
                     fmt::join(causes, ", "), fmt::join(keys, ", "));
}

std::string list_of(const std::set<std::string>& names, std::string_view quote) {
  constexpr std::size_t kMostNamed = 4;
  std::string text;
  std::size_t named = 0;
  for (const std::string& name : names) {
    if (named == kMostNamed) {
      return fmt::format("{} and {} more", text, names.size() - named);
    }
    text += fmt::format("{}{}{}{}", named == 0 ? "" : ", ", quote, name, quote);
    ++named;
  }
  return text;
}

std::string message_of(const CheckpointFit& fit, const std::string& model) {
  if (!fit.obstacle.empty() || !fit.advice.empty()) {
    return fit.obstacle.empty() ? fit.advice : fit.obstacle;
  }
  const std::size_t named = std::min(fit.misfits.size(), kMisfitsNamed);
  std::string text =
      fmt::format("not a checkpoint of {}: {}", model,
                  fmt::join(fit.misfits.begin(),
                            fit.misfits.begin() + static_cast<std::ptrdiff_t>(named), "; "));
  if (fit.misfits.size() > named) {
    text += fmt::format("; and {} more", fit.misfits.size() - named);
  }
  return text;
}

/// Why a piece does not fit, if it does not.
std::optional<std::string> misfit_of(const Piece& piece, const CheckpointNames& names) {
  const TensorView* tensor = names.find(piece.name);
  if (tensor == nullptr) {
    return piece.optional
               ? std::nullopt
               : std::optional(fmt::format("'{}' is missing", names.in_file(piece.name)));
  }
  const auto without_ones = [](std::vector<std::uint64_t> shape) {
    std::erase(shape, 1U);
    return shape;
  };
  if (!piece.shape.empty() && without_ones(tensor->shape) != without_ones(piece.shape)) {
    return fmt::format("'{}' is {}, not {}", names.in_file(piece.name), shape_text(tensor->shape),
                       shape_text(piece.shape));
  }
  return std::nullopt;
}

CheckpointFit fit_names(const TensorFile& file, const CheckpointNames& names,
                        const ModelConfig& config, std::optional<PositionResize> position_resize) {
  CheckpointFit fit;
  fit.obstacle = find_obstacle(file, names);
  if (!fit.obstacle.empty()) {
    return fit;
  }
  Differences differences;
  std::set<std::string> expected;
  Model model = make_model(config);
  for_each_parameter(model, [&](const Parameter& parameter) {
    for (const Piece& piece : assembly_of(parameter, config, names, position_resize).pieces) {
      expected.insert(piece.name);
      if (auto misfit = misfit_of(piece, names)) {
        differences.misfits.push_back(std::move(*misfit));
        differences.by_parameter.emplace(parameter.name, names.find(piece.name));
      }
    }
  });
  std::set<std::string> counters;
  const auto pass_over = [&](const std::string& in_file) {
    if (is_counter(in_file, file.at(in_file))) {
      counters.insert(last_part(in_file));
    } else {
      differences.misfits.push_back(fmt::format("'{}' is not part of it", in_file));
      differences.strangers = true;
    }
  };
  std::set<std::string> unused = names.unused_parts();
  for (const auto& [name, in_file] : names.all()) {
    if (config.pooling == Pooling::mean && name.starts_with("attn_pool.")) {
      unused.insert("attention pooling");  // of a SigLIP with a classifier
    } else if (!expected.contains(name)) {
      pass_over(in_file);
    }
  }
  std::ranges::for_each(names.strangers(), pass_over);
  if (!names.prefixes().empty()) {
    fit.notes.push_back(
        fmt::format("its names are read without {}", list_of(names.prefixes(), "'")));
  }
  if (!counters.empty()) {
    fit.notes.push_back(
        fmt::format("tensors that are no weights are ignored: {}", list_of(counters, "")));
  }
  if (!unused.empty()) {
    fit.notes.push_back(fmt::format("parts that the image model does not need are ignored: {}",
                                    list_of(unused, "")));
  }
  fit.advice = advice_about(differences, config);
  if (config.pooling == Pooling::class_token &&
      (names.contains("dist_token") || names.contains("head_dist.weight"))) {
    fit.advice =
        "it is a distilled DeiT, with dist_token and a second head; give --model FILE, without a "
        "published name and without a config of another model";
  }
  fit.misfits = std::move(differences.misfits);
  return fit;
}

/// Where a file's metadata may name the classes.
constexpr std::array kClassNameKeys = {"class_names", "label_names", "id2label"};

bool is_published(const ModelConfig& config) {
  return std::ranges::any_of(
      named_models(), [&](const NamedModel& model) { return model.config.name == config.name; });
}

}  // namespace

CheckpointFit fit_checkpoint(const TensorFile& file, const ModelConfig& config) {
  return fit_names(file, CheckpointNames(file), config, std::nullopt);
}

LoadedCheckpoint load_checkpoint(const TensorFile& file, const ModelConfig& config,
                                 std::optional<PositionResize> position_resize) {
  const CheckpointNames names(file);
  const CheckpointFit fit = fit_names(file, names, config, position_resize);
  if (!fit.fits()) {
    throw Error(fmt::format("{}: {}", file.name(), message_of(fit, config.name)));
  }
  LoadedCheckpoint result = {make_model(config), {}};
  for_each_parameter(result.model, [&](const Parameter& parameter) {
    const Assembly assembly = assembly_of(parameter, config, names, position_resize);
    std::vector<std::vector<float>> pieces;
    for (const Piece& piece : assembly.pieces) {
      const bool there = names.contains(piece.name);
      pieces.push_back(there ? file.read_floats(names.in_file(piece.name)) : std::vector<float>());
    }
    parameter.values = assembly.combine(std::move(pieces));
  });
  for (const auto* notes : {&file.notes(), &fit.notes}) {
    for (const std::string& note : *notes) {
      result.notes.push_back(fmt::format("{}: {}", file.name(), note));
    }
  }
  return result;
}

Model load_model(const TensorFile& file, const ModelConfig& config) {
  return load_checkpoint(file, config).model;
}

bool names_classes(const TensorFile& file) {
  return std::ranges::any_of(kClassNameKeys,
                             [&](const char* key) { return file.metadata().contains(key); });
}

std::vector<std::string> class_names(const TensorFile& file, const ModelConfig& config) {
  for (const char* key : kClassNameKeys) {
    const auto found = file.metadata().find(key);
    if (found == file.metadata().end()) {
      continue;
    }
    auto names = class_name_list(nlohmann::json::parse(found->second, nullptr, false));
    if (names.size() != config.num_classes) {
      throw Error(
          fmt::format("{}: metadata '{}' is not {} of {} strings", file.name(), key,
                      key == std::string_view("id2label") ? "a JSON object" : "a JSON array",
                      config.num_classes));
    }
    return names;
  }
  std::vector<std::string> result;
  if (config.num_classes == imagenet_classes().size() && is_published(config)) {
    for (const ImageNetClass& entry : imagenet_classes()) {
      result.emplace_back(entry.name);
    }
  }
  return result;
}

}  // namespace bitlog2
