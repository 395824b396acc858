// The programs in difficult surroundings: little memory, few threads, outputs that cannot be
// written to, files that must not be overwritten.
#include <sys/stat.h>

#include <fstream>
#include <thread>

#include "cli/fixture.h"

namespace bitlog2 {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using ::testing::AllOf;
using ::testing::AnyOf;
using testing::Arguments;
using testing::Cli;
using testing::complaints;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::lines_of;
using testing::names_in;
using testing::nano_path;
using ::testing::StartsWith;
using testing::operator+;
using testing::Outcome;
using testing::Program;
using testing::read_text;
using testing::run_program;
using testing::Surroundings;
using testing::write_text;

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool kSanitized = true;
#elif defined(__has_feature)
constexpr bool kSanitized = __has_feature(address_sanitizer) || __has_feature(thread_sanitizer);
#else
constexpr bool kSanitized = false;
#endif

constexpr rlim_t kMegabyte = 1'000'000;

class Limited : public Cli {
 protected:
  void SetUp() override {
    if (kSanitized) {
      GTEST_SKIP() << "sanitizers need more address space than any limit leaves";
    }
  }

  Outcome run_within(rlim_t megabytes, const Arguments& arguments) const {
    Surroundings limited = surroundings();
    limited.address_space = megabytes * kMegabyte;
    return run_program("bitlog2", arguments, limited);
  }

