// The programs as a user runs them: what they print and write, and what they say about bad input.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <random>
#include <regex>
#include <set>

#include "bitlog2/evaluate.h"
#include "bitlog2/quantized_model.h"
#include "bitlog2/recipe.h"
#include "cli/fixture.h"
#include "saved_models.h"

namespace bitlog2 {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using ::testing::AllOf;
using testing::Arguments;
using testing::Cli;
using testing::complaints;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::hub_at;
using testing::kTrainingImages;
using testing::kValidationImages;
using testing::lines_of;
using testing::make_tensor;
using ::testing::MatchesRegex;
using testing::names_in;
using testing::nano_path;
using ::testing::Not;
using ::testing::StartsWith;
using testing::operator+;
using testing::Outcome;
using testing::OwnedTensor;
using testing::Program;
using testing::run_program;
using testing::thousand_classes;
using testing::write_dataset;
using testing::write_random_model;
using testing::write_text;

// ---- eval ------------------------------------------------------------------------------

TEST_F(Cli, EvalPrintsATableOfAllSchemes) {
  for (const char* family : {"vit", "swin"}) {
    const Outcome outcome =
        run(eval(family) + Arguments{"--engine", "fp32,simulate", "--log-quant-scheme", "all"});
    EXPECT_EQ(outcome.exit_code, 0);
    EXPECT_EQ(outcome.err,
              fmt::format("calibrating on 6 images of {}: train.images\n", dataset().string()));
    const std::vector<std::string> lines = lines_of(outcome.out);
    ASSERT_EQ(lines.size(), 8U) << outcome.out;
    EXPECT_THAT(lines[0], AllOf(StartsWith("engine "), HasSubstr("top-1"), HasSubstr("images")));
    const std::string numbers =
        " +[0-9.]+ +[0-9.]+ +[0-9.]+ +12 +[0-9]+[.][0-9] s +[0-9]+[.][0-9] s";
    EXPECT_THAT(lines[1], MatchesRegex("fp32 +- +32/32" + numbers));
    for (std::size_t i = 0; i < kAttentionSchemes.size() && kAttentionSchemes[i].published; ++i) {
      EXPECT_THAT(lines[i + 2], MatchesRegex("simulate +" + std::string(kAttentionSchemes[i].name) +
                                             " +4/4" + numbers));
    }
  }
}

TEST_F(Cli, EvalWritesTheTableAsJson) {
  const json table =
      json_output(eval("vit") + Arguments{"--engine", "fp32,simulate", "--log-quant-scheme",
                                          "BitLog2_Half_17", "--w-bits", "4,6", "--a-bits", "3,8"});
  ASSERT_EQ(table.size(), 3U);
  for (const json& row : table) {
    std::set<std::string> keys;
    for (const auto& [key, value] : row.items()) {
      keys.insert(key);
    }
    EXPECT_EQ(keys, (std::set<std::string>{"model", "engine", "scheme", "w_bits", "a_bits",
                                           "images", "skipped", "top1", "top5", "loss",
                                           "calibration_seconds", "evaluation_seconds"}));
    EXPECT_EQ(row["model"], "custom");
    EXPECT_EQ(row["images"], kValidationImages);
    EXPECT_EQ(row["skipped"], 0);
    EXPECT_GE(row["evaluation_seconds"], 0.0);
    EXPECT_GE(row["top5"], row["top1"]);
  }
  EXPECT_EQ(table[0]["engine"], "fp32");
  EXPECT_EQ(table[0]["scheme"], nullptr);
  EXPECT_EQ(table[0]["w_bits"], 32);
  EXPECT_EQ(table[0]["a_bits"], 32);
  EXPECT_EQ(table[0]["calibration_seconds"], 0.0);
  EXPECT_EQ(table[1]["engine"], "simulate");
  EXPECT_EQ(table[1]["scheme"], "BitLog2_Half_17");
  EXPECT_EQ(table[1]["w_bits"], 4);
  EXPECT_EQ(table[1]["a_bits"], 3);
  EXPECT_GT(table[1]["calibration_seconds"], 0.0);
  EXPECT_EQ(table[2]["w_bits"], 6);
  EXPECT_EQ(table[2]["a_bits"], 8);
}

TEST_F(Cli, EvalAgreesWithTheLibrary) {
  const json table = json_output(eval("swin") + Arguments{"--engine", "fp32"});
  const Safetensors weights = Safetensors::open(nano_path("swin"));
  const ModelConfig config = parse_config(weights.metadata().at("config"), "nano");
  const auto engine = make_fp32_engine(load_model(weights, config));
  ThreadPool pool(1);
  const Evaluation expected =
      evaluate(*engine, Dataset::from_tensors(Safetensors::open(dataset()), "val"), pool, {});
  ASSERT_EQ(table.size(), 1U);
  EXPECT_DOUBLE_EQ(table[0]["top1"], expected.accuracy.top1());
  EXPECT_DOUBLE_EQ(table[0]["top5"], expected.accuracy.top5());
  EXPECT_NEAR(table[0]["loss"], expected.accuracy.loss(), 1e-9);
}

TEST_F(Cli, EvalWritesJsonToStdoutInsteadOfTheTable) {
  const Outcome outcome = run(eval("vit") + Arguments{"--engine", "fp32", "--json", "-"});
  EXPECT_EQ(outcome.exit_code, 0);
  EXPECT_EQ(outcome.err, "");
  const json table = json::parse(outcome.out);
  ASSERT_EQ(table.size(), 1U);
  EXPECT_EQ(table[0]["images"], kValidationImages);
}

TEST_F(Cli, EvalDumpsQuantizersToStdoutInsteadOfTheTable) {
  const Outcome outcome =
      run(eval("vit") + Arguments{"--dump-quantizers", "-", "--json", path("out.json").string()});
  EXPECT_EQ(outcome.exit_code, 0);
  EXPECT_TRUE(json::parse(outcome.out)["cases"].contains("BitLog2_Half_16.w4a4"));
  EXPECT_EQ(json::parse(testing::read_text(path("out.json"))).size(), 1U);
  EXPECT_FALSE(fs::exists("-"));
}

TEST_F(Cli, EvalWritesThroughLinks) {
  fs::create_symlink("output/table.json", path("link.json"));
  for (int run_number = 0; run_number < 2; ++run_number) {  // first without the file, then with it
    EXPECT_EQ(run(eval("vit") + Arguments{"--engine", "fp32", "--json", path("link.json").string()})
                  .exit_code,
              0);
    EXPECT_TRUE(fs::is_symlink(path("link.json")));
    EXPECT_TRUE(fs::is_regular_file(fs::symlink_status(output() / "table.json")));
    EXPECT_EQ(json::parse(testing::read_text(output() / "table.json")).size(), 1U);
  }
  EXPECT_THAT(names_in(output()), ElementsAre("table.json"));
}

TEST_F(Cli, EvalDumpsQuantizersInTheGoldensLayout) {
  for (const char* family : {"vit", "swin"}) {
    const fs::path dump = path("quantizers.json");
    const Outcome outcome =
        run(eval(family) + Arguments{"--log-quant-scheme", "Sqrt2_16,BitLog2_Half_17",
                                     "--dump-quantizers", dump.string()});
    ASSERT_EQ(outcome.exit_code, 0);
    const json ours = json::parse(testing::read_text(dump));
    const json golden = json::parse(testing::read_text(
        testing::fixtures() / "nano" / (std::string(family) + "_nano.goldens.json")));
    EXPECT_EQ(ours["cases"].size(), 2U);
    for (const char* name : {"Sqrt2_16.w4a4", "BitLog2_Half_17.w4a4"}) {
      EXPECT_EQ(ours["cases"][name].size(), 2U);
      for (const char* step : {"after_initial_calibration", "final"}) {
        const json& expected = golden["cases"][name][step];
        const json& actual = ours["cases"][name][step];
        ASSERT_EQ(actual.size(), expected.size());
        for (const auto& [module, quantizer] : expected.items()) {
          SCOPED_TRACE(module);
          ASSERT_TRUE(actual.contains(module));
          ASSERT_EQ(actual[module].size(), quantizer.size());
          EXPECT_EQ(actual[module]["n_bits"], quantizer["n_bits"]);
          EXPECT_EQ(actual[module]["delta"].size(), quantizer["delta"].size());
          EXPECT_EQ(actual[module].value("zero_point", json()).size(),
                    quantizer.value("zero_point", json()).size());
          EXPECT_EQ(actual[module].value("scheme", ""), quantizer.value("scheme", ""));
        }
      }
    }
    EXPECT_EQ(ours["config"]["family"], family);
  }
}

TEST_F(Cli, EvalLimitsTheImages) {
  EXPECT_EQ(json_output(eval("vit") + Arguments{"--engine", "fp32", "--limit", "5"})[0]["images"],
            5);
  EXPECT_EQ(json_output(eval("vit") + Arguments{"--engine", "fp32", "--limit", "500"})[0]["images"],
            kValidationImages);
}

TEST_F(Cli, EvalDependsOnTheSeedAndNotOnTheThreads) {
  const auto loss = [&](const char* seed, const char* threads) {
    const json table = json_output({"eval", "--weights", nano_path("vit").string(), "--dataset",
                                    dataset().string(), "--calib-batchsize", "2", "--seed", seed,
                                    "--threads", threads});
    return table[0]["loss"].get<double>();
  };
  const double first = loss("1", "1");
  EXPECT_EQ(loss("1", "1"), first);
  EXPECT_EQ(loss("1", "3"), first);
  EXPECT_NE(loss("2", "1"), first);
}

TEST_F(Cli, EvalTakesCalibrationImagesFromValidationWhereThereIsNoTraining) {
  write_dataset(path("val_only.safetensors"), 8, 0, 32);
  const Outcome outcome = run({"eval", "--weights", nano_path("vit").string(), "--dataset",
                               path("val_only.safetensors").string(), "--calib-batchsize", "3"});
  EXPECT_EQ(outcome.exit_code, 0);
  EXPECT_EQ(outcome.err,
            fmt::format("calibrating on a seeded sample of 3 images of {}: val.images (there are "
                        "no train.images)\n",
                        path("val_only.safetensors").string()));
}

TEST_F(Cli, EvalTakesAConfigFile) {
  std::vector<OwnedTensor> tensors = testing::tensors_of(Safetensors::open(nano_path("vit")));
  testing::write_tensors(path("bare.safetensors"), tensors);
  json config = json::parse(Safetensors::open(nano_path("vit")).metadata().at("config"));
  config["name"] = "described";
  write_text(path("config.json"), config.dump());
  const json table = json_output({"eval", "--weights", path("bare.safetensors").string(),
                                  "--config", path("config.json").string(), "--dataset",
                                  dataset().string(), "--engine", "fp32"});
  EXPECT_EQ(table[0]["model"], "described");
  EXPECT_EQ(table[0]["top1"], json_output(eval("vit") + Arguments{"--engine", "fp32"})[0]["top1"]);
}

/// Class folders with one image each; one of the images is damaged.
void write_damaged_folders(const fs::path& folder) {
  const fs::path images = testing::fixtures() / "images";
  for (int label = 0; label < 10; ++label) {
    const fs::path class_folder = folder / "val" / fmt::format("class{}", label);
    fs::create_directories(class_folder);
    fs::copy(images / (label == 3 ? "damaged/bad_checksum.png" : "rgb_8.png"),
             class_folder / "image.png");
  }
}

TEST_F(Cli, EvalNamesAndCountsImagesThatCannotBeRead) {
  write_damaged_folders(path("folders"));
  const Arguments arguments = {
      "eval",     "--weights", nano_path("vit").string(), "--dataset", path("folders").string(),
      "--engine", "fp32"};
  const Outcome outcome = run(arguments + Arguments{"--json", path("out.json").string()});
  EXPECT_EQ(outcome.exit_code, 0);
  EXPECT_THAT(complaints(outcome),
              ElementsAre(AllOf(StartsWith("skipped: "), HasSubstr("val/class3/image.png"))));
  const json table = json::parse(testing::read_text(path("out.json")));
  EXPECT_EQ(table[0]["images"], 9);
  EXPECT_EQ(table[0]["skipped"], 1);
  const Outcome strict =
      run(arguments + Arguments{"--strict", "--json", (output() / "table.json").string()});
  EXPECT_EQ(strict.exit_code, 1);
  EXPECT_THAT(complaint(strict), HasSubstr((path("folders") / "val/class3/image.png").string()));
  EXPECT_THAT(testing::names_in(output()), ElementsAre());
}

TEST_F(Cli, HelpAndVersionGoToStdout) {
  for (const char* program : {"bitlog2", "test_quant"}) {
    const Outcome help = run_program(program, {"--help"});
    EXPECT_EQ(help.exit_code, 0);
    EXPECT_EQ(help.err, "");
    EXPECT_THAT(help.out, HasSubstr("Usage: "));
  }
  EXPECT_THAT(run({"eval", "--help"}).out, HasSubstr("--log-quant-scheme"));
  EXPECT_THAT(run({"--version"}).out, MatchesRegex("[0-9]+[.][0-9]+[.][0-9]+\n"));
}

// ---- recipes ---------------------------------------------------------------------------

/// The arguments with a recipe, and with parts that differ from it.
Arguments with(const Arguments& arguments, const std::string& recipe, const Arguments& parts = {}) {
  return arguments + Arguments{"--recipe", recipe} + parts;
}

TEST_F(Cli, AblateSwitchesEachGroupOff) {
  const Outcome outcome = run(with(on_nano("ablate", "vit"), "best"));
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  const std::vector<std::string> lines = lines_of(outcome.out);
  ASSERT_EQ(lines.size(), 4 + kQuantizerGroups.size()) << outcome.out;
  EXPECT_EQ(lines[0], "custom BitLog2_Half_16.w4a4");
  EXPECT_THAT(lines[1], MatchesRegex("quantized +top-1 +top-5 +loss"));
  const std::string numbers = " +[0-9.]+ +[0-9.]+ +[0-9.]+";
  EXPECT_THAT(lines[2], MatchesRegex("nothing .float32." + numbers));
  EXPECT_THAT(lines[3], MatchesRegex("everything" + numbers));
  for (std::size_t i = 0; i < kQuantizerGroups.size(); ++i) {
    EXPECT_THAT(lines[4 + i], StartsWith(fmt::format("all but {}", kQuantizerGroups[i].name)));
  }
}

TEST_F(Cli, AblateAgreesWithEval) {
  for (const char* family : {"vit", "swin"}) {
    const json table = json_output(on_nano("ablate", family) + Arguments{"--of", "parts"});
    EXPECT_EQ(table["model"], "custom");
    EXPECT_EQ(table["settings"], "BitLog2_Half_16.w4a4");
    std::map<std::string, json> cases;
    for (const json& row : table["cases"]) {
      EXPECT_EQ(row["images"], kValidationImages);
      cases[row["case"]] = row;
    }
    // float32, repq and best, and both recipes with each part changed
    EXPECT_EQ(cases.size(), 3 + 2 * (kRecipeParts.size() + kGeluSchemes.size() - 1));
    const auto expect_same = [&](const std::string& name, const Arguments& arguments) {
      const json row = json_output(on_nano("eval", family) + arguments);
      ASSERT_TRUE(cases.contains(name)) << name;
      EXPECT_EQ(cases[name]["loss"], row[0]["loss"]) << name;
    };
    expect_same("float32", {"--engine", "fp32"});
    expect_same("repq", {});
    expect_same("best", {"--recipe", "best"});
    expect_same("repq, weight-rounding gptq", {"--weight-rounding", "gptq"});
    expect_same("best, residual-rotation none",
                {"--recipe", "best", "--residual-basis", "own"});  // its old name
    expect_same("best, gelu-quant-scheme Shift",
                {"--recipe", "best", "--gelu-quant-scheme", "Shift"});
  }
}

TEST_F(Cli, AblateWritesJsonToStdoutInsteadOfTheTable) {
  const Outcome outcome =
      run(on_nano("ablate", "vit") + Arguments{"--limit", "5", "--json", "-", "--w-bits", "3"});
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  const json table = json::parse(outcome.out);
  EXPECT_EQ(table["settings"], "BitLog2_Half_16.w3a4");
  EXPECT_EQ(table["recipe"], json::parse(recipe_to_json({})));
  ASSERT_EQ(table["cases"].size(), 2 + kQuantizerGroups.size());
  for (const json& row : table["cases"]) {
    EXPECT_EQ(row["images"], 5);
  }
}

TEST_F(Cli, AblateRefusesOutputsThatCannotBeWrittenBeforeItWorks) {
  const Outcome outcome =
      run(on_nano("ablate", "vit") + Arguments{"--json", path("missing/out.json").string()});
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_THAT(complaint(outcome), HasSubstr("missing/out.json: "));
  EXPECT_EQ(outcome.out, "");
}

TEST_F(Cli, EveryPartOfARecipeChangesTheResult) {
  const auto loss = [&](const char* bits, const Arguments& parts) {
    const Arguments settings = {"--log-quant-scheme", "BitLog2_Half_16", "--a-bits", bits};
    return json_output(with(on_nano("eval", "vit") + settings, "best", parts))[0]["loss"];
  };
  const std::map<std::string, json> best = {{"4", loss("4", {})}, {"6", loss("6", {})}};
  for (const RecipePart& part : kRecipeParts) {
    const auto option = "--" + std::string(part.name);
    // --attention-levels changes something above 4 bits alone, --attention-normalization below.
    const char* bits = part.member == &Recipe::attention_normalization_last ? "4" : "6";
    EXPECT_EQ(loss(bits, {option, std::string(part.in_best ? part.on : part.off)}), best.at(bits))
        << option;
    EXPECT_NE(loss(bits, {option, std::string(part.in_best ? part.off : part.on)}), best.at(bits))
        << option;
  }
}

TEST_F(Cli, RefusesUnknownRecipesAndPartsWithTheirChoices) {
  for (const char* command : {"eval", "ablate", "compare", "quantize"}) {
    const auto refused = [&](const std::string& option, const std::string& value) {
      const Outcome outcome = run({command, "--weights", nano_path("vit").string(), "--dataset",
                                   dataset().string(), option, value});
      EXPECT_EQ(outcome.exit_code, 2) << command;
      EXPECT_EQ(outcome.out, "");
      return complaint(outcome);
    };
    EXPECT_THAT(refused("--recipe", "better"),
                AllOf(HasSubstr("--recipe"), HasSubstr("repq"), HasSubstr("best")));
    EXPECT_THAT(refused("--gelu-quant-scheme", "Half"),
                AllOf(HasSubstr("Uniform"), HasSubstr("Shift"), HasSubstr("Codebook")));
    EXPECT_THAT(refused("--reconstruct", "long"),
                AllOf(HasSubstr("reconstruct"), HasSubstr("number of steps")));
    for (const RecipePart& part : kRecipeParts) {
      EXPECT_THAT(refused("--" + std::string(part.name), "maybe"),
                  AllOf(HasSubstr(std::string(part.name)), HasSubstr(std::string(part.off)),
                        HasSubstr(std::string(part.on))));
    }
  }
  const Outcome outcome = run(on_nano("ablate", "vit") + Arguments{"--of", "layers"});
  EXPECT_EQ(outcome.exit_code, 2);
  EXPECT_THAT(complaint(outcome), AllOf(HasSubstr("groups"), HasSubstr("parts")));
}

TEST_F(Cli, TheQuantizedFileSaysItsRecipe) {
  const auto recipe_of = [&](const Arguments& arguments) {
    const fs::path file = path("model.safetensors");
    const Outcome outcome =
        run(on_nano("quantize", "vit") + arguments + Arguments{"-o", file.string()});
    EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
    const Outcome evaluated =
        run({"eval", "--quantized", file.string(), "--dataset", dataset().string()});
    EXPECT_EQ(evaluated.exit_code, 0) << evaluated.err;
    return parse_recipe(Safetensors::open(file).metadata().at("recipe"), "test");
  };
  EXPECT_EQ(recipe_of({}), Recipe{});
  EXPECT_EQ(recipe_of({"--recipe", "best"}), find_recipe("best"));
  Recipe reconstructed = find_recipe("best");
  reconstructed.reconstruction_steps = 2;
  EXPECT_EQ(recipe_of({"--recipe", "reconstruct", "--reconstruct", "2"}), reconstructed);
  Recipe changed = find_recipe("best");
  changed.attention_rounding_nearest = true;
  changed.residual_rotation_hadamard = false;
  changed.gelu_quant_scheme = Recipe::GeluScheme::shift;
  EXPECT_EQ(recipe_of({"--recipe", "best", "--attention-rounding", "nearest", "--residual-basis",
                       "own", "--gelu-quant-scheme", "Shift"}),
            changed);
}

TEST_F(Cli, CompareSeesOneFunctionInEveryBasis) {
  const Outcome outcome = run(with(on_nano("compare", "swin"), "best", {"--json"}) +
                              Arguments{"--w-bits", "8", "--a-bits", "8"});
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  for (const json& row : json::parse(outcome.out)) {
    if (row["layer"] == "norm") {
      continue;  // the head's input, which follows, has a range for each channel
    }
    EXPECT_GT(row["simulated_to_fp32_db"], 20.0) << row["layer"];
    EXPECT_GT(row["integer_to_fp32_db"], 20.0) << row["layer"];
  }
}

// ---- predict ---------------------------------------------------------------------------

TEST_F(Cli, PredictNamesClassesQuantizedAndInFloat32) {
  const fs::path file = path("model.safetensors");
  ASSERT_EQ(run(on_nano("quantize", "vit") +
                Arguments{"--w-bits", "8", "--a-bits", "8", "-o", file.string()})
                .exit_code,
            0);
  const fs::path images = path("images");
  fs::create_directory(images);
  fs::copy(testing::fixtures() / "images" / "rgb_8.png", images / "one.png");
  fs::copy(testing::fixtures() / "images" / "colour_420.jpg", images / "two.jpg");
  const auto predictions = [&](const Arguments& model) {
    const Outcome outcome =
        run(Arguments{"predict"} + model + Arguments{"--top", "3", "--json", images.string()});
    EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
    return json::parse(outcome.out, nullptr, false);
  };
  const json quantized = predictions({"--quantized", file.string()});
  const json exact = predictions({"--weights", nano_path("vit").string()});
  ASSERT_EQ(quantized.size(), 2U);
  ASSERT_EQ(exact.size(), 2U);
  for (std::size_t i = 0; i < exact.size(); ++i) {
    EXPECT_EQ(quantized[i]["image"], exact[i]["image"]);
    ASSERT_EQ(quantized[i]["predictions"].size(), 3U);
    ASSERT_EQ(exact[i]["predictions"].size(), 3U);
    for (const json& row : {quantized[i]["predictions"], exact[i]["predictions"]}) {
      EXPECT_GE(row[0]["probability"], row[1]["probability"]);
      EXPECT_GE(row[1]["probability"], row[2]["probability"]);
    }
    EXPECT_NEAR(quantized[i]["predictions"][0]["probability"].get<double>(),
                exact[i]["predictions"][0]["probability"].get<double>(), 0.1);
  }
  const Outcome text =
      run({"predict", "--weights", nano_path("vit").string(), (images / "one.png").string()});
  EXPECT_EQ(text.exit_code, 0);
  const std::vector<std::string> lines = lines_of(text.out);
  ASSERT_EQ(lines.size(), 6U) << text.out;
  EXPECT_THAT(lines[1], MatchesRegex(" +[0-9.]+%  class [0-9]"));
}

TEST_F(Cli, PredictGoesOnBehindAnImageThatCannotBeRead) {
  const Outcome outcome =
      run({"predict", "--weights", nano_path("vit").string(), "--json",
           (testing::fixtures() / "images" / "damaged" / "truncated.jpg").string(),
           (testing::fixtures() / "images" / "rgb_8.png").string()});
  EXPECT_EQ(outcome.exit_code, 1);
  const json answers = json::parse(outcome.out);
  ASSERT_EQ(answers.size(), 2U);
  EXPECT_THAT(answers[0]["error"].get<std::string>(), HasSubstr("damaged"));
  EXPECT_FALSE(answers[0].contains("predictions"));
  EXPECT_EQ(answers[1]["predictions"].size(), 5U);
  const std::vector<std::string> lines = complaints(outcome);
  ASSERT_EQ(lines.size(), 1U);
  EXPECT_THAT(lines[0], AllOf(StartsWith("bitlog2: error: "), HasSubstr("damaged")));
}

TEST_F(Cli, PredictTakesOneModel) {
  const std::string image = (testing::fixtures() / "images" / "rgb_8.png").string();
  for (const Arguments& model :
       {Arguments{}, Arguments{"--quantized", "a", "--weights", nano_path("vit").string()},
        Arguments{"--quantized", "a", "--config", "b"}}) {
    const Outcome outcome = run(Arguments{"predict"} + model + Arguments{image});
    EXPECT_EQ(outcome.exit_code, 1);
    EXPECT_THAT(complaint(outcome), AllOf(HasSubstr("--quantized"), HasSubstr("--weights")));
  }
}

// ---- inspect ---------------------------------------------------------------------------

TEST_F(Cli, InspectListsTensorsAndNamesTheModel) {
  const Outcome outcome = run({"inspect", nano_path("swin").string()});
  EXPECT_EQ(outcome.exit_code, 0);
  EXPECT_EQ(outcome.err, "");
  const std::vector<std::string> lines = lines_of(outcome.out);
  EXPECT_THAT(lines[0], MatchesRegex("head[.]bias +F32 +10"));
  EXPECT_THAT(outcome.out, HasSubstr("24 x 3 x 4 x 4"));
  EXPECT_THAT(outcome.out, HasSubstr("metadata config: {\"family\""));
  EXPECT_THAT(lines[lines.size() - 4], MatchesRegex("[0-9]+ tensors, [0-9]+ elements"));
  EXPECT_EQ(lines[lines.size() - 3], "fits custom");
  EXPECT_THAT(
      lines[lines.size() - 2],
      AllOf(StartsWith("as a model: custom, a Swin by timm's names: 2 blocks of 24 channels "
                       "in 2 heads, 2 blocks of 48 channels in 4 heads"),
            HasSubstr("images of 56; 10 classes")));
  EXPECT_THAT(lines.back(), StartsWith("images: the shorter side resized to 64 pixels (bicubic)"));
}

TEST_F(Cli, InspectSaysWhatAFolderHoldsAndWhatIsAssumed) {
  const auto saved = [](const char* name) { return testing::kSavedModels / name; };
  const Outcome folder = run({"inspect", saved("transformers_clip").string()});
  EXPECT_EQ(folder.exit_code, 0);
  EXPECT_THAT(folder.out, AllOf(HasSubstr("as a model: CLIPModel, a ViT by transformers' names"),
                                HasSubstr("; with a norm before the blocks, quick GELU\n"),
                                HasSubstr("no classes, an embedding of 24 values"),
                                HasSubstr("are ignored: logit_scale, text_model")));
  const Outcome file = run({"inspect", "--json", saved("timm_vit_pth/model.pth").string()});
  EXPECT_EQ(file.exit_code, 0);
  const json document = json::parse(file.out);
  EXPECT_EQ(document["library"], "timm");
  EXPECT_EQ(document["model"]["patch_size"], 4);
  EXPECT_THAT(document["assumed"].dump(), HasSubstr("how many heads"));
  fs::copy(saved("timm_eva02") / "model.safetensors", path("bare.safetensors"));
  const Outcome other = run({"inspect", "--json", path("bare.safetensors").string()});
  EXPECT_THAT(json::parse(other.out)["missing"].get<std::string>(),
              HasSubstr("EVA-02's rotary positions"));
}

TEST_F(Cli, InspectSaysWhatDoesNotFit) {
  std::vector<OwnedTensor> tensors = testing::tensors_of(Safetensors::open(nano_path("swin")));
  std::erase_if(tensors, [](const OwnedTensor& tensor) {
    return tensor.name.ends_with("relative_position_bias_table");
  });
  testing::write_tensors(path("bare.safetensors"), tensors);
  const Outcome outcome = run({"inspect", path("bare.safetensors").string()});
  EXPECT_EQ(outcome.exit_code, 0);
  EXPECT_THAT(outcome.out, HasSubstr("fits no known model; nearest is swin_tiny, of which "));
  EXPECT_THAT(outcome.out, HasSubstr("\n  'patch_embed.norm.weight' is [24], not [96]\n"));
  EXPECT_THAT(outcome.out, HasSubstr(" more\n"));
}

TEST_F(Cli, InspectPrintsJson) {
  const Outcome outcome = run({"inspect", "--json", nano_path("vit").string()});
  EXPECT_EQ(outcome.exit_code, 0);
  const json document = json::parse(outcome.out);
  const Safetensors file = Safetensors::open(nano_path("vit"));
  EXPECT_EQ(document["tensors"].size(), file.tensors().size());
  EXPECT_EQ(document["tensors"]["head.weight"]["dtype"], "F32");
  EXPECT_EQ(document["tensors"]["head.weight"]["shape"], (json{10, 48}));
  EXPECT_EQ(document["metadata"]["format"], "pt");
  EXPECT_EQ(document["fits"], json{"custom"});
  EXPECT_EQ(document["misfits"], json::array());
}

TEST_F(Cli, InspectTakesFilesThatAreNoModel) {
  testing::write_tensors(path("empty.safetensors"), {});
  EXPECT_EQ(run({"inspect", path("empty.safetensors").string()}).exit_code, 0);
  const Outcome outcome = run({"inspect", "--json", path("empty.safetensors").string()});
  EXPECT_EQ(json::parse(outcome.out)["tensors"], json::object());
  EXPECT_EQ(run({"inspect", dataset().string()}).exit_code, 0);
}

TEST_F(Cli, InspectShowsFilesWhoseMetadataIsForeign) {
  const std::vector<OwnedTensor> tensors = testing::tensors_of(Safetensors::open(nano_path("vit")));
  const fs::path file = path("foreign.safetensors");
  for (const char* config : {R"({"model_type": "vit", "hidden_size": 48})", "{", "yes", "[]"}) {
    testing::write_tensors(file, tensors, {{"config", config}, {"class_names", "{]"}});
    const Outcome outcome = run({"inspect", file.string()});
    EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
    EXPECT_THAT(outcome.out,
                AllOf(HasSubstr("head.bias "), HasSubstr("metadata config: " + std::string(config)),
                      HasSubstr("metadata class_names: {]"),
                      HasSubstr("\nthe metadata's config cannot be used: " + file.string()),
                      HasSubstr("nearest is ")));
    const json document = json::parse(run({"inspect", "--json", file.string()}).out);
    EXPECT_EQ(document["tensors"].size(), tensors.size());
    EXPECT_THAT(document["config_error"].get<std::string>(), HasSubstr("config: "));
  }
}

TEST_F(Cli, InspectShowsUnknownDtypesAndEscapesControlCharacters) {
  const std::string header =
      R"({"__metadata__":{"a\u001b[2J":"x\ny\u009bz","long":")" + std::string(5000, 'q') +
      R"("},"t\nu":{"dtype":"F99\u001b","shape":[2,2],"data_offsets":[0,1]},)"
      R"("v":{"dtype":"F4","shape":[6],"data_offsets":[1,4]}})";
  write_text(path("odd.safetensors"), testing::safetensors_bytes(header, "abcd"));
  const Outcome outcome = run({"inspect", path("odd.safetensors").string()});
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_THAT(outcome.out, Not(HasSubstr("\x1b")));
  EXPECT_THAT(outcome.out, Not(HasSubstr("\xc2")));
  EXPECT_THAT(outcome.out, HasSubstr(R"(metadata a\x1b[2J: x\ny\x9bz)"));
  EXPECT_THAT(outcome.out,
              HasSubstr("metadata long: " + std::string(200, 'q') + "... (5000 bytes)"));
  const std::vector<std::string> lines = lines_of(outcome.out);
  EXPECT_THAT(lines[0], AllOf(StartsWith(R"(t\nu )"), HasSubstr(R"(F99\x1b 2 x 2)")));
  EXPECT_THAT(lines[1], MatchesRegex("v +F4 +6"));
}

