// Encoders as a user runs them: embed, quantize --pool, eval --knn and --linear-probe, compare.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>
#include <thread>

#include "bitlog2/encoder.h"
#include "bitlog2/engine.h"
#include "bitlog2/load.h"
#include "cli/fixture.h"

namespace bitlog2 {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using ::testing::AllOf;
using testing::Arguments;
using testing::Cli;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::lines_of;
using testing::names_in;
using testing::nano_path;
using ::testing::Not;
using ::testing::StartsWith;
using testing::operator+;
using testing::Outcome;
using testing::Program;
using testing::read_text;

fs::path image(const std::string& name) {
  return testing::fixtures() / "images" / name;
}

/// A file of the demo, which comes with the project.
fs::path demo(const std::string& name) {
  return fs::path(BITLOG2_SOURCE_DIR) / "models" / "demo" / name;
}

const Arguments kDemo = {"--weights", demo("fashion_vit.safetensors").string()};
const Arguments kDemoData = {"--dataset", demo("fashion_mnist.safetensors").string()};
const Arguments kBits = {"--w-bits", "8", "--a-bits", "8"};

/// The rows of a .npy file of float32 [rows, columns], whose header is 128 bytes.
std::vector<float> npy_values(const fs::path& path) {
  const std::string text = read_text(path);
  EXPECT_THAT(text, StartsWith("\x93NUMPY\x01"));
  std::vector<float> values((text.size() - 128) / sizeof(float));
  std::memcpy(values.data(), text.data() + 128, values.size() * sizeof(float));
  return values;
}

double norm_of(std::span<const float> values) {
  double square = 0;
  for (const float value : values) {
    square += static_cast<double>(value) * value;
  }
  return std::sqrt(square);
}

class Encoders : public Cli {
 protected:
  Encoders() {
    fs::create_directories(path("images/more"));
    fs::copy(image("rgb_8.png"), path("images/one.png"));
    fs::copy(image("colour_420.jpg"), path("images/more/two.jpg"));
  }

  std::string images() const { return path("images").string(); }
  std::string out(const std::string& name) const { return (output() / name).string(); }

  /// Runs `bitlog2 embed` on the images in `images`.
  Outcome embed(const Arguments& more) const { return run(Arguments{"embed", images()} + more); }

  /// The demo as a quantized encoder.
  fs::path quantized_demo() const {
    const fs::path file = path("encoder.safetensors");
    const Outcome outcome = run(Arguments{"quantize", "--pool", "native", "-o", file.string()} +
                                kDemo + kDemoData + kBits);
    EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
    return file;
  }

