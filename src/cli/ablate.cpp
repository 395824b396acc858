// `bitlog2 ablate`: where accuracy goes. Each group of quantizers switched off in turn, or each
// part of the recipe `best` alone and left out.
#include <fmt/format.h>

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <numeric>

#include "bitlog2/engine.h"
#include "bitlog2/files.h"
#include "cli/commands.h"
#include "cli/interrupt.h"
#include "cli/job.h"
#include "cli/options.h"

namespace bitlog2::cli {
namespace {

using nlohmann::ordered_json;

constexpr const char* kStandardOutput = "-";

struct AblateOptions {
  ModelChoice model;
  CalibrationOptions calibration;
  SchemeOptions scheme;
  std::string of = "groups";
  std::size_t limit = 0;
  std::string json;
};

/// One line of the table: what differs, and the settings; none is float32.
struct Case {
  std::string name;
  std::optional<QuantizationSettings> settings;
};

std::vector<Case> group_cases(const QuantizationSettings& settings) {
  std::vector<Case> cases = {{"nothing (float32)", std::nullopt}, {"everything", settings}};
  for (const NamedQuantizerGroup& group : kQuantizerGroups) {
    cases.push_back({fmt::format("all but {}", group.name), settings});
    cases.back().settings->skipped = group.group;
  }
  return cases;
}

std::vector<Case> part_cases(QuantizationSettings settings) {
  const Recipe best = find_recipe("best");
  std::vector<Case> cases;
  const auto add = [&](const std::string& name, const Recipe& recipe) {
    settings.recipe = recipe;
    cases.push_back({name, settings});
  };
  // Each part of `from` as it is not there: alone beside repq, left out of best.
  const auto add_each = [&](const std::string& name, const Recipe& from) {
    for (std::size_t scheme = 0; scheme < kGeluSchemes.size(); ++scheme) {
      Recipe recipe = from;
      recipe.gelu_quant_scheme = static_cast<Recipe::GeluScheme>(scheme);
      if (recipe.gelu_quant_scheme != from.gelu_quant_scheme) {
        add(fmt::format("{}, {} {}", name, kGeluSchemePart, kGeluSchemes[scheme]), recipe);
      }
    }
    for (const RecipePart& part : kRecipeParts) {
      Recipe recipe = from;
      recipe.*part.member = !(from.*part.member);
      add(fmt::format("{}, {} {}", name, part.name, recipe.*part.member ? part.on : part.off),
          recipe);
    }
  };
  cases.push_back({"float32", std::nullopt});
  add("repq", Recipe{});
  add_each("repq", Recipe{});
  add("best", best);
  add_each("best", best);
  return cases;
}

int ablate(const AblateOptions& options) {
  const std::atomic<bool>& stop = catch_interrupt();
  const bool to_stdout = options.json == kStandardOutput;
  if (!options.json.empty() && !to_stdout) {
    check_writable(options.json);
  }
  const QuantizationSettings settings = options.scheme.settings();
  const LoadedModel loaded = load_chosen_model(options.model);
  ThreadPool pool(thread_count(options.calibration.threads));
  PreparedData data = prepare_data(loaded.model.config, options.calibration, pool);
  if (options.limit > 0 && options.limit < data.validation.size()) {
    std::vector<std::size_t> first(options.limit);
    std::iota(first.begin(), first.end(), std::size_t{0});
    data.validation = data.validation.subset(first);
  }
  if (!to_stdout) {
    fmt::print("{} {}\n{:<44} {:>7} {:>7} {:>7}\n", loaded.model.config.name, settings.name(),
               options.of == "groups" ? "quantized" : "recipe", "top-1", "top-5", "loss");
  }
  ordered_json rows = ordered_json::array();
  for (const Case& item : options.of == "groups" ? group_cases(settings) : part_cases(settings)) {
    std::unique_ptr<Engine> engine;
    if (item.settings) {
      engine = make_simulated_engine(
          calibrate_with_progress(loaded.model, *item.settings, data.calibration, pool, stop)
              .quantized);
    } else {
      engine = make_fp32_engine(loaded.model);
    }
    const Accuracy accuracy =
        evaluate_with_progress(item.name, *engine, data.validation,
                               {.threads = pool.size(), .stop = &stop, .report = {}})
            .accuracy;
    if (stop) {
      throw Interrupted();
    }
    if (!to_stdout) {
      fmt::print("{:<44} {:>7.2f} {:>7.2f} {:>7.4f}\n", item.name, accuracy.top1(), accuracy.top5(),
                 accuracy.loss());
      std::fflush(stdout);
    }
    rows.push_back({{"case", item.name},
                    {"images", accuracy.images},
                    {"top1", accuracy.top1()},
                    {"top5", accuracy.top5()},
                    {"loss", accuracy.loss()}});
  }
  const ordered_json document = {{"model", loaded.model.config.name},
                                 {"settings", settings.name()},
                                 {"recipe", ordered_json::parse(recipe_to_json(settings.recipe))},
                                 {"cases", rows}};
  if (to_stdout) {
    fmt::print("{}\n", document.dump(1));
  } else if (!options.json.empty()) {
    write_file_atomically(options.json, document.dump(1) + "\n");
  }
  return 0;
}

}  // namespace

void add_ablate(CLI::App& app, std::function<int()>& run) {
  const auto options = std::make_shared<AblateOptions>();
  CLI::App* command = app.add_subcommand(
      "ablate", "Say where accuracy goes: each group of quantizers off in turn (simulated)");
  add_model_options(*command, options->model);
  add_calibration_options(*command, options->calibration);
  add_scheme_options(*command, options->scheme);
  command
      ->add_option("--of", options->of,
                   "What to switch: groups of quantizers, or the parts of the recipe best, each "
                   "alone and each left out")
      ->check(CLI::IsMember({"groups", "parts"}))
      ->capture_default_str();
  command->add_option("--limit", options->limit, "Evaluate the first N images only")
      ->check(CLI::NonNegativeNumber);
  command->add_option("--json", options->json, "Write the table as JSON ('-': to stdout instead)");
  command->callback([options, &run] { run = [options] { return ablate(*options); }; });
}

}  // namespace bitlog2::cli