TEST_F(Cli, InspectSaysWhatAQuantizedFileIs) {
  const fs::path file = path("quantized.safetensors");
  const Outcome made = run(on_nano("quantize", "vit") + Arguments{"-o", file.string()});
  ASSERT_EQ(made.exit_code, 0) << made.err;
  const Outcome outcome = run({"inspect", file.string()});
  EXPECT_EQ(outcome.exit_code, 0);
  EXPECT_THAT(
      lines_of(outcome.out).back(),
      MatchesRegex("a quantized model: custom, [A-Za-z0-9_]+, weights of 4 bits, activations "
                   "of 4, file format 3; run it with .*"));
  EXPECT_TRUE(json::parse(run({"inspect", "--json", file.string()}).out)["quantized"].get<bool>());
  EXPECT_THAT(refusal_of_weights(file), HasSubstr("a quantized model already"));
}

TEST_F(Cli, InspectOfAnotherKindOfModelSaysWhatItLacks) {
  testing::write_tensors(path("hf.safetensors"),
                         {make_tensor("bert.embeddings.word_embeddings.weight", DType::f32, {1},
                                      std::vector<float>{1})});
  const Outcome outcome = run({"inspect", path("hf.safetensors").string()});
  EXPECT_EQ(outcome.exit_code, 0);
  EXPECT_THAT(
      lines_of(outcome.out).back(),
      HasSubstr("no vision transformer that is known: it has no 'patch_embed.proj.weight'"));
}