  /// A quantized nano ViT.
  fs::path quantized() const {
    const fs::path file = path("quantized.safetensors");
    EXPECT_EQ(run(on_nano("quantize", "vit") + Arguments{"-o", file.string()}).exit_code, 0);
    return file;
  }
};

// ---- Threads and memory ----------------------------------------------------------------

TEST_F(Limited, ThreadsThatCannotStartAreOneLine) {
  const Outcome outcome =
      run_within(1500, {"eval", "--weights", nano_path("vit").string(), "--dataset",
                        dataset().string(), "--calib-batchsize", "6", "--threads", "400"});
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_THAT(complaint(outcome),
              AllOf(HasSubstr(" of 400 threads could be started"), HasSubstr("--threads")));
}

TEST_F(Limited, ThreadsThatAUserMayNotStartAreOneLine) {
  Surroundings limited = surroundings();
  limited.processes = 60;
  fs::permissions(path(""), fs::perms::all);  // for the user who has the limit
  const Outcome outcome =
      run_program("bitlog2",
                  {"eval", "--weights", nano_path("vit").string(), "--dataset", dataset().string(),
                   "--calib-batchsize", "6", "--threads", "100"},
                  limited);
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_THAT(complaint(outcome), HasSubstr(" of 100 threads could be started"));
}

TEST_F(Limited, FloatProductsStartNoThreadsOfTheirOwn) {
  Surroundings limited = surroundings();
  limited.processes = 1;
  fs::permissions(path(""), fs::perms::all);
  const Outcome outcome =
      run_program("bitlog2",
                  {"eval", "--weights", nano_path("vit").string(), "--dataset", dataset().string(),
                   "--calib-batchsize", "6", "--threads", "1"},
                  limited);
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
}

TEST_F(Limited, WhatNeedsNoFloatProductsRunsInLittleMemory) {
  const fs::path file = quantized();
  const std::string image = (testing::fixtures() / "images" / "rgb_8.png").string();
  for (const Arguments& arguments :
       {Arguments{"--version"}, Arguments{"--help"}, Arguments{"inspect", file.string()},
        Arguments{"predict", "--threads", "1", "--quantized", file.string(), image},
        Arguments{"eval", "--threads", "1", "--quantized", file.string(), "--dataset",
                  dataset().string()}}) {
    const Outcome outcome = run_within(150, arguments);
    EXPECT_EQ(outcome.exit_code, 0) << arguments[0] << ": " << outcome.err;
  }
}

TEST_F(Limited, MemoryThatDoesNotSufficeIsOneLineWithAnOptionOfTheCommand) {
  const fs::path demo = fs::path(BITLOG2_SOURCE_DIR) / "models" / "demo";
  // The first message about memory as the limit rises. With less memory, the program does not
  // start.
  const auto refused = [&](const Arguments& arguments) -> std::string {
    for (rlim_t megabytes = 14; megabytes < 80; ++megabytes) {
      const Outcome outcome = run_within(megabytes, arguments);
      const std::vector<std::string> lines = complaints(outcome);
      if (outcome.exit_code == 1 && lines.size() == 1 &&
          lines[0].find("out of memory") != std::string::npos) {
        return lines[0];
      }
    }
    return "";
  };
  // The message advises only what can help: 1 cannot become smaller, and float32 does not
  // calibrate.
  const auto advice = [&](const Arguments& more) {
    return refused(Arguments{"eval", "--limit", "4", "--weights",
                             (demo / "fashion_vit.safetensors").string(), "--dataset",
                             (demo / "fashion_mnist.safetensors").string()} +
                   more);
  };
  EXPECT_EQ(
      advice({"--threads", "2"}),
      "bitlog2: error: out of memory; a smaller --calibration-images or --threads needs less");
  EXPECT_EQ(advice({"--threads", "1", "--calib-batchsize", "6"}),
            "bitlog2: error: out of memory; a smaller --calibration-images needs less");
  EXPECT_EQ(advice({"--threads", "1", "--calib-batchsize", "1"}), "bitlog2: error: out of memory");
  EXPECT_EQ(advice({"--threads", "1", "--engine", "fp32"}), "bitlog2: error: out of memory");
  EXPECT_EQ(advice({"--threads", "2", "--engine", "fp32"}),
            "bitlog2: error: out of memory; a smaller --threads needs less");
  EXPECT_EQ(refused({"predict", "--weights", (demo / "fashion_vit.safetensors").string(),
                     (testing::fixtures() / "images" / "rgb_8.png").string()}),
            "bitlog2: error: out of memory; a smaller --threads needs less");
}

TEST_F(Limited, EveryLimitOfMemoryIsSurvived) {
  // With each limit, memory ends in another place. The program must give one line or a result, and
  // never hang.
  for (rlim_t megabytes = 10; megabytes < 100; megabytes += 7) {
    const Outcome outcome = run_within(megabytes, eval("vit"));
    EXPECT_THAT(outcome.exit_code, AnyOf(0, 1, 127)) << megabytes << ": " << outcome.err;
  }
}

// ---- Outputs that cannot be written to --------------------------------------------------

TEST_F(Cli, AFullStdoutIsAnError) {
  Surroundings full = surroundings();
  full.out = "/dev/full";
  const std::string image = (testing::fixtures() / "images" / "rgb_8.png").string();
  for (const Arguments& arguments :
       {eval("vit"), eval("vit") + Arguments{"--json", "-"}, on_nano("compare", "vit"),
        on_nano("ablate", "vit"), Arguments{"inspect", nano_path("vit").string()},
        Arguments{"inspect", "--json", nano_path("vit").string()},
        Arguments{"predict", "--weights", nano_path("vit").string(), image},
        on_nano("quantize", "vit") + Arguments{"-o", path("q.safetensors").string()},
        Arguments{"bench", "--weights", nano_path("vit").string(), "--seconds", "0.01"},
        Arguments{"--help"}, Arguments{"--version"}}) {
    const Outcome outcome = run_program("bitlog2", arguments, full);
    EXPECT_EQ(outcome.exit_code, 1) << arguments[0];
    const std::vector<std::string> lines = complaints(outcome);
    ASSERT_EQ(lines.size(), 1U) << arguments[0] << outcome.err;
    EXPECT_EQ(lines[0],
              "bitlog2: error: standard output: cannot be written (No space left on device)");
  }
  const Outcome outcome = run_program("test_quant", {"--help"}, full);
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_THAT(outcome.err, StartsWith("test_quant: error: standard output: cannot be written"));
}

TEST_F(Cli, AClosedStdoutIsAnErrorAndNoFileGetsItsPlace) {
  Surroundings closed = surroundings();
  closed.closed_out = true;
  const Outcome outcome =
      run_program("bitlog2", eval("vit") + Arguments{"--json", path("out.json").string()}, closed);
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_THAT(complaint(outcome), HasSubstr("standard output: cannot be written"));
}

TEST_F(Cli, AStderrThatCannotBeWrittenToChangesNothing) {
  for (const bool is_closed : {false, true}) {
    Surroundings mute = surroundings();
    mute.closed_err = is_closed;
    mute.err = is_closed ? "" : "/dev/full";
    EXPECT_EQ(run_program("bitlog2", eval("vit"), mute).exit_code, 0);
    EXPECT_EQ(run_program("bitlog2", {"eval", "--no-such-option"}, mute).exit_code, 2);
    EXPECT_EQ(run_program("bitlog2", {"inspect", path("absent").string()}, mute).exit_code, 1);
    EXPECT_EQ(
        run_program("test_quant", {"--device", "cuda", "--dataset", path("absent").string()}, mute)
            .exit_code,
        1);
  }
}

// ---- Outputs that would do harm ---------------------------------------------------------

TEST_F(Cli, NothingThatIsReadIsOverwritten) {
  const fs::path weights = path("weights.safetensors");
  fs::copy(nano_path("vit"), weights);
  fs::create_hard_link(weights, path("link.safetensors"));
  fs::create_symlink(weights, path("symlink.safetensors"));
  const std::string before = read_text(weights);
  const Arguments model = {"--weights",        weights.string(),    "--dataset",
                           dataset().string(), "--calib-batchsize", "6"};
  const auto refused = [&](const Arguments& arguments) {
    const Outcome outcome = run(arguments);
    EXPECT_EQ(outcome.exit_code, 1);
    EXPECT_EQ(outcome.out, "");
    EXPECT_EQ(lines_of(outcome.err).size(), 1U) << outcome.err;  // before any work
    EXPECT_THAT(outcome.err, HasSubstr("must not be overwritten"));
  };
  for (const fs::path& target : {weights, path("link.safetensors"), path("symlink.safetensors"),
                                 path("./weights.safetensors"), dataset()}) {
    refused(Arguments{"quantize"} + model + Arguments{"-o", target.string()});
    for (const char* option : {"--json", "--dump-quantizers"}) {
      refused(Arguments{"eval"} + model + Arguments{option, target.string()});
    }
    for (const char* command : {"ablate", "compare"}) {
      refused(Arguments{command} + model + Arguments{"--json", target.string()});
    }
  }
  refused({"bench", "--weights", weights.string(), "--json", weights.string()});
  refused({"inspect", weights.string(), "--json=" + weights.string()});
  refused({"predict", "--weights", weights.string(), "--json=" + weights.string(), "a.png"});
  refused({"predict", "--weights", weights.string(), "--json=" + dataset().string(),
           dataset().string()});
  EXPECT_EQ(read_text(weights), before);
}

TEST_F(Cli, NoFileOfADatasetFolderIsOverwritten) {
  const fs::path image = path("folders/val/0/a.png");
  write_text(image, "x");
  const Outcome outcome = run({"eval", "--weights", nano_path("vit").string(), "--dataset",
                               path("folders").string(), "--json", image.string()});
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_THAT(complaint(outcome), HasSubstr("must not be overwritten"));
  EXPECT_EQ(read_text(image), "x");
}

TEST_F(Cli, AReadOnlyFileIsNotReplaced) {
  write_text(path("kept.json"), "kept");
  fs::permissions(path("kept.json"), fs::perms::owner_read);
  const Outcome outcome = run(eval("vit") + Arguments{"--json", path("kept.json").string()});
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_THAT(complaint(outcome), HasSubstr("kept.json: is read-only"));
  EXPECT_EQ(lines_of(outcome.err).size(), 1U);
  EXPECT_EQ(read_text(path("kept.json")), "kept");
}

TEST_F(Cli, NamesThatAreNoFilesAreRefusedBeforeAnyWork) {
  for (const std::string name : {"", "-", "--help", "-x"}) {
    const Outcome outcome = run(on_nano("quantize", "vit") + Arguments{"-o", name});
    EXPECT_THAT(outcome.exit_code, AnyOf(1, 2)) << name;
    EXPECT_EQ(lines_of(outcome.err).size(), 1U) << outcome.err;
    EXPECT_THAT(outcome.err, HasSubstr("name"));
    EXPECT_EQ(outcome.out, "");
    EXPECT_FALSE(name != "" && fs::exists(name));
  }
}

TEST_F(Cli, TwoResultsNeedTwoFiles) {
  fs::create_symlink("same.json", path("link.json"));
  const Outcome outcome =
      run(eval("vit") + Arguments{"--json", path("same.json").string(), "--dump-quantizers",
                                  path("link.json").string()});
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_THAT(complaint(outcome), HasSubstr("give different names"));
}

// ---- Names of files ---------------------------------------------------------------------

TEST_F(Cli, NamesThatAreNoTextDoNotSpoilTheOthers) {
  const fs::path images = path("images");
  fs::create_directory(images);
  const fs::path png = testing::fixtures() / "images" / "rgb_8.png";
  fs::copy(png, images / "a.png");
  fs::copy(png, images / "b\xe9.png");  // Latin-1
  fs::copy(testing::fixtures() / "images" / "damaged" / "truncated.jpg",
           images / "c\x1b[31m\n.jpg");
  const Outcome outcome =
      run({"predict", "--weights", nano_path("vit").string(), "--json", images.string()});
  EXPECT_EQ(outcome.exit_code, 1);
  const json answers = json::parse(outcome.out);
  ASSERT_EQ(answers.size(), 3U);
  EXPECT_THAT(answers[1]["image"].get<std::string>(), HasSubstr("b\xEF\xBF\xBD.png"));
  const std::vector<std::string> lines = complaints(outcome);
  ASSERT_EQ(lines.size(), 1U) << outcome.err;
  EXPECT_THAT(lines[0], HasSubstr("c\\x1b[31m\\n.jpg"));
}

TEST_F(Cli, SkippedImagesAreNamedPrintably) {
  for (int label = 0; label < 10; ++label) {
    fs::create_directories(path("folders/val") / std::to_string(label));
    fs::copy(testing::fixtures() / "images" / "rgb_8.png",
             path("folders/val") / std::to_string(label) / "a.png");
  }
  write_text(path("folders/val/3/\x1b]0;title\x07.png"), "no image");
  const Outcome outcome = run({"eval", "--weights", nano_path("vit").string(), "--dataset",
                               path("folders").string(), "--engine", "fp32"});
  EXPECT_EQ(outcome.exit_code, 0);
  EXPECT_THAT(complaints(outcome), ElementsAre(HasSubstr("\\x1b]0;title\\x07.png")));
}

// ---- What is no regular file ------------------------------------------------------------

TEST_F(Cli, AFifoAmongTheFilesIsNotWaitedFor) {
  for (int label = 0; label < 10; ++label) {
    const fs::path folder = path("folders/val") / std::to_string(label);
    fs::create_directories(folder);
    fs::copy(testing::fixtures() / "images" / "rgb_8.png", folder / "a.png");
    ASSERT_EQ(mkfifo((folder / "b.png").c_str(), 0600), 0);
  }
  const fs::path fifo = path("fifo.safetensors");
  ASSERT_EQ(mkfifo(fifo.c_str(), 0600), 0);
  const Arguments model = {"--weights", nano_path("vit").string()};
  const Outcome evaluated =
      run(Arguments{"eval", "--dataset", path("folders").string(), "--engine", "fp32"} + model);
  EXPECT_EQ(evaluated.exit_code, 0) << evaluated.err;
  EXPECT_THAT(complaints(evaluated), ElementsAre(AllOf(StartsWith("note: "), HasSubstr("10"))));
  const Outcome predicted = run(Arguments{"predict", path("folders/val/0").string()} + model);
  EXPECT_EQ(predicted.exit_code, 0) << predicted.err;
  EXPECT_EQ(lines_of(predicted.out).size(), 6U);
  for (const Arguments& arguments :
       {Arguments{"inspect", fifo.string()},
        Arguments{"eval", "--weights", fifo.string(), "--dataset", dataset().string()},
        Arguments{"eval", "--dataset", fifo.string()} + model,
        Arguments{"eval", "--quantized", fifo.string(), "--dataset", dataset().string()}}) {
    const Outcome outcome = run(arguments);
    EXPECT_EQ(outcome.exit_code, 1);
    EXPECT_THAT(complaints(outcome).back(), HasSubstr(fifo.string()));
  }
}

TEST_F(Cli, PredictReadsStandardInput) {
  Surroundings fed = surroundings();
  fed.in = (testing::fixtures() / "images" / "rgb_8.png").string();
  const Arguments predict = {"predict", "--weights", nano_path("vit").string()};
  const Outcome streamed = run_program("bitlog2", predict + Arguments{"/dev/stdin"}, fed);
  EXPECT_EQ(streamed.exit_code, 0) << streamed.err;
  const std::vector<std::string> expected = lines_of(run(predict + Arguments{fed.in}).out);
  const std::vector<std::string> lines = lines_of(streamed.out);
  ASSERT_EQ(lines.size(), 6U);
  EXPECT_TRUE(std::equal(lines.begin() + 1, lines.end(), expected.begin() + 1));
  // A pipe, as a shell's <(...) is.
  ASSERT_EQ(mkfifo(path("pipe").c_str(), 0600), 0);
  std::thread writer([&] { std::ofstream(path("pipe"), std::ios::binary) << read_text(fed.in); });
  const Outcome piped = run(predict + Arguments{path("pipe").string()});
  writer.join();
  EXPECT_EQ(piped.exit_code, 0) << piped.err;
  EXPECT_EQ(lines_of(piped.out).size(), 6U);
}

TEST_F(Cli, AStreamWithoutEndIsRefused) {
  const Outcome outcome = run({"predict", "--weights", nano_path("vit").string(), "/dev/zero"});
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_THAT(complaint(outcome), HasSubstr("/dev/zero: does not end within"));
}

TEST_F(Cli, NoLinkLeadsToAnImageTwice) {
  const fs::path png = testing::fixtures() / "images" / "rgb_8.png";
  fs::create_directories(path("images/b/deep"));
  fs::create_directories(path("elsewhere"));
  for (const char* name : {"images/top.png", "images/b/deep/in.png", "elsewhere/out.png"}) {
    fs::copy(png, path(name));
  }
  fs::create_symlink(".", path("images/loop"));
  fs::create_symlink("b", path("images/a"));  // sorted before its target
  fs::create_symlink("b/deep", path("images/c"));
  fs::create_symlink("../elsewhere", path("images/d"));
  fs::create_symlink("../elsewhere", path("images/e"));
  fs::create_symlink("..", path("images/f"));
  const Outcome outcome = run(
      {"predict", "--weights", nano_path("vit").string(), "--top", "1", path("images").string()});
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  std::vector<std::string> names = lines_of(outcome.out);
  std::erase_if(names, [](const std::string& line) { return line.starts_with(' '); });
  EXPECT_THAT(names,
              ElementsAre(path("images/b/deep/in.png").string(), path("images/d/out.png").string(),
                          path("images/top.png").string()));
}

// ---- Nothing evaluated ------------------------------------------------------------------

TEST_F(Cli, ARunThatMeasuredNothingIsAnError) {
  for (int label = 0; label < 10; ++label) {
    write_text(path("damaged/val") / std::to_string(label) / "a.png", "no image");
  }
  const Outcome outcome =
      run({"eval", "--weights", nano_path("vit").string(), "--dataset", path("damaged").string(),
           "--engine", "fp32", "--json", (output() / "out.json").string()});
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_EQ(outcome.out, "");
  EXPECT_THAT(complaints(outcome).back(),
              HasSubstr("none of the 10 images could be read; nothing was evaluated"));
  EXPECT_THAT(names_in(output()), ElementsAre());
}

TEST_F(Cli, AnInterruptedRowWithoutImagesHasNoNumbers) {
  // The run is interrupted during calibration, or before a batch is done.
  Program program("bitlog2",
                  {"eval", "--weights", nano_path("swin").string(), "--dataset", dataset().string(),
                   "--calib-batchsize", "6", "--recipe", "best", "--threads", "1", "--json", "-"},
                  surroundings());
  ASSERT_TRUE(program.wait_for_error_output("calibrating on"));
  program.interrupt();
  const Outcome outcome = program.finish();
  EXPECT_EQ(outcome.exit_code, 130);
  const json table = json::parse(outcome.out);
  ASSERT_FALSE(table.empty());
  EXPECT_EQ(table.back()["interrupted"], true);
  if (table.back()["images"] == 0) {
    EXPECT_EQ(table.back()["top1"], nullptr);
    EXPECT_EQ(table.back()["loss"], nullptr);
  }
}

TEST_F(Cli, EveryCommandWritesWhatItReachedWhenItIsInterrupted) {
  testing::write_dataset(path("many.safetensors"), 20'000, 2, 8);
  int signal = SIGINT;
  const auto interrupted = [&](const Arguments& arguments, const std::string& sign) {
    const fs::path file = path("reached.json");
    fs::remove(file);
    Program program("bitlog2", arguments + Arguments{"--json", file.string()}, surroundings());
    EXPECT_TRUE(program.wait_for_error_output(sign) || program.wait_for_output(sign));
    std::this_thread::sleep_for(std::chrono::milliseconds(300));
    program.interrupt(signal);
    const Outcome outcome = program.finish();
    EXPECT_EQ(outcome.exit_code, 128 + signal) << arguments[0];
    return json::parse(read_text(file), nullptr, false);
  };
  const Arguments model = {"--weights", nano_path("vit").string()};
  const Arguments many = model + Arguments{"--dataset",         path("many.safetensors").string(),
                                           "--calib-batchsize", "2",
                                           "--threads",         "1"};
  EXPECT_EQ(interrupted(Arguments{"ablate"} + many, "calibrating on")["interrupted"], true);
  EXPECT_EQ(interrupted(Arguments{"compare", "--images", "20000"} + many, "calibrating on")
                .back()["interrupted"],
            true);
  // Schedulers send this signal.
  signal = SIGTERM;
  EXPECT_EQ(interrupted(Arguments{"ablate"} + many, "calibrating on")["interrupted"], true);
  EXPECT_EQ(interrupted(Arguments{"eval"} + many, "calibrating on").back()["interrupted"], true);
}

TEST_F(Cli, BenchDoesNotMeasureToItsEndWhenItIsInterrupted) {
  const auto start = std::chrono::steady_clock::now();
  Program program("bitlog2",
                  {"bench", "--seconds", "300", "--weights", nano_path("vit").string(), "--json",
                   path("b.json").string()},
                  surroundings());
  ASSERT_TRUE(program.wait_for_output("ceiling"));
  program.interrupt(SIGTERM);
  EXPECT_EQ(program.finish().exit_code, 143);
  EXPECT_EQ(json::parse(read_text(path("b.json")), nullptr, false),
            json::array({json({{"interrupted", true}})}));
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(100));
}

TEST_F(Cli, ASignalEndsAWaitForAnOpenPipe) {
  for (const char* threads : {"1", "2"}) {
    const std::string pipe = path(std::string("pipe") + threads).string();
    ASSERT_EQ(mkfifo(pipe.c_str(), 0600), 0);
    Program program(
        "bitlog2",
        {"predict", "--threads", threads, "--weights", nano_path("vit").string(), pipe, pipe},
        surroundings());
    // With a writer, the pipe opens, but its content does not end.
    const int writer = open(pipe.c_str(), O_WRONLY);
    std::this_thread::sleep_for(std::chrono::milliseconds(200));
    program.interrupt();
    EXPECT_EQ(program.finish().exit_code, 130);
    close(writer);
  }
}

TEST_F(Cli, ASecondSignalEndsTheProgramAtOnce) {
  ASSERT_EQ(mkfifo(path("pipe").c_str(), 0600), 0);
  Program program("bitlog2",
                  {"predict", "--weights", nano_path("vit").string(), path("pipe").string()},
                  surroundings());
  const int writer = open(path("pipe").c_str(), O_WRONLY);
  std::this_thread::sleep_for(std::chrono::milliseconds(200));
  program.interrupt();
  program.interrupt(SIGTERM);
  EXPECT_THAT(program.finish().exit_code, ::testing::AnyOf(130, 143));
  close(writer);
}

TEST_F(Cli, AWaitForAPipeEndsAsInterrupted) {
  ASSERT_EQ(mkfifo(path("pipe").c_str(), 0600), 0);
  Program program("bitlog2",
                  {"predict", "--threads", "1", "--weights", nano_path("vit").string(), "--json",
                   path("p.json").string(), path("pipe").string()},
                  surroundings());
  std::this_thread::sleep_for(std::chrono::milliseconds(500));  // by then it waits
  program.interrupt(SIGTERM);
  const Outcome outcome = program.finish();
  EXPECT_EQ(outcome.exit_code, 143) << outcome.err;
  EXPECT_EQ(json::parse(read_text(path("p.json")), nullptr, false),
            json::array({json({{"interrupted", true}})}));
}

TEST_F(Cli, TestQuantEndsOnSigterm) {
  testing::write_dataset(path("many.safetensors"), 20'000, 2, 8);
  testing::write_random_model(path("deit.safetensors"), find_named_model("deit_tiny").config);
  Program program(
      "test_quant",
      {"--model", "deit_tiny", "--weights", path("deit.safetensors").string(), "--dataset",
       path("many.safetensors").string(), "--calib-batchsize", "1", "--device", "cpu"},
      surroundings());
  ASSERT_TRUE(program.wait_for_output("Performing initial quantization"));
  program.interrupt(SIGTERM);
  const Outcome outcome = program.finish();
  EXPECT_EQ(outcome.exit_code, 143);
  EXPECT_THAT(outcome.err, HasSubstr("test_quant: interrupted"));
}

// ---- Arguments --------------------------------------------------------------------------

TEST_F(Cli, AQuantizedFileDecidesForItself) {
  const fs::path file = path("quantized.safetensors");
  ASSERT_EQ(run(on_nano("quantize", "vit") + Arguments{"-o", file.string()}).exit_code, 0);
  const Arguments eval_file = {"eval", "--quantized", file.string(), "--dataset",
                               dataset().string()};
  for (const Arguments& more :
       {Arguments{"--model", "deit_tiny"}, Arguments{"--weights", "a"}, Arguments{"--config", "a"},
        Arguments{"--w-bits", "4"}, Arguments{"--a-bits", "8"},
        Arguments{"--log-quant-scheme", "Sqrt2_17"}, Arguments{"--recipe", "best"},
        Arguments{"--weight-rounding", "gptq"}, Arguments{"--gelu-quant-scheme", "Shift"},
        Arguments{"--calibration-images", "3"}, Arguments{"--calibration", "photographs"},
        Arguments{"--memory", "1G"}, Arguments{"--engine", "fp32,integer"}}) {
    const Outcome outcome = run(eval_file + more);
    EXPECT_EQ(outcome.exit_code, 1) << more[0];
    EXPECT_THAT(complaint(outcome), AllOf(HasSubstr("--quantized"), HasSubstr(more[0])));
  }
  EXPECT_EQ(run(eval_file + Arguments{"--engine", "integer"}).exit_code, 0);
  const Outcome outcome = run({"bench", "--quantized", file.string(), "--w-bits", "8"});
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_THAT(complaint(outcome), HasSubstr("--w-bits"));
}

TEST_F(Cli, UnknownWordsAreAnsweredWithTheNearest) {
  const auto answer = [&](const Arguments& arguments) {
    const Outcome outcome = run(arguments);
    EXPECT_EQ(outcome.exit_code, 2);
    return complaint(outcome);
  };
  EXPECT_THAT(answer({"eval", "--datset", "x"}), HasSubstr("did you mean --dataset?"));
  EXPECT_THAT(answer(eval("vit") + Arguments{"--wbits=4"}), HasSubstr("did you mean --w-bits?"));
  EXPECT_THAT(answer({"quantise"}), HasSubstr("did you mean quantize?"));
  EXPECT_THAT(answer(eval("vit") + Arguments{"--device", "cuda"}),
              AllOf(HasSubstr("no --device"), HasSubstr("CPU")));
  EXPECT_THAT(answer({"inspect", "a", "b", "c"}), HasSubstr("b c were not expected"));
  EXPECT_THAT(answer(eval("vit") + Arguments{"--limit", "-3"}),
              HasSubstr("'-3' is not a whole number"));
}

TEST_F(Cli, UnderscoresAreTakenForHyphens) {
  const Outcome outcome =
      run(eval("vit") + Arguments{"--log_quant_scheme", "Sqrt2_16", "--w_bits=6", "--a_bits", "5"});
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_THAT(lines_of(outcome.out).back(), HasSubstr("Sqrt2_16             6/5"));
}

TEST_F(Cli, JsonGoesToStdoutWithoutAFile) {
  const std::string image = (testing::fixtures() / "images" / "rgb_8.png").string();
  const Arguments predict = {"predict", "--weights", nano_path("vit").string()};
  for (const Arguments& arguments :
       {predict + Arguments{"--json", image}, predict + Arguments{"--json", "-", image},
        predict + Arguments{image, "--json"}, eval("vit") + Arguments{"--json"},
        Arguments{"inspect", "--json", nano_path("vit").string()}}) {
    const Outcome outcome = run(arguments);
    EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
    EXPECT_TRUE(json::accept(outcome.out)) << outcome.out;
  }
  const Outcome made =
      run(on_nano("quantize", "vit") + Arguments{"-o", path("q.safetensors").string(), "--json"});
  EXPECT_EQ(json::parse(made.out)["file_bytes"], fs::file_size(path("q.safetensors")));
  const Outcome outcome = run(predict + Arguments{"--json", path("p.json").string(), image});
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_EQ(json::parse(read_text(path("p.json"))).size(), 1U);
  EXPECT_THAT(outcome.out, HasSubstr("%"));
}

TEST_F(Cli, PredictDoesNotDependOnTheNumberOfThreads) {
  const std::string images = path("images").string();
  fs::create_directory(images);
  for (int i = 0; i < 23; ++i) {
    fs::copy(testing::fixtures() / "images" / (i % 2 == 0 ? "rgb_8.png" : "colour_420.jpg"),
             fs::path(images) / ("image" + std::to_string(i) + ".png"));
  }
  const auto predictions = [&](const char* threads) {
    return run({"predict", "--weights", nano_path("vit").string(), "--threads", threads, images})
        .out;
  };
  EXPECT_EQ(lines_of(predictions("1")).size(), 23U * 6U);
  EXPECT_EQ(predictions("1"), predictions("3"));
}

}  // namespace
}  // namespace bitlog2
