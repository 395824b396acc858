// `bitlog2 ablate`: where accuracy goes. Each group of quantizers switched off in turn, or each
// part of the recipe `best` alone and left out.
#include <fmt/format.h>

#include <CLI/App.hpp>
#include <memory>
#include <nlohmann/json.hpp>

#include "bitlog2/engine.h"
#include "cli/commands.h"
#include "cli/console.h"
#include "cli/interrupt.h"
#include "cli/job.h"
#include "cli/options.h"

namespace bitlog2::cli {
namespace {

using nlohmann::ordered_json;

struct AblateOptions {
  ModelSource model;
  CalibrationOptions calibration;
  SchemeOptions scheme;
  std::string of = "groups";
  SubsetOptions subset;
  Output json;
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
  // Each part with the value that it does not have in `from`: added to repq, or left out of best.
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
  check_outputs({options.json}, files_read(options.model, options.calibration));
  const QuantizationSettings settings = options.scheme.settings();
  const LoadedModel loaded = load_and_tell(options.model);
  require_classes(loaded.model.config, loaded.model.config.name);
  ThreadPool pool(thread_count(options.calibration.threads));
  PreparedData data =
      prepare_data(loaded.model.config, loaded.class_names, options.calibration, pool);
  data.validation = take_subset(data.validation, options.subset, options.calibration.seed);
  const auto show = [&](const std::string& text) {
    if (!options.json.to_stdout()) {
      print(text);
      flush_output();
    }
  };
  show(fmt::format("{} {}\n{:<44} {:>7} {:>7} {:>7}\n", printable(loaded.model.config.name),
                   settings.name(), options.of == "groups" ? "quantized" : "recipe", "top-1",
                   "top-5", "loss"));
  ordered_json rows = ordered_json::array();
  const auto add_case = [&](const Case& item) {
    std::unique_ptr<Engine> engine;
    if (item.settings) {
      engine = make_simulated_engine(
          calibrate_with_progress(loaded.model, *item.settings, data.calibration,
                                  options.calibration.memory_bytes, pool, stop)
              .quantized);
    } else {
      engine = make_fp32_engine(loaded.model);
    }
    const Accuracy accuracy =
        evaluate_with_progress(item.name, *engine, data.validation, pool,
                               {.strict = options.calibration.strict, .stop = &stop, .report = {}})
            .accuracy;
    if (stop) {
      throw Interrupted();
    }
    show(fmt::format("{:<44} {:>7.2f} {:>7.2f} {:>7.4f}\n", item.name, accuracy.top1(),
                     accuracy.top5(), accuracy.loss()));
    rows.push_back({{"case", item.name},
                    {"images", accuracy.images},
                    {"top1", accuracy.top1()},
                    {"top5", accuracy.top5()},
                    {"loss", accuracy.loss()}});
  };
  try {
    for (const Case& item : options.of == "groups" ? group_cases(settings) : part_cases(settings)) {
      add_case(item);
    }
  } catch (const Interrupted&) {
    tell("bitlog2: interrupted; the results hold the cases that were finished");
  }
  ordered_json document = {{"model", loaded.model.config.name},
                           {"settings", settings.name()},
                           {"recipe", ordered_json::parse(recipe_to_json(settings.recipe))},
                           {"cases", rows}};
  if (stop) {
    document["interrupted"] = true;
  }
  write_json(options.json, document);
  return stop ? interrupted_exit() : 0;
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
  add_subset_options(*command, options->subset);
  add_json_option(*command, options->json, "Write the table");
  command->callback([options, command, &run] {
    run = [options, command] {
      if (options->of == "parts") {
        refuse_recipe(*command, "--of parts goes from the recipes repq and best");
      }
      return ablate(*options);
    };
  });
}

}  // namespace bitlog2::cli