TEST_F(Cli, NotesWhatItLeavesOutOfACheckpoint) {
  std::vector<OwnedTensor> tensors = testing::tensors_of(Safetensors::open(nano_path("vit")));
  for (OwnedTensor& tensor : tensors) {
    tensor.name = "module." + tensor.name;
  }
  tensors.push_back(make_tensor("n_averaged", DType::i64, {}, std::vector<std::int64_t>{5}));
  const fs::path file = path("wrapped.safetensors");
  testing::write_tensors(file, tensors, Safetensors::open(nano_path("vit")).metadata());
  const Arguments on_data = {"--dataset", dataset().string(), "--engine", "fp32", "--threads", "2"};
  const Outcome outcome = run(Arguments{"eval", "--weights", file.string()} + on_data);
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_THAT(outcome.err,
              HasSubstr("note: " + file.string() + ": its names are read without 'module.'\n"));
  EXPECT_THAT(outcome.err, HasSubstr("are ignored: n_averaged\n"));
  EXPECT_THAT(run({"inspect", file.string()}).out, HasSubstr("without 'module.'"));
}

TEST_F(Cli, InspectRefusesWhatItCannotRead) {
  write_text(path("text.safetensors"), "this is not a safetensors file");
  for (const fs::path& file : {path("missing.safetensors"), path("text.safetensors"), path("")}) {
    const Outcome outcome = run({"inspect", file.string()});
    EXPECT_EQ(outcome.exit_code, 1);
    EXPECT_THAT(complaint(outcome), StartsWith("bitlog2: error: " + file.string() + ": "));
    EXPECT_EQ(outcome.out, "");
  }
}

