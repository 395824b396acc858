// `bitlog2 embed`: the embeddings of images, by a quantized encoder or a checkpoint in float32, as
// one file. Images are read, and embeddings written, a few at a time.
#include <fmt/format.h>

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <algorithm>
#include <cmath>
#include <memory>
#include <nlohmann/json.hpp>

#include "bitlog2/embedding_file.h"
#include "bitlog2/encoder.h"
#include "bitlog2/error.h"
#include "bitlog2/integer.h"
#include "cli/commands.h"
#include "cli/console.h"
#include "cli/images.h"
#include "cli/interrupt.h"
#include "cli/job.h"
#include "cli/options.h"
#include "cli/progress.h"

namespace bitlog2::cli {
namespace {

struct EmbedOptions {
  ModelSource model;
  std::string quantized;  // instead
  std::string pool;
  std::string isa;
  std::vector<std::string> images;
  bool normalize = false;
  bool strict = false;
  std::size_t threads = 0;
  Output output;
  Output json;
};

void check_options(const CLI::App& command, const EmbedOptions& options) {
  check_model_choice("embed", options.quantized, options.model);
  if (!options.quantized.empty()) {
    refuse_what_the_file_decides(command, options.quantized);
  } else if (!options.isa.empty()) {
    throw Error("--isa is of the integer engine, which runs quantized files; leave it out");
  }
  if (options.output.to_stdout()) {
    throw Error("-o -: embeddings cannot go to stdout; give a file's name");
  }
}

/// All files that are written.
std::vector<Output> outputs_of(const EmbedOptions& options) {
  std::vector<Output> outputs = {options.output, options.json};
  if (const auto names = names_path(options.output.path)) {
    outputs.push_back({"the names of " + options.output.option, names->string()});
  }
  return outputs;
}

std::unique_ptr<Engine> load_engine(const EmbedOptions& options) {
  if (options.quantized.empty()) {
    return make_fp32_engine(load_encoder(options.model, options.pool).model);
  }
  auto engine = IntegerEngine::open(options.quantized, options.isa);
  require_embeddings(engine->config(), options.quantized);
  return engine;
}

/// Divides by the Euclidean norm; 0 stays.
void normalize(std::span<float> embedding) {
  double square = 0;
  for (const float value : embedding) {
    square += static_cast<double>(value) * value;
  }
  if (square > 0) {
    const double norm = std::sqrt(square);
    std::ranges::for_each(embedding,
                          [&](float& value) { value = static_cast<float>(value / norm); });
  }
}

/// The result for one image.
struct Embedding {
  std::vector<float> values;
  std::string error;  ///< why there are none
};

/// One run of `bitlog2 embed`.
class EmbedRun {
 public:
  explicit EmbedRun(const EmbedOptions& options) : options_(options), stop_(catch_interrupt()) {}

  int run() {
    check_outputs(outputs_of(options_),
                  files_read(options_.images, options_.quantized, options_.model));
    try {
      embed();
    } catch (const Interrupted&) {
      write_json(options_.json, {{"file", nullptr}, {"interrupted", true}});
      throw;
    }
    return skipped_ == 0 ? 0 : 1;
  }

 private:
  void embed() {
    engine_ = load_engine(options_);
    const ModelConfig& config = engine_->config();
    const std::vector<std::string> paths = images_named(options_.images);
    ThreadPool pool(thread_count(options_.threads));
    EmbeddingFile file(options_.output.path, output_size(config),
                       {{"model", config.name},
                        {"engine", engine_name()},
                        {"normalized", options_.normalize ? "true" : "false"}});
    embed_all(paths, pool, file);
    if (file.count() == 0) {
      throw Error(
          fmt::format("none of the {} images could be read; nothing was written", paths.size()));
    }
    file.commit();
    report(file.count());
  }

  std::string engine_name() const { return options_.quantized.empty() ? "fp32" : "integer"; }

  void embed_all(const std::vector<std::string>& paths, ThreadPool& pool, EmbeddingFile& file) {
    Progress progress("embedding");
    // A few images for each thread at a time, whose embeddings are written in order.
    std::vector<Embedding> embeddings(4 * pool.size());
    for (std::size_t first = 0; first < paths.size(); first += embeddings.size()) {
      embeddings.resize(std::min(embeddings.size(), paths.size() - first));
      pool.parallel_for(embeddings.size(), 1, [&](std::size_t i, std::size_t) {
        if (!stop_) {
          embeddings[i] = embed_image(paths[first + i]);
        }
      });
      if (stop_) {
        throw Interrupted();
      }
      for (std::size_t i = 0; i < embeddings.size(); ++i) {
        write(paths[first + i], embeddings[i], file);
      }
      progress.show(first + embeddings.size(), paths.size());
    }
  }

  Embedding embed_image(const std::string& path) const {
    Embedding embedding;
    try {
      const RgbImage crop = read_crop(path, engine_->config().preprocessing, stop_);
      embedding.values = engine_->logits(std::span(&crop, 1));
    } catch (const Error& error) {
      embedding.error = error.what();
    }
    if (options_.normalize) {
      normalize(embedding.values);
    }
    return embedding;
  }

  void write(const std::string& path, const Embedding& embedding, EmbeddingFile& file) {
    if (embedding.error.empty()) {
      file.append(path, embedding.values);
      return;
    }
    if (options_.strict) {
      throw Error(embedding.error);
    }
    tell("bitlog2: error: " + embedding.error);
    ++skipped_;
  }

  void report(std::size_t count) const {
    const ModelConfig& config = engine_->config();
    tell_saturations(config.name, *engine_);
    const auto names = names_path(options_.output.path);
    if (!options_.json.to_stdout()) {
      print(fmt::format("{}: {} embeddings of {} values by {} ({}){}\n",
                        printable(options_.output.path), count, output_size(config),
                        printable(config.name), engine_name(),
                        names ? "; names in " + printable(names->string()) : ""));
    }
    write_json(options_.json, {{"file", options_.output.path},
                               {"names", names ? nlohmann::ordered_json(names->string())
                                               : nlohmann::ordered_json(nullptr)},
                               {"model", config.name},
                               {"engine", engine_name()},
                               {"normalized", options_.normalize},
                               {"embeddings", count},
                               {"values", output_size(config)},
                               {"skipped", skipped_}});
  }

  const EmbedOptions& options_;
  const std::atomic<bool>& stop_;
  std::unique_ptr<Engine> engine_;
  std::size_t skipped_ = 0;
};

}  // namespace

void add_embed(CLI::App& app, std::function<int()>& run) {
  const auto options = std::make_shared<EmbedOptions>();
  CLI::App* command =
      app.add_subcommand("embed", "Write what an encoder makes of images, quantized or in float32");
  command->add_option("--quantized", options->quantized,
                      "An encoder made by bitlog2 quantize --pool");
  add_model_options(*command, options->model);
  command->add_option("images", options->images, "Images, or folders of them")->required();
  add_output_option(*command, "-o,--output", options->output,
                    "The file to write, .npy (with names beside it) or .safetensors")
      ->required();
  add_pool_option(*command, options->pool);
  command->add_flag("--normalize", options->normalize, "Divide each embedding by its norm");
  add_threads_option(*command, options->threads);
  command->add_flag("--strict", options->strict, "Stop at an image that cannot be read");
  command->add_option("--isa", options->isa,
                      "Instruction set of the integer engine (default: the machine's best)");
  add_json_option(*command, options->json, "Write what was made");
  command->callback([options, command, &run] {
    run = [options, command] {
      check_options(*command, *options);
      return EmbedRun(*options).run();
    };
  });
}

}  // namespace bitlog2::cli
