// The programs on datasets with class folders in other orders, damaged images, and files that are
// no images.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <thread>

#include "bitlog2/model.h"
#include "cli/program.h"
#include "reference.h"
#include "tensors.h"

namespace bitlog2 {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
using testing::Outcome;
using testing::run_program;
using Arguments = std::vector<std::string>;

Arguments operator+(Arguments a, const Arguments& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

fs::path image(const std::string& name) {
  return testing::fixtures() / "images" / name;
}

fs::path nano() {
  return testing::fixtures() / "nano" / "vit_nano.safetensors";
}

/// Ten class folders 0, 1, ... 9 with two images each.
class DatasetOptions : public ::testing::Test {
 protected:
  DatasetOptions() {
    for (int label = 0; label < 10; ++label) {
      add_image(fmt::format("val/{}/a.png", label));
      add_image(fmt::format("val/{}/b.png", label));
    }
  }

  fs::path path(const std::string& name) const { return folder_.path() / name; }

  void add_image(const std::string& name, const std::string& content = "rgb_8.png") const {
    fs::create_directories(path(name).parent_path());
    fs::copy_file(image(content), path(name), fs::copy_options::overwrite_existing);
  }

  void write_text(const std::string& name, const std::string& text) const {
    std::ofstream(path(name), std::ios::binary) << text;
  }

  Arguments on_nano(const std::string& command, const std::string& images = "4") const {
    return {command,     "--weights", nano().string(),     "--dataset", path("").string(),
            "--threads", "2",         "--calib-batchsize", images};
  }

  Outcome eval(const Arguments& more) const {
    return run_program("bitlog2", on_nano("eval") + Arguments{"--json", "-"} + more);
  }

  static std::size_t images_of(const Outcome& outcome) {
    return json::parse(outcome.out)[0]["images"];
  }

  testing::TemporaryFolder folder_;
};

TEST_F(DatasetOptions, SampleAndLimitTakeSoManyImages) {
  for (const char* option : {"--sample", "--limit"}) {
    const Outcome outcome = eval({"--engine", "fp32", option, "3"});
    EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
    EXPECT_EQ(images_of(outcome), 3U);
    EXPECT_EQ(images_of(eval({"--engine", "fp32", option, "300"})), 20U);
    EXPECT_THAT(run_program("bitlog2", {"ablate", "--help"}).out, HasSubstr(option));
  }
  const Outcome both = eval({"--sample", "3", "--limit", "3"});
  EXPECT_EQ(both.exit_code, 2);
  EXPECT_THAT(both.err, AllOf(HasSubstr("--sample"), HasSubstr("--limit")));
}

TEST_F(DatasetOptions, AFolderOfUnlabelledImagesCalibrates) {
  for (const char* name : {"photographs/a.png", "photographs/deeper/b.png", "photographs/c.png"}) {
    add_image(name);
  }
  write_text("photographs/damaged.png", "no image");
  const Arguments quantize = {"quantize",
                              "--weights",
                              nano().string(),
                              "--calibration",
                              path("photographs").string(),
                              "--threads",
                              "1",
                              "-o",
                              path("quantized.safetensors").string()};
  const Outcome outcome = run_program("bitlog2", quantize + Arguments{"--calibration-images", "3"});
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_THAT(outcome.err,
              HasSubstr("a seeded sample of 3 images of " + path("photographs").string()));
  const std::string bytes = testing::read_text(path("quantized.safetensors"));
  const Outcome in_file =
      run_program("bitlog2", quantize + Arguments{"--calibration-images", "3", "--memory", "0"});
  EXPECT_EQ(in_file.exit_code, 0) << in_file.err;
  EXPECT_EQ(testing::read_text(path("quantized.safetensors")), bytes);

  const Outcome damaged = run_program("bitlog2", quantize + Arguments{"--calib-batchsize", "4"});
  EXPECT_EQ(damaged.exit_code, 1);
  EXPECT_THAT(damaged.err, AllOf(HasSubstr("damaged.png"), HasSubstr("--calibration-images")));
  const Outcome too_many = run_program("bitlog2", quantize + Arguments{"--calib-batchsize", "5"});
  EXPECT_EQ(too_many.exit_code, 1);
  EXPECT_THAT(too_many.err, HasSubstr("holds 4 images, 5 were asked for"));
  EXPECT_EQ(run_program("bitlog2", quantize + Arguments{"--memory", "much"}).exit_code, 2);
  testing::Surroundings without_folder;
  without_folder.environment["TMPDIR"] = path("no/folder").string();
  const Outcome nowhere =
      run_program("bitlog2", quantize + Arguments{"--calibration-images", "3", "--memory", "0"},
                  without_folder);
  EXPECT_EQ(nowhere.exit_code, 1);
  EXPECT_THAT(nowhere.err, HasSubstr("TMPDIR"));
  write_text("classes.txt", "a\n");
  const Outcome numbered =
      run_program("bitlog2", quantize + Arguments{"--class-map", path("classes.txt").string()});
  EXPECT_EQ(numbered.exit_code, 2);
  EXPECT_THAT(numbered.err, HasSubstr("--class-map"));
  for (const Arguments& unheeded :
       {Arguments{"--calibration", path("photographs").string()}, Arguments{"--memory", "1G"}}) {
    const Outcome refused = eval(Arguments{"--engine", "fp32"} + unheeded);
    EXPECT_EQ(refused.exit_code, 1);
    EXPECT_THAT(refused.err, HasSubstr(unheeded[0] + " needs the engine simulate or integer"));
  }

  const Outcome beside =
      eval({"--calibration", path("photographs").string(), "--engine", "integer", "--strict"});
  EXPECT_EQ(beside.exit_code, 1);
  EXPECT_THAT(beside.err, HasSubstr("damaged.png"));
  fs::remove(path("photographs/damaged.png"));
  add_image("photographs/d.png");
  const Outcome whole =
      eval({"--calibration", path("photographs").string(), "--engine", "integer", "--strict"});
  EXPECT_EQ(whole.exit_code, 0) << whole.err;
  EXPECT_THAT(whole.err, HasSubstr("4 images of " + path("photographs").string()));
  EXPECT_EQ(images_of(whole), 20U);

  const Outcome neither = run_program(
      "bitlog2", {"quantize", "--weights", nano().string(), "-o", path("q.safetensors").string()});
  EXPECT_EQ(neither.exit_code, 2);
  EXPECT_THAT(neither.err, HasSubstr("--dataset or --calibration"));
}

TEST_F(DatasetOptions, ClassMapNumbersTheFolders) {
  const auto accuracy = [&](const Arguments& more) {
    const Outcome outcome = eval(Arguments{"--engine", "fp32"} + more);
    EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
    return json::parse(outcome.out)[0]["loss"].get<double>();
  };
  // All images are the same, so the loss depends only on the number of images of each class.
  fs::remove(path("val/3/b.png"));
  fs::remove(path("val/4/a.png"));
  fs::remove(path("val/4/b.png"));
  const double bytewise = accuracy({});
  write_text("classes.txt", "0\n1\n2\n3\n4\n5\n6\n7\n8\n9\n");
  EXPECT_EQ(accuracy({"--class-map", path("classes.txt").string()}), bytewise);
  write_text("classes.txt", "4\n0\n1\n2\n3\n5\n6\n7\n8\n9\n");
  EXPECT_NE(accuracy({"--class-map", path("classes.txt").string()}), bytewise);
  write_text("classes.txt", "4\n");
  const Outcome refused = eval({"--class-map", path("classes.txt").string()});
  EXPECT_EQ(refused.exit_code, 1);
  EXPECT_THAT(refused.err, HasSubstr("1 names, this model has 10 classes"));
}

TEST_F(DatasetOptions, AClassMapMayComeFromAPipe) {
  ASSERT_EQ(mkfifo(path("pipe").c_str(), 0600), 0);
  std::thread writer([&] { write_text("pipe", "9\n8\n7\n6\n5\n4\n3\n2\n1\n0\n"); });
  const Outcome piped = eval({"--engine", "fp32", "--class-map", path("pipe").string()});
  writer.join();
  EXPECT_EQ(piped.exit_code, 0) << piped.err;
  const Outcome endless = eval({"--engine", "fp32", "--class-map", "/dev/zero"});
  EXPECT_EQ(endless.exit_code, 1);
  EXPECT_THAT(endless.err, HasSubstr("/dev/zero: does not end within"));
  const Outcome folder = eval({"--engine", "fp32", "--class-map", path("val").string()});
  EXPECT_EQ(folder.exit_code, 1);
  EXPECT_THAT(folder.err, HasSubstr("val: a folder"));
}

TEST_F(DatasetOptions, TimmsOrderIsNamed) {
  fs::rename(path("val/9"), path("val/10"));
  EXPECT_THAT(
      eval({"--engine", "fp32"}).err,
      AllOf(HasSubstr("note: "), HasSubstr("'10' is class 2; timm"), HasSubstr("--class-map")));
}

TEST_F(DatasetOptions, WhatIsNoImageIsPassedOver) {
  ASSERT_EQ(mkfifo(path("val/5/fifo.png").c_str(), 0600), 0);
  add_image("val/stray.png");
  write_text("val/5/notes.txt", "text");
  const Outcome outcome = eval({"--engine", "fp32"});
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_EQ(images_of(outcome), 20U);
  EXPECT_THAT(outcome.err,
              AllOf(HasSubstr("1 passed over that is no regular file"),
                    HasSubstr("1 image beside the class folders"), HasSubstr("1 .txt")));
  const Outcome predicted =
      run_program("bitlog2", {"predict", "--weights", nano().string(), path("val/5").string()});
  EXPECT_EQ(predicted.exit_code, 0) << predicted.err;
  EXPECT_THAT(predicted.err, HasSubstr("note: "));
}

TEST_F(DatasetOptions, ADamagedCalibrationImageIsReplaced) {
  for (int i = 0; i < 5; ++i) {
    add_image(fmt::format("train/{}.png", i), i > 0 ? "damaged/bad_checksum.png" : "rgb_8.png");
  }
  for (const Arguments& command :
       {on_nano("quantize", "1") + Arguments{"-o", path("out.safetensors").string()},
        on_nano("compare", "1"), on_nano("eval", "1") + Arguments{"--limit", "1"}}) {
    const Outcome outcome = run_program("bitlog2", command);
    EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
    EXPECT_THAT(outcome.err, AllOf(HasSubstr("skipped: "), HasSubstr("train/0.png calibrates in "
                                                                     "its place")));
    const Outcome strict = run_program("bitlog2", command + Arguments{"--strict"});
    EXPECT_EQ(strict.exit_code, 1);
    EXPECT_THAT(strict.err, AllOf(HasSubstr("train/"), Not(HasSubstr("skipped: "))));
  }
  const Outcome too_few = run_program("bitlog2", on_nano("eval", "2"));
  EXPECT_EQ(too_few.exit_code, 1);
  EXPECT_THAT(too_few.err, HasSubstr("2 calibration images are wanted, and 4 of 5 candidates"));
}

TEST_F(DatasetOptions, AThousandClassesOfOnesOwnAreNotImageNets) {
  ModelConfig config = parse_config(
      R"({"family": "vit", "img_size": 32, "patch_size": 16, "embed_dim": 16, "depth": 1,
          "num_heads": 2, "num_classes": 1000, "layer_norm_eps": 1e-6})",
      "test");
  Model model = make_random_model(config, 11);
  const std::string own = path("own.safetensors").string();
  testing::write_tensors(own, testing::tensors_of(model), {{"config", config_to_json(config)}});
  const Outcome predicted =
      run_program("bitlog2", {"predict", "--weights", own, image("rgb_8.png").string()});
  EXPECT_EQ(predicted.exit_code, 0) << predicted.err;
  EXPECT_THAT(predicted.out, HasSubstr("%  class "));
  // A file that is called like one of timm's is taken for ImageNet's.
  config.embed_dim = 64;
  config.num_heads = {1};
  Model of_timm = make_random_model(config, 11);
  const std::string called = path("vit_nano_patch16_32.safetensors").string();
  testing::write_tensors(called, testing::tensors_of(of_timm), {});
  const Outcome named =
      run_program("bitlog2", {"predict", "--model", called, image("rgb_8.png").string()});
  EXPECT_EQ(named.exit_code, 0) << named.err;
  EXPECT_THAT(named.out, Not(HasSubstr("%  class ")));
  EXPECT_THAT(named.err, HasSubstr("it gets ImageNet's names"));
  for (int i = 0; i < 1000; ++i) {
    fs::create_directories(path(fmt::format("own/val/c{:03}", i)));
  }
  add_image("own/val/c123/a.png");
  const Outcome outcome =
      run_program("bitlog2", {"eval", "--weights", own, "--dataset", path("own").string(),
                              "--engine", "fp32", "--json", "-"});
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_EQ(images_of(outcome), 1U);
}

}  // namespace
}  // namespace bitlog2