// ---- Bad input: weights ----------------------------------------------------------------

TEST_F(Cli, RefusesWeightsThatAreNoSafetensorsFile) {
  const std::string whole = testing::read_text(nano_path("vit"));
  const auto broken = [&](const std::string& bytes) {
    write_text(path("broken.safetensors"), bytes);
    return refusal_of_weights(path("broken.safetensors"));
  };
  EXPECT_THAT(refusal_of_weights(path("missing.safetensors")), HasSubstr("No such file"));
  EXPECT_THAT(refusal_of_weights(path("")), HasSubstr("is a folder; give "));
  EXPECT_THAT(broken(""), HasSubstr("is an empty file"));
  EXPECT_THAT(broken(whole.substr(0, whole.size() - 1)), HasSubstr("the file is cut off"));
  EXPECT_THAT(broken(whole.substr(0, 1000)), HasSubstr("the header claims"));
  EXPECT_THAT(broken(std::string(7, '\0') + "\x80{}"), HasSubstr("the header claims"));
  EXPECT_THAT(broken(testing::safetensors_bytes("[1]", "")), HasSubstr("not a JSON object"));
  const std::string overlapping = R"({"a":{"dtype":"U8","shape":[3],"data_offsets":[0,3]},)"
                                  R"("b":{"dtype":"U8","shape":[3],"data_offsets":[1,4]}})";
  EXPECT_THAT(broken(testing::safetensors_bytes(overlapping, "abcd")), HasSubstr("'b' overlaps"));
  const std::string huge =
      R"({"a":{"dtype":"F32","shape":[1000000,1000000000],"data_offsets":[0,4]}})";
  EXPECT_THAT(broken(testing::safetensors_bytes(huge, "abcd")), HasSubstr("its shape needs"));
  const std::string two_lines = R"({"a\nb":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}})";
  EXPECT_THAT(broken(testing::safetensors_bytes(two_lines, "abcd")), HasSubstr("'a\\nb' has 4"));
}

