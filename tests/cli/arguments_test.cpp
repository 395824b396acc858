// What the programs say about options that do not go together, about wrong values, and about the
// word after --json.
#include "cli/fixture.h"

namespace bitlog2 {
namespace {

using nlohmann::json;
using ::testing::AllOf;
using testing::Arguments;
using testing::Cli;
using ::testing::HasSubstr;
using testing::nano_path;
using ::testing::Not;
using testing::operator+;
using testing::Outcome;
using testing::read_text;
using ::testing::StartsWith;

/// The options that say how a model is quantized.
std::vector<Arguments> quantization_options() {
  return {{"--w-bits", "4"},
          {"--a-bits", "8"},
          {"--log-quant-scheme", "Sqrt2_17"},
          {"--recipe", "best"},
          {"--weight-rounding", "gptq"},
          {"--gelu-quant-scheme", "Shift"},
          {"--head-basis", "own"}};
}

TEST_F(Cli, OptionsThatFloat32DoesNotHeedAreRefused) {
  const auto refused = [&](const Arguments& command, const Arguments& option) {
    const Outcome outcome = run(command + Arguments{"--engine", "fp32"} + option);
    EXPECT_EQ(outcome.exit_code, 1) << option[0];
    EXPECT_EQ(outcome.out, "");
    EXPECT_THAT(complaint(outcome), AllOf(StartsWith("bitlog2: error: " + option[0] + " needs"),
                                          HasSubstr("engine"), HasSubstr("integer")));
  };
  const Arguments bench = {"bench", "--weights", nano_path("vit").string(), "--seconds", "0.01"};
  for (const Arguments& option : quantization_options()) {
    refused(eval("vit"), option);
    refused(bench, option);
  }
  refused(eval("vit"), {"--dump-quantizers", path("quantizers.json").string()});
  refused(bench, {"--isa", "portable"});
  // Such an option is accepted if something else in the same run uses it.
  const Arguments bits = {"--w-bits", "4"};
  for (const Arguments& taken : {eval("vit") + Arguments{"--engine", "fp32,simulate"} + bits,
                                 bench + Arguments{"--engine", "fp32,integer"} + bits,
                                 bench + Arguments{"--engine", "fp32", "--profile"} + bits}) {
    const Outcome outcome = run(taken);
    EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  }
}

TEST_F(Cli, IsaNeedsTheIntegerEngine) {
  const Outcome outcome = run({"bench", "--weights", nano_path("vit").string(), "--engine",
                               "simulate,fp32", "--isa", "all"});
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_THAT(complaint(outcome), AllOf(HasSubstr("--isa needs"), HasSubstr("integer")));
}

TEST_F(Cli, BenchOfAQuantizedFileTakesNoFloatEngine) {
  const std::string file = path("quantized.safetensors").string();
  ASSERT_EQ(run(on_nano("quantize", "vit") + Arguments{"-o", file}).exit_code, 0);
  for (const char* engine : {"fp32", "simulate", "integer,fp32"}) {
    const Outcome outcome = run({"bench", "--quantized", file, "--engine", engine});
    EXPECT_EQ(outcome.exit_code, 1);
    EXPECT_EQ(outcome.out, "");
    EXPECT_THAT(complaint(outcome),
                AllOf(HasSubstr("leave out --engine"), Not(HasSubstr("--model"))));
  }
}

TEST_F(Cli, AblateOfPartsTakesNoRecipe) {
  for (const Arguments& option :
       {Arguments{"--recipe", "best"}, Arguments{"--compensation", "none"},
        Arguments{"--head-basis", "own"}}) {
    const Outcome outcome = run(on_nano("ablate", "vit") + Arguments{"--of", "parts"} + option);
    EXPECT_EQ(outcome.exit_code, 1);
    EXPECT_THAT(complaint(outcome), AllOf(HasSubstr("--of parts"), HasSubstr(option[0])));
  }
}

TEST_F(Cli, EveryOptionIsNamedWhereItsValueIsWrong) {
  for (const char* command : {"eval", "quantize", "compare", "ablate", "bench"}) {
    for (const std::string option : {"--head-equalization", "--head-basis", "--residual-basis"}) {
      const Outcome outcome = run({command, option, "nonsense"});
      EXPECT_EQ(outcome.exit_code, 2);
      EXPECT_THAT(complaint(outcome),
                  AllOf(StartsWith("bitlog2: error: " + option + ":"), HasSubstr("'nonsense'")));
    }
    EXPECT_THAT(complaint(run({command, "--head-basis", ""})),
                StartsWith("bitlog2: error: --head-basis"));
    // The old names still work, for scripts, but the help does not show them.
    const std::string help = run({command, "--help"}).out;
    EXPECT_THAT(help, AllOf(HasSubstr("--head-equalization"), Not(HasSubstr("--head-basis")),
                            Not(HasSubstr("scripts"))));
  }
}

TEST_F(Cli, AFileForJsonThatIsTakenForAnInputIsExplained) {
  const std::string image = (testing::fixtures() / "images" / "rgb_8.png").string();
  const std::string text = path("out.txt").string();
  const Arguments predict = {"predict", "--weights", nano_path("vit").string()};
  const std::string model = nano_path("vit").string();
  for (const Arguments& arguments :
       {predict + Arguments{"--json", text, image}, predict + Arguments{image, "--json", text},
        Arguments{"inspect", "--json", text, model}, Arguments{"inspect", model, "--json", text}}) {
    const Outcome outcome = run(arguments);
    EXPECT_EQ(outcome.exit_code, 2);
    EXPECT_EQ(outcome.out, "");
    EXPECT_THAT(complaint(outcome), HasSubstr("give --json=" + text + " or a name that ends in "));
  }
  for (const Arguments& arguments : {predict + Arguments{"--json=" + text, image},
                                     Arguments{"inspect", model, "--json=" + text}}) {
    EXPECT_EQ(run(arguments).exit_code, 0);
    EXPECT_TRUE(json::accept(read_text(text)));
  }
}

TEST_F(Cli, DatasetsInOneFileAreExplainedByTheDocumentation) {
  for (const Arguments& command : {Arguments{"eval"}, Arguments{"compare"}, Arguments{"ablate"}}) {
    const Outcome outcome = run(command + Arguments{"--weights", nano_path("vit").string(),
                                                    "--dataset", nano_path("vit").string()});
    EXPECT_EQ(outcome.exit_code, 1);
    EXPECT_THAT(complaint(outcome), AllOf(HasSubstr("there is no tensor val.images"),
                                          HasSubstr("docs/datasets-and-configs.md")));
  }
}

TEST_F(Cli, WordsOutOfPlaceAreExplained) {
  EXPECT_THAT(complaint(run(eval("vit") + Arguments{"--", "--limit", "2"})),
              HasSubstr("option --limit stands behind --"));
  EXPECT_THAT(complaint(run({"classify"})), HasSubstr("there are eval, quantize, predict"));
}

TEST_F(Cli, AllInstructionSetsAreAllWhateverElseIsNamed) {
  const Arguments bench = {"bench",     "--weights", nano_path("vit").string(),
                           "--seconds", "0.01",      "--threads",
                           "1",         "--isa"};
  const json all = json_output(bench + Arguments{"all"});
  EXPECT_EQ(json_output(bench + Arguments{"portable,all"}).size(), all.size());
}

}  // namespace
}  // namespace bitlog2