  std::string error_of(const Arguments& arguments) const {
    const Outcome outcome = run(arguments);
    EXPECT_EQ(outcome.exit_code, 1);
    EXPECT_THAT(names_in(output()), ElementsAre());
    return complaint(outcome);
  }
};

// ---- embed -----------------------------------------------------------------------------

TEST_F(Encoders, EmbedAgreesWithTheLibrary) {
  const Outcome outcome = embed(kDemo + Arguments{"-o", out("e.npy")});
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_EQ(outcome.out, fmt::format("{0}/e.npy: 2 embeddings of 128 values by custom (fp32); "
                                     "names in {0}/e.names.txt\n",
                                     output().string()));
  EXPECT_EQ(read_text(out("e.names.txt")),
            fmt::format("{0}/more/two.jpg\n{0}/one.png\n", images()));
  const Model model = as_encoder(load_model({{}, demo("fashion_vit.safetensors"), {}}).model,
                                 EmbeddingPooling::native);
  const auto engine = make_fp32_engine(model);
  std::vector<float> expected;
  for (const char* name : {"more/two.jpg", "one.png"}) {
    const RgbImage crop =
        resize_and_crop(read_image(path("images") / name), model.config.preprocessing);
    const std::vector<float> row = engine->logits(std::span(&crop, 1));
    expected.insert(expected.end(), row.begin(), row.end());
  }
  EXPECT_EQ(npy_values(out("e.npy")), expected);
}

TEST_F(Encoders, EmbedWritesSafetensorsWithNames) {
  EXPECT_EQ(embed(kDemo + Arguments{"-o", out("e.npy")}).exit_code, 0);
  EXPECT_EQ(embed(kDemo + Arguments{"-o", out("e.safetensors")}).exit_code, 0);
  const Safetensors file = Safetensors::open(out("e.safetensors"));
  EXPECT_EQ(file.read_floats("embeddings"), npy_values(out("e.npy")));
  const auto names = file.at("names").bytes;
  EXPECT_EQ(std::string(reinterpret_cast<const char*>(names.data()), names.size()),
            read_text(out("e.names.txt")));
  EXPECT_THAT(names_in(output()), ElementsAre("e.names.txt", "e.npy", "e.safetensors"));
}

TEST_F(Encoders, EmbedNormalizes) {
  EXPECT_EQ(embed(kDemo + Arguments{"-o", out("e.npy")}).exit_code, 0);
  EXPECT_EQ(embed(kDemo + Arguments{"-o", out("n.npy"), "--normalize"}).exit_code, 0);
  const std::vector<float> plain = npy_values(out("e.npy"));
  const std::vector<float> unit = npy_values(out("n.npy"));
  ASSERT_EQ(plain.size(), 256U);
  ASSERT_EQ(unit.size(), 256U);
  for (std::size_t row = 0; row < 2; ++row) {
    const auto of = [&](const std::vector<float>& all) {
      return std::span(all).subspan(128 * row, 128);
    };
    EXPECT_NEAR(norm_of(of(unit)), 1, 1e-6);
    EXPECT_GT(norm_of(of(plain)), 1.5);
    for (std::size_t i = 0; i < 128; ++i) {
      EXPECT_NEAR(of(unit)[i] * norm_of(of(plain)), of(plain)[i], 1e-5);
    }
  }
}

TEST_F(Encoders, EmbedDoesNotDependOnTheNumberOfThreads) {
  const fs::path file = quantized_demo();
  for (const Arguments& model : {kDemo, Arguments{"--quantized", file.string()}}) {
    EXPECT_EQ(embed(model + Arguments{"-o", out("a.npy"), "--threads", "1"}).exit_code, 0);
    EXPECT_EQ(embed(model + Arguments{"-o", out("b.npy"), "--threads", "3"}).exit_code, 0);
    EXPECT_EQ(read_text(out("a.npy")), read_text(out("b.npy")));
  }
  EXPECT_EQ(
      embed({"--quantized", file.string(), "--isa", "portable", "-o", out("a.npy")}).exit_code, 0);
  EXPECT_EQ(read_text(out("a.npy")), read_text(out("b.npy")));
}

TEST_F(Encoders, EmbedLeavesOutDamagedImagesAndNamesThem) {
  fs::copy(image("damaged/truncated.jpg"), path("images/more/broken.jpg"));
  EXPECT_THAT(error_of(Arguments{"embed", images(), "--strict", "-o", out("e.npy")} + kDemo),
              HasSubstr("broken.jpg: damaged"));
  const Outcome outcome = embed(kDemo + Arguments{"-o", out("e.npy"), "--json"});
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_THAT(lines_of(outcome.err),
              ElementsAre(AllOf(StartsWith("bitlog2: error: "), HasSubstr("broken.jpg"))));
  EXPECT_EQ(read_text(out("e.names.txt")),
            fmt::format("{0}/more/two.jpg\n{0}/one.png\n", images()));
  EXPECT_EQ(npy_values(out("e.npy")).size(), 256U);
  const json report = json::parse(outcome.out);
  EXPECT_EQ(report["file"], out("e.npy"));
  EXPECT_EQ(report["names"], out("e.names.txt"));
  EXPECT_EQ(report["embeddings"], 2);
  EXPECT_EQ(report["values"], 128);
  EXPECT_EQ(report["skipped"], 1);
}

TEST_F(Encoders, EmbedOfNothingWritesNothing) {
  const Outcome outcome =
      run(Arguments{"embed", path("absent.png").string(), "-o", out("e.npy")} + kDemo);
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_THAT(outcome.err, HasSubstr("none of the 1 images could be read; nothing was written"));
  EXPECT_THAT(names_in(output()), ElementsAre());
}

TEST_F(Encoders, EmbedReadsStandardInput) {
  testing::Surroundings piped = surroundings();
  piped.in = image("rgb_8.png").string();
  const Outcome outcome = testing::run_program(
      "bitlog2", Arguments{"embed", "/dev/stdin", "-o", out("e.npy")} + kDemo, piped);
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_EQ(read_text(out("e.names.txt")), "/dev/stdin\n");
}

TEST_F(Encoders, EmbedRefusesWhatCannotBe) {
  const Arguments file = {"-o", out("e.npy")};
  const auto refused = [&](const Arguments& arguments) {
    return error_of(Arguments{"embed", images()} + arguments);
  };
  EXPECT_THAT(refused(file), HasSubstr("embed takes either --quantized"));
  EXPECT_THAT(refused(kDemo + Arguments{"-o", "-"}), HasSubstr("cannot go to stdout"));
  EXPECT_THAT(refused(kDemo + Arguments{"-o", out("e.txt")}), HasSubstr(".npy or .safetensors"));
  EXPECT_THAT(refused(kDemo + Arguments{"-o", images() + "/one.png"}),
              HasSubstr(".npy or .safetensors"));
  EXPECT_THAT(refused(kDemo + file + Arguments{"--pool", "map"}),
              HasSubstr("it has native, class"));
  EXPECT_THAT(refused(kDemo + file + Arguments{"--isa", "portable"}), HasSubstr("--isa"));
  EXPECT_THAT(refused(kDemo + Arguments{"-o", demo("fashion_vit.safetensors").string()}),
              HasSubstr("must not be overwritten"));
  EXPECT_THAT(refused(kDemo + file + Arguments{"--json=" + out("e.names.txt")}),
              HasSubstr("give different names"));
  EXPECT_THAT(refused({"--quantized", "q", "--pool", "class", "-o", out("e.npy")}),
              HasSubstr("leave out --pool"));
  const Outcome unknown = embed(kDemo + file + Arguments{"--pool", "max"});
  EXPECT_EQ(unknown.exit_code, 2);
  EXPECT_THAT(unknown.err, HasSubstr("max"));
}

TEST_F(Encoders, InterruptedEmbedLeavesNoFile) {
  ASSERT_EQ(mkfifo(path("pipe").c_str(), 0600), 0);
  Program program("bitlog2",
                  Arguments{"embed", images(), path("pipe").string(), "--threads", "2", "-o",
                            out("e.npy"), "--json", path("e.json").string()} +
                      kDemo,
                  surroundings());
  std::this_thread::sleep_for(std::chrono::milliseconds(500));  // by then it waits for the pipe
  program.interrupt(SIGTERM);
  const Outcome outcome = program.finish();
  EXPECT_EQ(outcome.exit_code, 143) << outcome.err;
  EXPECT_THAT(names_in(output()), ElementsAre());
  EXPECT_EQ(json::parse(read_text(path("e.json")), nullptr, false)["interrupted"], true);
}

TEST_F(Encoders, EmbedRefusesAFolderThatIsNotThere) {
  EXPECT_THAT(error_of(Arguments{"embed", images(), "-o", out("absent/e.npy")} + kDemo),
              HasSubstr("cannot be written"));
}

// ---- Encoders and classifiers are told apart --------------------------------------------

TEST_F(Encoders, QuantizedFilesSayWhatTheyAre) {
  const std::string encoder = quantized_demo().string();
  for (const Arguments& command : {Arguments{"predict", images()}, Arguments{"eval"} + kDemoData}) {
    EXPECT_THAT(error_of(command + Arguments{"--quantized", encoder}),
                AllOf(HasSubstr("encoder.safetensors: it has no classes"), HasSubstr("embed"),
                      HasSubstr("eval --knn")));
  }
  const std::string classifier = path("classifier.safetensors").string();
  ASSERT_EQ(run(on_nano("quantize", "vit") + Arguments{"-o", classifier}).exit_code, 0);
  for (const Arguments& command : {Arguments{"embed", images(), "-o", out("e.npy")},
                                   Arguments{"eval", "--knn", "1"} + kDemoData}) {
    EXPECT_THAT(error_of(command + Arguments{"--quantized", classifier}),
                AllOf(HasSubstr("this file gives class scores"), HasSubstr("quantize --pool")));
  }
}

TEST_F(Encoders, CheckpointsOfEncodersHaveNoClasses) {
  ModelConfig config = testing::thousand_classes();
  config.num_classes = 0;
  const fs::path weights = path("weights.safetensors");
  testing::write_random_model(weights, config);
  const Arguments model = {"--weights", weights.string()};
  for (const Arguments& command : {Arguments{"predict", images()}, Arguments{"eval"} + kDemoData,
                                   Arguments{"ablate"} + kDemoData}) {
    EXPECT_THAT(error_of(command + model), HasSubstr("thousand: it has no classes"));
  }
  EXPECT_EQ(embed(model + Arguments{"-o", out("e.npy")}).exit_code, 0);
  EXPECT_EQ(npy_values(out("e.npy")).size(), 32U);
}

TEST_F(Encoders, AreQuantizedWithoutLabels) {
  const Outcome outcome = run(Arguments{"quantize", "--pool", "native", "--dataset", images(),
                                        "--calib-batchsize", "2", "-o", out("q.safetensors")} +
                              kDemo + kBits);
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_EQ(embed({"--quantized", out("q.safetensors"), "-o", out("e.npy")}).exit_code, 0);
  EXPECT_EQ(npy_values(out("e.npy")).size(), 256U);
}

// ---- eval ------------------------------------------------------------------------------

TEST_F(Encoders, EvalProbesAllEngines) {
  const Outcome outcome = run(Arguments{"eval", "--engine", "fp32,simulate,integer", "--knn", "3",
                                        "--linear-probe", "--limit", "200"} +
                              kDemo + kDemoData + kBits);
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  const std::vector<std::string> lines = lines_of(outcome.out);
  ASSERT_EQ(lines.size(), 7U) << outcome.out;
  EXPECT_THAT(lines[0], HasSubstr("bits probe "));
  EXPECT_THAT(lines[1], AllOf(StartsWith("fp32 "), HasSubstr(" knn 3 "), HasSubstr(" 200 ")));
  EXPECT_THAT(lines[6], AllOf(StartsWith("integer "), HasSubstr(" linear ")));
}

TEST_F(Encoders, EvalWritesProbesAsJson) {
  const json rows = json_output(Arguments{"eval", "--knn", "3", "--linear-probe", "--limit", "300",
                                          "--pool", "class", "--engine", "fp32,simulate"} +
                                kDemo + kDemoData + kBits);
  ASSERT_EQ(rows.size(), 4U);
  for (const json& row : rows) {
    EXPECT_GT(row["top1"], 75);
    EXPECT_LE(row["top1"], row["top5"]);
    EXPECT_EQ(row["images"], 300);
    EXPECT_EQ(row["training_images"], 32);
  }
  EXPECT_EQ(rows[0]["probe"], "knn");
  EXPECT_EQ(rows[0]["neighbours"], 3);
  EXPECT_EQ(rows[0]["loss"], nullptr);
  EXPECT_EQ(rows[1]["probe"], "linear");
  EXPECT_GT(rows[1]["penalty"], 0);
  EXPECT_GT(rows[1]["loss"], 0);
}

TEST_F(Encoders, EvalOfAQuantizedEncoderIsThatOfTheIntegerEngine) {
  const std::string file = quantized_demo().string();
  const Arguments probes = {"--knn", "3", "--limit", "200"};
  const json of_file = json_output(Arguments{"eval", "--quantized", file} + kDemoData + probes);
  const json of_model =
      json_output(Arguments{"eval", "--engine", "integer"} + kDemo + kDemoData + kBits + probes);
  ASSERT_EQ(of_file.size(), 1U);
  EXPECT_EQ(of_file[0]["top1"], of_model[0]["top1"]);
}

TEST_F(Encoders, EvalRefusesWhatProbesDoNotHeed) {
  const Arguments eval = Arguments{"eval"} + kDemo + kDemoData;
  EXPECT_THAT(error_of(eval + Arguments{"--pool", "class"}), HasSubstr("--knn K"));
  EXPECT_THAT(error_of(eval + Arguments{"--knn", "3", "--class-map", "m.txt"}),
              HasSubstr("--class-map"));
  EXPECT_THAT(error_of(eval + Arguments{"--knn", "33"}), HasSubstr("there are 32 training images"));
  EXPECT_THAT(error_of(Arguments{"eval", "--knn", "1", "--dataset", dataset().string()} + kDemo),
              HasSubstr("there is no tensor train.labels"));
}

TEST_F(Encoders, InterruptedProbesAreMarked) {
  const fs::path folder = path("folder");
  for (const char* name : {"train/a/1.png", "train/b/1.png"}) {
    fs::create_directories((folder / name).parent_path());
    fs::copy(image("rgb_8.png"), folder / name);
  }
  fs::create_directories(folder / "val/a");
  for (int i = 0; i < 3000; ++i) {
    fs::create_symlink(image("colour_444.jpg"), folder / fmt::format("val/a/{}.jpg", i));
  }
  Program program("bitlog2",
                  Arguments{"eval", "--knn", "1", "--engine", "fp32,simulate", "--calib-batchsize",
                            "2", "--threads", "1", "--val-batchsize", "1", "--dataset",
                            folder.string(), "--json", path("e.json").string()} +
                      kDemo,
                  surroundings());
  ASSERT_TRUE(program.wait_for_error_output("calibrating on"));
  std::this_thread::sleep_for(std::chrono::milliseconds(200));
  program.interrupt();
  EXPECT_EQ(program.finish().exit_code, 130);
  const json rows = json::parse(read_text(path("e.json")), nullptr, false);
  ASSERT_FALSE(rows.empty());
  EXPECT_EQ(rows.back()["interrupted"], true);
}

// ---- compare ---------------------------------------------------------------------------

TEST_F(Encoders, CompareReportsCosines) {
  for (const Arguments& pool : {Arguments{}, Arguments{"--pool", "class"}}) {
    const json rows =
        json_output(Arguments{"compare", "--images", "2"} + kDemo + kDemoData + kBits + pool);
    ASSERT_FALSE(rows.empty());
    EXPECT_EQ(rows.back()["layer"], "head");
    for (const json& row : rows) {
      for (const char* pair : {"integer_to_simulated", "integer_to_fp32", "simulated_to_fp32"}) {
        const double cosine = row[fmt::format("{}_cosine", pair)];
        EXPECT_LE(cosine, 1 + 1e-9) << row["layer"];
        // Noise of a tenth of the signal lowers the cosine by less than two tenths.
        const double noise = std::pow(10, -row[fmt::format("{}_db", pair)].get<double>() / 20);
        EXPECT_GE(cosine, 1 - 2 * noise) << row["layer"];
      }
    }
  }
}

}  // namespace
}  // namespace bitlog2