TEST_F(Cli, RefusesWeightsThatAreNoNumbers) {
  std::vector<OwnedTensor> tensors = testing::tensors_of(Safetensors::open(nano_path("vit")));
  const auto metadata = Safetensors::open(nano_path("vit")).metadata();
  OwnedTensor& last = tensors.back();
  const OwnedTensor before = last;
  const float nan = std::numeric_limits<float>::quiet_NaN();
  std::memcpy(last.bytes.data(), &nan, sizeof(nan));
  testing::write_tensors(path("nan.safetensors"), tensors, metadata);
  EXPECT_THAT(refusal_of_weights(path("nan.safetensors")),
              HasSubstr(fmt::format("'{}' holds NaN at element 0", last.name)));
  last = before;
  last.dtype = DType::i32;
  testing::write_tensors(path("int.safetensors"), tensors, metadata);
  EXPECT_THAT(refusal_of_weights(path("int.safetensors")),
              HasSubstr(fmt::format("'{}' is I32", last.name)));
}

TEST_F(Cli, RefusesCheckpointsOfOtherModels) {
  EXPECT_THAT(refusal_of_weights(nano_path("vit"), {"--model", "deit_tiny"}),
              AllOf(HasSubstr("not a checkpoint of deit_tiny: 'cls_token' is [1, 1, 48], not "
                              "[1, 1, 192]; "),
                    HasSubstr("more")));
  EXPECT_THAT(refusal_of_weights(nano_path("swin"), {"--model", "swin_small"}),
              HasSubstr("not a checkpoint of swin_small: "));
  std::vector<OwnedTensor> tensors = testing::tensors_of(Safetensors::open(nano_path("vit")));
  tensors.push_back(make_tensor("head_dist.weight", DType::f32, {1}, std::vector<float>{1}));
  testing::write_tensors(path("distilled.safetensors"), tensors,
                         Safetensors::open(nano_path("vit")).metadata());
  EXPECT_THAT(refusal_of_weights(path("distilled.safetensors")), HasSubstr("distilled DeiT"));
}

