// `bitlog2 inspect`: what a checkpoint holds, and which model it is.
#include <fmt/format.h>

#include <CLI/App.hpp>
#include <memory>
#include <nlohmann/json.hpp>

#include "bitlog2/error.h"
#include "bitlog2/model.h"
#include "bitlog2/safetensors.h"
#include "cli/commands.h"
#include "cli/console.h"
#include "cli/options.h"

namespace bitlog2::cli {
namespace {

constexpr std::size_t kMisfitsShown = 5;

std::string shape_text(const TensorView& tensor) {
  std::string text;
  for (const std::uint64_t size : tensor.shape) {
    text += fmt::format("{}{}", text.empty() ? "" : " x ", size);
  }
  return text.empty() ? "scalar" : text;
}

/// Models that could be meant: the file's own config, if it has one, and the published ones.
std::vector<ModelConfig> candidates(const Safetensors& file) {
  std::vector<ModelConfig> configs;
  const auto own = file.metadata().find("config");
  if (own != file.metadata().end()) {
    configs.push_back(parse_config(own->second, file.name()));
    return configs;
  }
  for (const NamedModel& model : named_models()) {
    configs.push_back(model.config);
  }
  return configs;
}

struct Fit {
  std::vector<std::string> models;  ///< that the file fits
  std::string nearest;              ///< else the one with the fewest misfits
  std::vector<std::string> misfits;
};

Fit find_fit(const Safetensors& file) {
  Fit fit;
  for (const ModelConfig& config : candidates(file)) {
    std::vector<std::string> misfits = checkpoint_misfits(file, config);
    if (misfits.empty()) {
      fit.models.push_back(config.name);
    } else if (fit.nearest.empty() || misfits.size() < fit.misfits.size()) {
      fit.nearest = config.name;
      fit.misfits = std::move(misfits);
    }
  }
  return fit;
}

std::uint64_t count_elements(const Safetensors& file) {
  std::uint64_t count = 0;
  for (const auto& [name, tensor] : file.tensors()) {
    count += tensor.element_count;
  }
  return count;
}

std::string join(const std::vector<std::string>& words, const char* separator) {
  std::string text;
  for (const std::string& word : words) {
    text += (text.empty() ? "" : separator) + word;
  }
  return text;
}

void print_text(const Safetensors& file, const Fit& fit) {
  for (const auto& [name, tensor] : file.tensors()) {
    print(fmt::format("{:<64} {:<5} {}\n", name, tensor.dtype_name, shape_text(tensor)));
  }
  for (const auto& [key, value] : file.metadata()) {
    print(fmt::format("metadata {}: {}\n", key, value));
  }
  print(fmt::format("{} tensors, {} elements\n", file.tensors().size(), count_elements(file)));
  if (!fit.models.empty()) {
    print(fmt::format("fits {}\n", join(fit.models, " and ")));
    return;
  }
  print(fmt::format("fits no known model; nearest is {}, of which {} tensors do not fit:\n",
                    fit.nearest, fit.misfits.size()));
  for (std::size_t i = 0; i < std::min(fit.misfits.size(), kMisfitsShown); ++i) {
    print(fmt::format("  {}\n", fit.misfits[i]));
  }
  if (fit.misfits.size() > kMisfitsShown) {
    print(fmt::format("  and {} more\n", fit.misfits.size() - kMisfitsShown));
  }
}

void write_json(const Safetensors& file, const Fit& fit, const Output& json) {
  nlohmann::ordered_json document;
  document["tensors"] = nlohmann::ordered_json::object();
  for (const auto& [name, tensor] : file.tensors()) {
    document["tensors"][name] = {{"dtype", tensor.dtype_name}, {"shape", tensor.shape}};
  }
  document["metadata"] = file.metadata();
  document["elements"] = count_elements(file);
  document["fits"] = fit.models;
  document["nearest"] = fit.nearest;
  document["misfits"] = fit.models.empty() ? fit.misfits : std::vector<std::string>();
  write_json(json, document);
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
  command->add_option("file", options->file, "A .safetensors file")->required();
  add_json_option(*command, options->json, "Write what the file holds");
  command->callback([options, &run] {
    run = [options] {
      check_outputs({options->json}, {options->file});
      const Safetensors file = Safetensors::open(options->file);
      const Fit fit = find_fit(file);
      if (!options->json.to_stdout()) {
        print_text(file, fit);
      }
      write_json(file, fit, options->json);
      return 0;
    };
  });
}

}  // namespace bitlog2::cli
