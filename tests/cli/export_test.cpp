// `bitlog2 export` from the outside: C arrays, which a C compiler takes back to the file's bytes.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>

#include "bitlog2/integer.h"
#include "cli/fixture.h"

namespace bitlog2 {
namespace {

namespace fs = std::filesystem;
using testing::Arguments;
using testing::Cli;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::names_in;
using testing::operator+;
using testing::Outcome;
using testing::read_text;
using ::testing::StartsWith;

class Export : public Cli {
 protected:
  /// The nano ViT, quantized.
  fs::path quantized() const {
    const fs::path file = path("nano.safetensors");
    const Outcome outcome = run(on_nano("quantize", "vit") + Arguments{"-o", file.string()});
    EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
    return file;
  }

  Outcome export_array(const fs::path& file, const fs::path& to, const Arguments& more = {}) const {
    return run(Arguments{"export", "--c-array", "--quantized", file.string(), "-o", to.string()} +
               more);
  }

  /// What is said of a wrong call, which leaves no file.
  std::string export_refusal(const fs::path& file, const std::string& to,
                             const Arguments& more = {}) const {
    const Outcome outcome = export_array(file, to == "-" ? to : (output() / to).string(), more);
    EXPECT_EQ(outcome.exit_code, 1);
    EXPECT_THAT(names_in(output()), ElementsAre());
    return complaint(outcome);
  }

  /// The numbers between the array's braces.
  static std::string array_bytes(const std::string& source) {
    std::string bytes;
    const char* at = source.c_str() + source.find('{') + 1;
    for (char* end = nullptr;; at = end + 1) {
      const long value = std::strtol(at, &end, 10);
      if (end == at) {
        return bytes;
      }
      EXPECT_EQ(*end, ',');
      bytes += static_cast<char>(value);
    }
  }
};

TEST_F(Export, TheArrayIsTheFile) {
  const fs::path file = quantized();
  const Outcome outcome = export_array(file, output() / "model.c");
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_EQ(outcome.out, fmt::format("{0}.c, {0}.h: an array of {1} bytes\n",
                                     (output() / "model").string(), fs::file_size(file)));
  EXPECT_THAT(names_in(output()), ElementsAre("model.c", "model.h"));
  const std::string source = read_text(output() / "model.c");
  EXPECT_THAT(source, HasSubstr("_Alignas(8) const unsigned char model[model_size] = {"));
  EXPECT_TRUE(array_bytes(source) == read_text(file));
}

TEST_F(Export, TheHeaderSaysWhatAProgramMustProvide) {
  const fs::path file = quantized();
  ASSERT_EQ(export_array(file, output() / "a.c", {"--name", "nano"}).exit_code, 0);
  const auto engine = IntegerEngine::open(file);
  const std::string header = read_text(output() / "a.h");
  EXPECT_THAT(header, HasSubstr(fmt::format("nano_size = {},", fs::file_size(file))));
  EXPECT_THAT(header, HasSubstr(fmt::format("nano_arena_size = {} ", engine->arena_bytes())));
  EXPECT_THAT(header, HasSubstr(fmt::format("nano_image_size = {},", engine->config().img_size)));
  EXPECT_THAT(header,
              HasSubstr(fmt::format("nano_num_logits = {},", output_size(engine->config()))));
  EXPECT_THAT(header, HasSubstr("extern const unsigned char nano[nano_size];"));
  EXPECT_THAT(read_text(output() / "a.c"), HasSubstr("#include \"a.h\""));
}

TEST_F(Export, WhatCannotBeIsRefused) {
  const fs::path file = quantized();
  EXPECT_THAT(export_refusal(file, "model.txt"), HasSubstr("ends in .c"));
  EXPECT_THAT(export_refusal(file, "my-model.c"),
              HasSubstr("'my-model' is no name for an array in C; give one by --name"));
  for (const char* name : {"1st", "a b", "int", "void", "while", "class", "a;", "na\u00efve"}) {
    EXPECT_THAT(export_refusal(file, "model.c", {"--name", name}), HasSubstr("give one by --name"));
  }
  EXPECT_THAT(export_refusal(file, "-"), HasSubstr("cannot go to stdout"));
  EXPECT_THAT(export_refusal(file, "no/folder/model.c"), HasSubstr("cannot be written"));
  EXPECT_THAT(export_refusal(testing::nano_path("vit"), "model.c"),
              HasSubstr("nano.safetensors: "));
  EXPECT_THAT(export_refusal(path("none.safetensors"), "model.c"), HasSubstr("none.safetensors: "));
}

TEST_F(Export, NoFileThatIsReadIsWritten) {
  const fs::path file = path("model.h");
  fs::copy_file(quantized(), file);
  const std::string before = read_text(file);
  const Outcome outcome = export_array(file, path("model.c"));
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_THAT(complaint(outcome), StartsWith("bitlog2: error: "));
  EXPECT_TRUE(read_text(file) == before);
  EXPECT_FALSE(fs::exists(path("model.c")));
}

}  // namespace
}  // namespace bitlog2
