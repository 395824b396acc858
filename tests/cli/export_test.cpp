// `bitlog2 export` as a user runs it: a C compiler turns its C arrays into the file's bytes again.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <cstdlib>
#include <fstream>

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

std::string from_base64(const std::string& digits) {
  const std::string alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string bytes;
  std::uint32_t bits = 0;
  int count = 0;
  for (const char digit : digits) {
    const std::size_t value = alphabet.find(digit);
    if (value == std::string::npos) {
      break;
    }
    bits = bits << 6 | static_cast<std::uint32_t>(value);
    count += 6;
    if (count >= 8) {
      count -= 8;
      bytes += static_cast<char>(bits >> count & 255);
    }
  }
  return bytes;
}

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

  /// The message of a wrong call, which must leave no file.
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

TEST_F(Export, OneFormIsChosen) {
  const std::string file = quantized().string();
  for (const Arguments& form : {Arguments{},
                                {"--c-array", "--web", (output() / "page").string()},
                                {"--c-array"},
                                {"--web", (output() / "page").string(), "--name", "model"}}) {
    const Outcome outcome = run(Arguments{"export", "--quantized", file} + form);
    EXPECT_NE(outcome.exit_code, 0);
    EXPECT_THAT(complaint(outcome), StartsWith("bitlog2: error: "));
    EXPECT_THAT(names_in(output()), ElementsAre());
  }
}

/// A program in a folder of its own, with or without the parts of the page next to it.
class ExportWeb : public Export {
 protected:
  ExportWeb() {
    fs::create_directories(path("bin"));
    fs::copy_file(fs::path(BITLOG2_BINARY_DIR) / "bitlog2", program());
  }

  fs::path program() const { return path("bin") / "bitlog2"; }

  void make_parts(const std::string& page) const {
    fs::create_directories(path("web"));
    write_text(path("web") / "page.html", page);
    for (const char* name : {"bitlog2.mjs", "bitlog2_pool.mjs", "bitlog2.wasm",
                             "bitlog2_simd128.wasm", "bitlog2_relaxed.wasm"}) {
      write_text(path("web") / name, name);
    }
  }

  Outcome export_page(const fs::path& file, const fs::path& folder) const {
    return testing::run_program(program().string(),
                                {"export", "--web", folder.string(), "--quantized", file.string()});
  }

  static void write_text(const fs::path& file, const std::string& text) {
    std::ofstream(file, std::ios::binary) << text;
  }
};

TEST_F(ExportWeb, WithoutTheRuntimeSaysHowToMakeIt) {
  const Outcome outcome = export_page(quantized(), output() / "page");
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_THAT(complaint(outcome), HasSubstr("`./dev web build` makes it"));
  EXPECT_THAT(names_in(output()), ElementsAre());
}

TEST_F(ExportWeb, ThePageHasTheNetwork) {
  make_parts("<title>@TITLE@</title><h1>@TITLE@</h1>[@NETWORK@] @NAMES@");
  const fs::path file = quantized();
  const fs::path folder = output() / "some" / "page";
  const Outcome outcome = export_page(file, folder);
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_THAT(names_in(folder),
              ElementsAre("bitlog2.mjs", "bitlog2.wasm", "bitlog2_pool.mjs", "bitlog2_relaxed.wasm",
                          "bitlog2_simd128.wasm", "index.html"));
  EXPECT_EQ(read_text(folder / "bitlog2.wasm"), "bitlog2.wasm");
  const std::string page = read_text(folder / "index.html");
  EXPECT_EQ(outcome.out, fmt::format("{}: a page of {} bytes, which a browser opens as it is\n",
                                     (folder / "index.html").string(), page.size()));
  const std::string title = page.substr(7, page.find("</title>") - 7);
  EXPECT_THAT(title, HasSubstr("BitLog2_Half_16"));
  EXPECT_THAT(page, HasSubstr("<h1>" + title + "</h1>"));
  const std::size_t begin = page.find('[') + 1;
  const std::string digits = page.substr(begin, page.find(']') - begin);
  EXPECT_EQ(digits.size(), (fs::file_size(file) + 2) / 3 * 4);
  EXPECT_TRUE(from_base64(digits) == read_text(file));
  EXPECT_EQ(export_page(file, folder).exit_code, 0) << "again";
}

TEST_F(ExportWeb, WhatCannotBeIsRefused) {
  make_parts("@NETWORK@");
  const fs::path file = quantized();
  EXPECT_EQ(export_page(file, file / "page").exit_code, 1);
  const Outcome none = export_page(testing::nano_path("vit"), output() / "page");
  EXPECT_EQ(none.exit_code, 1);
  EXPECT_THAT(complaint(none), HasSubstr("nano.safetensors: "));
  EXPECT_THAT(names_in(output()), ElementsAre());
  fs::create_directories(output() / "page");
  fs::copy_file(file, output() / "page" / "index.html");
  const Outcome own = export_page(output() / "page" / "index.html", output() / "page");
  EXPECT_EQ(own.exit_code, 1);
  EXPECT_TRUE(read_text(output() / "page" / "index.html") == read_text(file));
}

}  // namespace
}  // namespace bitlog2