TEST_F(Cli, RefusesWeightsThatDoNotSayWhatTheyAre) {
  std::vector<OwnedTensor> tensors = testing::tensors_of(Safetensors::open(nano_path("vit")));
  testing::write_tensors(path("bare.safetensors"), tensors);
  EXPECT_THAT(refusal({"eval", "--weights", path("bare.safetensors").string(), "--dataset",
                       dataset().string()}),
              AllOf(HasSubstr("bare.safetensors: it does not say how many heads it has"),
                    HasSubstr("--config")));
  write_text(path("config.json"), R"({"family": "vit"})");
  EXPECT_THAT(refusal({"eval", "--weights", path("bare.safetensors").string(), "--dataset",
                       dataset().string(), "--config", path("config.json").string()}),
              HasSubstr("config.json: config: 'img_size', 'patch_size', 'embed_dim', "));
  EXPECT_THAT(refusal({"eval", "--dataset", dataset().string()}),
              AllOf(HasSubstr("give --model"), HasSubstr("swin_small")));
}

TEST_F(Cli, SaysHowToDownloadWeightsThatAreNotThere) {
  EXPECT_THAT(refusal({"eval", "--model", "vit_base", "--dataset", dataset().string()}),
              HasSubstr("hf download timm/vit_base_patch16_224.augreg_in21k_ft_in1k "
                        "model.safetensors"));
}

TEST_F(Cli, ListsTheModelsWhenThatIsUnknown) {
  const std::string message =
      refusal({"eval", "--model", "deit_huge", "--dataset", dataset().string()});
  EXPECT_THAT(message, HasSubstr("unknown model 'deit_huge'"));
  for (const NamedModel& model : named_models()) {
    EXPECT_THAT(message, HasSubstr(model.config.name));
  }
}

// ---- Bad input: dataset ----------------------------------------------------------------

TEST_F(Cli, RefusesDatasetsThatAreNone) {
  const auto refused = [&](const fs::path& at) {
    const std::string message = refusal_of_dataset(at);
    EXPECT_THAT(message, HasSubstr(at.string()));
    return message;
  };
  EXPECT_THAT(refused(path("absent")), HasSubstr("there is no such file or folder"));
  fs::create_directories(path("empty"));
  EXPECT_THAT(refused(path("empty")), HasSubstr("no images"));
  write_text(path("texts/val/a.txt"), "text");
  EXPECT_THAT(refused(path("texts")), HasSubstr("no images"));
  write_text(path("file.txt"), "text");
  EXPECT_THAT(refused(path("file.txt")), HasSubstr("neither a folder nor a .safetensors file"));
  EXPECT_THAT(refused(nano_path("vit")), HasSubstr("val.images"));
}

TEST_F(Cli, RefusesImagesThatAreNone) {
  for (int label = 0; label < 10; ++label) {
    write_text(path("fake") / fmt::format("val/{}/a.jpg", label), "not an image");
  }
  EXPECT_THAT(refusal_of_dataset(path("fake"), {"--calib-batchsize", "2"}),
              HasSubstr((path("fake") / "val").string()));
}

TEST_F(Cli, RefusesClassFoldersThatAreNoWnidsForAThousandClasses) {
  write_random_model(path("thousand.safetensors"), thousand_classes());
  write_damaged_folders(path("folders"));
  EXPECT_THAT(refusal({"eval", "--weights", path("thousand.safetensors").string(), "--dataset",
                       path("folders").string()}),
              AllOf(HasSubstr("10 class folders, this model has 1000 classes"),
                    HasSubstr("folder 'class0' is not the wnid")));
}

TEST_F(Cli, RefusesToCalibrateOnFewerImagesThanAskedFor) {
  EXPECT_THAT(
      refusal_of_dataset(dataset(), {"--calib-batchsize", "7"}),
      AllOf(HasSubstr("holds 6 images, 7 were asked for"), HasSubstr("--calibration-images")));
}

TEST_F(Cli, RefusesLabelsThatAreNoClass) {
  ModelConfig config = thousand_classes();
  config.num_classes = 9;
  write_random_model(path("nine.safetensors"), config);
  EXPECT_THAT(refusal({"eval", "--weights", path("nine.safetensors").string(), "--dataset",
                       dataset().string()}),
              HasSubstr("val.labels: label 9 is 9, this model has classes 0 to 8"));
}

// ---- Bad input: settings ---------------------------------------------------------------

TEST_F(Cli, ListsTheSchemesWhenOneIsUnknown) {
  for (const char* given : {"BitLog2_Half_18", "Sqrt2_17,nothing", "sqrt2_17"}) {
    const std::string message = refusal(eval("vit") + Arguments{"--log-quant-scheme", given});
    EXPECT_THAT(message, HasSubstr("unknown attention scheme"));
    for (const AttentionScheme& scheme : kAttentionSchemes) {
      EXPECT_THAT(message, HasSubstr(std::string(scheme.name)));
    }
  }
}

