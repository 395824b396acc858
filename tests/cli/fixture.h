// What the tests of the programs share: a folder with a small dataset, nano models, and functions
// that run a command and check its output.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <random>
#include <sstream>
#include <string>
#include <vector>

#include "bitlog2/model.h"
#include "cli/program.h"
#include "reference.h"
#include "tensors.h"

namespace bitlog2::testing {

namespace fs = std::filesystem;
using nlohmann::json;
using Arguments = std::vector<std::string>;

inline constexpr std::size_t kValidationImages = 12;
inline constexpr std::size_t kTrainingImages = 6;

inline Arguments operator+(Arguments a, const Arguments& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

inline std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) {
    if (!line.empty()) {
      lines.push_back(line);
    }
  }
  return lines;
}

/// The lines on stderr, except for the one that names the calibration images.
inline std::vector<std::string> complaints(const Outcome& outcome) {
  std::vector<std::string> lines = lines_of(outcome.err);
  std::erase_if(lines, [](const auto& line) { return line.starts_with("calibrating on "); });
  return lines;
}

inline std::vector<std::string> names_in(const fs::path& folder) {
  std::vector<std::string> names;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder)) {
    names.push_back(entry.path().filename().string());
  }
  std::ranges::sort(names);
  return names;
}

inline void write_text(const fs::path& path, const std::string& text) {
  fs::create_directories(path.parent_path());
  std::ofstream(path, std::ios::binary) << text;
}

inline OwnedTensor random_images(const std::string& name, std::size_t count, std::size_t side) {
  std::mt19937 generator(static_cast<unsigned>(count));
  std::vector<std::uint8_t> pixels(count * side * side * 3);
  for (std::uint8_t& pixel : pixels) {
    pixel = static_cast<std::uint8_t>(generator());
  }
  return make_tensor(name, DType::u8, {count, side, side, 3}, pixels);
}

/// A dataset in one file; the label of image i is i % 10.
inline void write_dataset(const fs::path& path, std::size_t validation, std::size_t training,
                          std::size_t side) {
  std::vector<std::uint8_t> labels;
  for (std::size_t i = 0; i < validation; ++i) {
    labels.push_back(static_cast<std::uint8_t>(i % 10));
  }
  std::vector<OwnedTensor> tensors = {random_images("val.images", validation, side),
                                      make_tensor("val.labels", DType::u8, {validation}, labels)};
  if (training > 0) {
    tensors.push_back(random_images("train.images", training, side));
  }
  write_tensors(path, tensors);
}

inline fs::path nano_path(const std::string& family) {
  return fixtures() / "nano" / (family + "_nano.safetensors");
}

/// A ViT of a few thousand weights that has ImageNet's 1000 classes.
inline ModelConfig thousand_classes() {
  return parse_config(R"({"family": "vit", "img_size": 32, "patch_size": 16, "embed_dim": 16,
                          "depth": 1, "num_heads": 2, "num_classes": 1000,
                          "layer_norm_eps": 1e-6, "name": "thousand"})",
                      "test");
}

inline void write_random_model(const fs::path& path, const ModelConfig& config) {
  Model model = make_random_model(config, 11);
  write_tensors(path, tensors_of(model), {{"config", config_to_json(config)}});
}

/// The Hugging Face cache is in `folder`, so that the user's is never used.
inline Surroundings hub_at(const fs::path& folder) {
  Surroundings surroundings;
  surroundings.environment = {{"HF_HOME", folder.string()}, {"HF_HUB_CACHE", ""}};
  return surroundings;
}

class Cli : public ::testing::Test {
 protected:
  Cli() {
    fs::create_directory(output());
    write_dataset(dataset(), kValidationImages, kTrainingImages, 40);
  }

  fs::path path(const std::string& name) const { return folder_.path() / name; }
  fs::path dataset() const { return path("data.safetensors"); }
  fs::path output() const { return path("output"); }

  Outcome run(const Arguments& arguments) const {
    return run_program("bitlog2", arguments, surroundings());
  }

  /// The surroundings of every run.
  Surroundings surroundings() const { return hub_at(path("hub")); }

  /// A command that calibrates, on a nano model and all training images.
  Arguments on_nano(const std::string& command, const std::string& family) const {
    return {command,     "--weights", nano_path(family).string(), "--dataset", dataset().string(),
            "--threads", "2",         "--calib-batchsize",        "6"};
  }
  Arguments eval(const std::string& family) const { return on_nano("eval", family); }

  json json_output(const Arguments& arguments) const {
    const Outcome outcome = run(arguments + Arguments{"--json", path("out.json").string()});
    EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
    return json::parse(read_text(path("out.json")), nullptr, false);
  }

  /// Runs a command that must fail with exit code 1, one line and no file; returns the line.
  std::string refusal(const Arguments& arguments) const {
    const Outcome outcome =
        run(arguments + Arguments{"--json", (output() / "table.json").string(), "--dump-quantizers",
                                  (output() / "quantizers.json").string()});
    EXPECT_EQ(outcome.exit_code, 1);
    EXPECT_THAT(names_in(output()), ::testing::ElementsAre());
    return complaint(outcome);
  }

  std::string complaint(const Outcome& outcome) const {
    const std::vector<std::string> lines = complaints(outcome);
    EXPECT_EQ(lines.size(), 1U) << outcome.err;
    EXPECT_LE(lines_of(outcome.out).size(), 1U) << outcome.out;  // at most the table's head
    return lines.empty() ? "" : lines[0];
  }

  /// The line with which `eval` refuses these weights.
  std::string refusal_of_weights(const fs::path& weights, const Arguments& more = {}) const {
    const std::string message = refusal(
        Arguments{"eval", "--weights", weights.string(), "--dataset", dataset().string()} + more);
    EXPECT_THAT(message, ::testing::StartsWith("bitlog2: error: " + weights.string() + ": "));
    return message;
  }

  std::string refusal_of_dataset(const fs::path& path, const Arguments& more = {}) const {
    return refusal(
        Arguments{"eval", "--weights", nano_path("vit").string(), "--dataset", path.string()} +
        more);
  }

 private:
  TemporaryFolder folder_;
};

}  // namespace bitlog2::testing
