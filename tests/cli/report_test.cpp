// `bitlog2 report`, and the advice of `quantize`, as a user runs them. tests/web opens the page.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "cli/fixture.h"

namespace bitlog2 {
namespace {

namespace fs = std::filesystem;
using testing::Arguments;
using testing::Cli;
using ::testing::HasSubstr;
using testing::operator+;
using ::testing::Not;
using testing::Outcome;
using testing::read_text;

class Report : public Cli {};

TEST_F(Report, BothFamiliesHaveAPage) {
  for (const char* family : {"vit", "swin"}) {
    const fs::path page = path("page.html");
    const nlohmann::json numbers =
        json_output(on_nano("report", family) + Arguments{"-o", page.string()});
    const std::string text = read_text(page);
    EXPECT_THAT(text, HasSubstr("</html>"));
    EXPECT_THAT(text, Not(HasSubstr("@REPORT@")));
    ASSERT_EQ(numbers["engines"].size(), 2U);
    EXPECT_GT(numbers["engines"][0]["images"], 0);
    EXPECT_GT(numbers["layers"].size(), 3U);
    EXPECT_GT(numbers["costs"].size(), 3U);
    const std::string query = numbers["attention"]["query"];
    EXPECT_EQ(query, std::string(family) == "swin" ? "the patch in the middle" : "the class token");
    double sum = 0;
    for (const double probability : numbers["attention"]["probabilities"]) {
      sum += probability;
    }
    EXPECT_NEAR(sum, 1, 1e-3);
    for (const auto& [name, quantizer] : numbers["quantizers"].items()) {
      EXPECT_TRUE(quantizer.contains("values")) << name;
      const bool is_map = name.ends_with("matmul2.quantizer_A");
      EXPECT_EQ(quantizer.contains("map_levels"), is_map) << name;
      EXPECT_FALSE(is_map && quantizer["relative_to_row"]) << name;
    }
  }
}

TEST_F(Report, LevelsOfARelativeMapArePartsOfTheLargest) {
  const nlohmann::json numbers = json_output(
      on_nano("report", "vit") + Arguments{"--recipe", "best", "--log-quant-scheme",
                                           "BitLog2_Half_16", "-o", path("page.html").string()});
  std::size_t maps = 0;
  for (const auto& [name, quantizer] : numbers["quantizers"].items()) {
    if (quantizer.contains("map_levels")) {
      ++maps;
      EXPECT_TRUE(quantizer["relative_to_row"]) << name;
      const std::vector<double> levels = quantizer["map_levels"];
      ASSERT_EQ(levels.size(), 16U) << name;
      EXPECT_EQ(levels.back(), 1.0) << name;
      EXPECT_NEAR(levels[levels.size() - 2], 128.0 / 192, 1e-6) << name;
      EXPECT_NEAR(levels[1], 1.0 / 192, 1e-6) << name;
    }
  }
  EXPECT_GT(maps, 0U);
}

TEST_F(Report, AccuracyIsEvals) {
  const nlohmann::json numbers =
      json_output(on_nano("report", "vit") + Arguments{"-o", path("page.html").string()});
  const nlohmann::json rows =
      json_output(on_nano("eval", "vit") + Arguments{"--engine", "fp32,integer"});
  for (std::size_t i = 0; i < 2; ++i) {
    for (const char* key : {"images", "top1", "top5", "loss"}) {
      EXPECT_EQ(numbers["engines"][i][key], rows[i][key]) << i << key;
    }
  }
}

TEST_F(Report, WhatCannotBeIsRefused) {
  const Outcome piped = run(on_nano("report", "vit") + Arguments{"-o", "-"});
  EXPECT_EQ(piped.exit_code, 1);
  EXPECT_THAT(complaint(piped), HasSubstr("cannot go to stdout"));
  const std::string before = read_text(dataset());
  const Outcome own = run(on_nano("report", "vit") + Arguments{"-o", dataset().string()});
  EXPECT_EQ(own.exit_code, 1);
  EXPECT_TRUE(read_text(dataset()) == before);
}

TEST_F(Cli, QuantizeSaysWhatWouldBeBetter) {
  const Arguments quantize =
      on_nano("quantize", "vit") + Arguments{"-o", path("q.safetensors").string()};
  const std::string plain = run(quantize).err;
  EXPECT_THAT(plain, HasSubstr("--a-bits 8"));
  EXPECT_THAT(plain, Not(HasSubstr("--calibration-images")));
  const std::string best = run(quantize + Arguments{"--a-bits", "4", "--recipe", "best"}).err;
  EXPECT_THAT(best, Not(HasSubstr("--a-bits 8")));
  EXPECT_THAT(best, HasSubstr("note: 6 images calibrated; from 128 on"));
}

}  // namespace
}  // namespace bitlog2