TEST_F(Cli, RefusesBitsOutOfRange) {
  for (const char* bits : {"1", "9", "0", "-4", "4,9", "", "four", "4.0", "99999999999999999999"}) {
    for (const char* option : {"--w-bits", "--a-bits"}) {
      const Outcome outcome = run(eval("vit") + Arguments{option, bits});
      EXPECT_EQ(outcome.exit_code, 2) << bits;
      EXPECT_THAT(complaint(outcome),
                  AllOf(HasSubstr(option), HasSubstr("not a whole number from 2 to 8")));
    }
  }
  EXPECT_THAT(refusal(eval("vit") + Arguments{"--w-bits", "4,6", "--a-bits", "4,6,8"}),
              HasSubstr("--w-bits has 2 entries"));
}

TEST_F(Cli, RefusesWrongArgumentsWithExitCode2) {
  const std::vector<Arguments> wrong = {
      {},
      {"quantize"},
      {"eval"},
      {"eval", "--dataset"},
      {"inspect"},
      {"inspect", "a", "b"},
      eval("vit") + Arguments{"--engine", "gpu"},
      eval("vit") + Arguments{"--w-bits", "four"},
      {"eval", "--dataset", "x", "--threads", "-1"},
      {"eval", "--dataset", "x", "--calib-batchsize", "0"},
      eval("vit") + Arguments{"--val-batchsize", "0"},
      eval("vit") + Arguments{"--seed", "-1"},
      eval("vit") + Arguments{"--limit", "x"},
      eval("vit") + Arguments{"--limit", "-1"},
      eval("vit") + Arguments{"--no-such-option"},
  };
  for (const Arguments& arguments : wrong) {
    const Outcome outcome = run(arguments);
    EXPECT_EQ(outcome.exit_code, 2);
    EXPECT_THAT(complaint(outcome), AllOf(StartsWith("bitlog2: error: "), HasSubstr("see --help")));
    EXPECT_EQ(outcome.out, "");
  }
}

TEST_F(Cli, RefusesTwoDocumentsOnStdout) {
  const Outcome outcome = run(eval("vit") + Arguments{"--json", "-", "--dump-quantizers", "-"});
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_THAT(complaint(outcome), HasSubstr("only one result can go to stdout"));
  EXPECT_EQ(outcome.out, "");
}

TEST_F(Cli, RefusesOutputsThatCannotBeWrittenBeforeItWorks) {
  write_text(path("file"), "x");
  for (const char* option : {"--json", "--dump-quantizers"}) {
    for (const fs::path& target :
         {path("missing/out.json"), path("file/out.json"), output(), fs::path("/dev/null")}) {
      const Outcome outcome = run(eval("vit") + Arguments{option, target.string()});
      EXPECT_EQ(outcome.exit_code, 1);
      EXPECT_THAT(complaint(outcome), StartsWith("bitlog2: error: " + target.string() + ": "));
      EXPECT_EQ(outcome.out, "");  // not even the table's head
      EXPECT_THAT(lines_of(outcome.err).size(), 1U);
    }
  }
  EXPECT_THAT(names_in(path("")), ElementsAre("data.safetensors", "file", "output"));
  EXPECT_TRUE(fs::is_character_file("/dev/null"));
}

// ---- Ctrl-C ----------------------------------------------------------------------------

/// All schemes many times, so that the run is always interrupted before its end.
std::string many_schemes() {
  std::string schemes = "all";
  for (int i = 0; i < 500; ++i) {
    schemes += ",all";
  }
  return schemes;
}

TEST_F(Cli, InterruptedEvalPrintsTheRowsThatItReached) {
  Program program("bitlog2", eval("vit") + Arguments{"--log-quant-scheme", many_schemes(), "--json",
                                                     (output() / "table.json").string()});
  ASSERT_TRUE(program.wait_for_output("Sqrt2_17"));
  program.interrupt();
  const Outcome outcome = program.finish();
  EXPECT_EQ(outcome.exit_code, 130);
  EXPECT_THAT(complaints(outcome),
              ElementsAre("bitlog2: interrupted; the results hold what was reached"));
  const std::vector<std::string> lines = lines_of(outcome.out);
  ASSERT_GE(lines.size(), 3U);
  EXPECT_THAT(lines[0], StartsWith("engine "));
  EXPECT_THAT(lines[1], MatchesRegex("simulate +Sqrt2_16 +4/4 .* +12 .* s"));
  EXPECT_THAT(lines[2], MatchesRegex("simulate +Sqrt2_17 +4/4 .* s"));
  EXPECT_THAT(lines.back(), HasSubstr("(interrupted)"));
  const json table = json::parse(testing::read_text(output() / "table.json"));
  ASSERT_EQ(table.size(), lines.size() - 1);  // all but the head
  EXPECT_FALSE(table[0].contains("interrupted"));
  EXPECT_EQ(table.back()["interrupted"], true);
  EXPECT_THAT(names_in(output()), ElementsAre("table.json"));
}

TEST_F(Cli, InterruptedEvalPrintsTheRowsThatItReachedAsJson) {
  // The program does not show how far it is; wherever it stops, its output must be JSON.
  Program program("bitlog2", {"eval", "--weights", nano_path("vit").string(), "--dataset",
                              dataset().string(), "--calib-batchsize", "6", "--threads", "1",
                              "--log-quant-scheme", many_schemes(), "--json", "-"});
  ASSERT_TRUE(program.wait_for_error_output("calibrating on"));
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
  program.interrupt();
  const Outcome outcome = program.finish();
  EXPECT_EQ(outcome.exit_code, 130);
  EXPECT_EQ(complaints(outcome).size(), 1U);
  const json table = json::parse(outcome.out);
  EXPECT_TRUE(table.is_array());
  for (const json& row : table) {
    EXPECT_LE(row["images"], kValidationImages);
    EXPECT_TRUE(row.contains("top1"));
  }
  EXPECT_EQ(table.back()["interrupted"], true);
}

TEST_F(Cli, InterruptedEvalPrintsTheImagesThatItReached) {
  write_dataset(path("many.safetensors"), 60'000, 2, 8);
  Program program("bitlog2", {"eval", "--weights", nano_path("vit").string(), "--dataset",
                              path("many.safetensors").string(), "--engine", "fp32,simulate",
                              "--calib-batchsize", "2", "--threads", "1", "--dump-quantizers",
                              (output() / "quantizers.json").string()});
  ASSERT_TRUE(program.wait_for_error_output("calibrating on"));
  program.interrupt();
  const Outcome outcome = program.finish();
  EXPECT_EQ(outcome.exit_code, 130);
  EXPECT_EQ(complaints(outcome).size(), 1U);
  const std::vector<std::string> lines = lines_of(outcome.out);
  ASSERT_EQ(lines.size(), 2U);
  EXPECT_THAT(lines[1],
              AllOf(MatchesRegex("fp32 .* s  [(]interrupted[)]"), Not(HasSubstr(" 60000 "))));
  EXPECT_EQ(json::parse(testing::read_text(output() / "quantizers.json"))["interrupted"], true);
}

// ---- test_quant ------------------------------------------------------------------------

/// DeiT-Tiny with random weights in a Hugging Face cache, and four images.
class TestQuant : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    folder_ = std::make_unique<testing::TemporaryFolder>();
    const fs::path repository = hub() / "hub/models--timm--deit_tiny_patch16_224.fb_in1k";
    write_text(repository / "refs/main", "abc");
    fs::create_directories(repository / "snapshots/abc");
    write_random_model(repository / "snapshots/abc/model.safetensors",
                       find_named_model("deit_tiny").config);
    write_dataset(dataset(), 4, 2, 64);
  }

  static void TearDownTestSuite() { folder_.reset(); }

  static fs::path path(const std::string& name) { return folder_->path() / name; }
  static fs::path hub() { return path("home"); }
  static fs::path dataset() { return path("data.safetensors"); }
  static fs::path weights() {
    return hub() / "hub/models--timm--deit_tiny_patch16_224.fb_in1k/snapshots/abc" /
           "model.safetensors";
  }

  static Outcome run(const Arguments& arguments) {
    return run_program("test_quant", arguments, hub_at(hub()));
  }

 private:
  static std::unique_ptr<testing::TemporaryFolder> folder_;
};

std::unique_ptr<testing::TemporaryFolder> TestQuant::folder_;

TEST_F(TestQuant, PrintsThePublishedScriptsLines) {
  const Outcome outcome =
      run({"--model",       "deit_tiny", "--dataset",          dataset().string(),
           "--w_bit",       "4",         "--a_bits",           "5",
           "--print-freq",  "1",         "--val-batchsize",    "2",
           "--seed",        "3",         "--calib-batchsize",  "2",
           "--num-workers", "7",         "--log_quant_scheme", "BitLog2_Half_17"});
  EXPECT_EQ(outcome.exit_code, 0);
  EXPECT_EQ(outcome.err, "test_quant: this build runs on the CPU; --device cuda is ignored\n");
  const std::vector<std::string> lines = lines_of(outcome.out);
  ASSERT_EQ(lines.size(), 9U) << outcome.out;
  EXPECT_EQ(lines[0],
            fmt::format("Namespace(model='deit_tiny', dataset='{}', calib_batchsize=2, "
                        "val_batchsize=2, num_workers=7, device='cuda', print_freq=1, seed=3, "
                        "w_bits=4, a_bits=5, log_quant_scheme='BitLog2_Half_17')",
                        dataset().string()));
  EXPECT_EQ(lines[1], "Building dataloader ...");
  EXPECT_EQ(lines[2], "Building model ...");
  EXPECT_EQ(lines[3], "Performing initial quantization ...");
  EXPECT_EQ(lines[4], "Performing scale reparameterization ...");
  EXPECT_EQ(lines[5], "Validating ...");
  const std::string number = "[0-9]+[.][0-9]+ [(][0-9]+[.][0-9]+[)]";
  for (const std::size_t batch : {0U, 1U}) {
    EXPECT_THAT(lines[6 + batch],
                MatchesRegex(fmt::format("Test: \\[{}/2\\]\tTime {}\tLoss {}\tPrec@1 {}\tPrec@5 {}",
                                         batch, number, number, number, number)));
  }
  EXPECT_THAT(lines[8], MatchesRegex(" \\* Prec@1 [0-9]+[.][0-9]{3} Prec@5 [0-9]+[.][0-9]{3} "
                                     "Time [0-9]+[.][0-9]{3}"));
}

TEST_F(TestQuant, TakesWeightsAndPrintsEveryHundredthBatch) {
  const Outcome outcome =
      run({"--model", "deit_tiny", "--dataset", dataset().string(), "--weights", weights().string(),
           "--device", "cpu", "--calib-batchsize", "2", "--val-batchsize", "1"});
  EXPECT_EQ(outcome.exit_code, 0);
  EXPECT_EQ(outcome.err, "");
  const std::vector<std::string> lines = lines_of(outcome.out);
  ASSERT_EQ(lines.size(), 8U) << outcome.out;
  EXPECT_THAT(lines[6], StartsWith("Test: [0/4]\t"));
  EXPECT_THAT(lines[7], StartsWith(" * Prec@1 "));
}

TEST_F(TestQuant, TakesTheLastOfRepeatedOptions) {
  const Outcome outcome = run({"--model",           "deit_small",
                               "--model",           "deit_tiny",
                               "--dataset",         path("absent").string(),
                               "--dataset",         dataset().string(),
                               "--device",          "cuda",
                               "--device",          "cpu",
                               "--w_bits",          "8",
                               "--w_bit",           "5",
                               "--calib-batchsize", "32",
                               "--calib-batchsize", "2"});
  EXPECT_EQ(outcome.exit_code, 0);
  EXPECT_EQ(outcome.err, "");
  EXPECT_THAT(outcome.out, AllOf(StartsWith("Namespace(model='deit_tiny', dataset='" +
                                            dataset().string() + "', calib_batchsize=2, "),
                                 HasSubstr(" w_bits=5, ")));
}

TEST_F(TestQuant, InspectNamesItsModel) {
  const Outcome outcome = run_program("bitlog2", {"inspect", weights().string()});
  EXPECT_THAT(outcome.out, HasSubstr("\n152 tensors, 5717416 elements\nfits deit_tiny\n"));
}

TEST_F(TestQuant, RefusesBadInputInOneLine) {
  const auto refused = [](const Arguments& arguments, int exit_code) {
    const Outcome outcome = run(Arguments{"--device", "cpu"} + arguments);
    EXPECT_EQ(outcome.exit_code, exit_code);
    EXPECT_EQ(lines_of(outcome.err).size(), 1U) << outcome.err;
    EXPECT_THAT(outcome.err, StartsWith("test_quant: error: "));
    return outcome.err;
  };
  const std::string data = dataset().string();
  EXPECT_THAT(refused({"--model", "deit_small", "--dataset", data, "--calib-batchsize", "2"}, 1),
              HasSubstr("hf download timm/deit_small_patch16_224.fb_in1k model.safetensors"));
  EXPECT_THAT(refused({"--model", "resnet50", "--dataset", data}, 1), HasSubstr("swin_small"));
  EXPECT_THAT(refused({"--log_quant_scheme", "log2"}, 1), HasSubstr("BitLog2_Half_16"));
  EXPECT_THAT(refused({"--model", "deit_tiny", "--dataset", path("absent").string()}, 1),
              HasSubstr("absent: there is no such file or folder"));
  EXPECT_THAT(refused({"--model", "deit_tiny", "--dataset", data, "--calib-batchsize", "3"}, 1),
              HasSubstr("2 images, 3 were asked for"));
  EXPECT_THAT(refused({"--model", "deit_tiny", "--dataset", data, "--calib-batchsize", "2",
                       "--weights", nano_path("vit").string()},
                      1),
              HasSubstr("not a checkpoint of deit_tiny"));
  EXPECT_THAT(refused({"--w_bits", "9"}, 2), HasSubstr("2 to 8"));
  EXPECT_THAT(refused({"--a_bit", "1"}, 2), HasSubstr("2 to 8"));
  EXPECT_THAT(refused({"--no-such-option"}, 2), HasSubstr("--no-such-option"));
}

TEST_F(TestQuant, InterruptedPrintsWhatItReached) {
  write_dataset(path("many.safetensors"), 1000, 2, 16);
  Program program(
      "test_quant",
      {"--model", "deit_tiny", "--dataset", path("many.safetensors").string(), "--device", "cpu",
       "--calib-batchsize", "2", "--val-batchsize", "2", "--print-freq", "1"},
      hub_at(hub()));
  ASSERT_TRUE(program.wait_for_output("Test: [0/500]"));
  program.interrupt();
  const Outcome outcome = program.finish();
  EXPECT_EQ(outcome.exit_code, 130);
  EXPECT_LE(lines_of(outcome.err).size(), 1U);
  EXPECT_THAT(lines_of(outcome.out).back(), StartsWith(" * Prec@1 "));
  EXPECT_THAT(outcome.out, Not(HasSubstr("Test: [499/500]")));
}

}  // namespace
}  // namespace bitlog2
