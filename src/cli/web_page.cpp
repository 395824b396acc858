#include "cli/web_page.h"

#include <fmt/format.h>

#include <array>
#include <nlohmann/json.hpp>
#include <string>
#include <system_error>

#include "bitlog2/error.h"
#include "bitlog2/files.h"
#include "bitlog2/integer.h"
#include "cli/base64.h"
#include "cli/console.h"
#include "cli/html.h"
#include "cli/output.h"

namespace bitlog2::cli {
namespace {

namespace fs = std::filesystem;

/// What index.html is made of (tools/make_page.py).
constexpr const char* kTemplate = "page.html";
constexpr std::array kCopied = {"bitlog2.mjs", "bitlog2_pool.mjs", "bitlog2.wasm",
                                "bitlog2_simd128.wasm", "bitlog2_relaxed.wasm"};

/// Where `./dev web` builds them and where they are installed, from the program's folder.
constexpr std::array kPlaces = {"../web", "../share/bitlog2/web"};

fs::path find_parts() {
  std::error_code error;
  const fs::path program = fs::read_symlink("/proc/self/exe", error).parent_path();
  for (const char* place : kPlaces) {
    fs::path folder = (program / place).lexically_normal();
    if (fs::is_regular_file(folder / kTemplate, error)) {
      return folder;
    }
  }
  throw Error(
      fmt::format("the runtime for browsers is not beside this program, in {} or {}; `./dev web "
                  "build` makes it",
                  (program / kPlaces[0]).lexically_normal().string(),
                  (program / kPlaces[1]).lexically_normal().string()));
}

std::string text_of(const fs::path& path) {
  const MappedFile file(path);
  return {reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size()};
}

}  // namespace

std::vector<fs::path> web_page_files(const fs::path& folder) {
  std::vector<fs::path> files = {folder / "index.html"};
  for (const char* name : kCopied) {
    files.push_back(folder / name);
  }
  return files;
}

std::size_t write_web_page(const fs::path& quantized, const fs::path& folder) {
  const FileBytes file(quantized);
  const auto engine =
      IntegerEngine::from_bytes({file.bytes().begin(), file.bytes().end()}, quantized.string());
  const fs::path parts = find_parts();
  std::string page = text_of(parts / kTemplate);
  // A model without a name gets its file's name, up to the first dot.
  const std::string& known = engine->config().name;
  const std::string own = quantized.filename().string();
  const std::string name = known == ModelConfig{}.name ? own.substr(0, own.find('.')) : known;
  page = replaced(page, "@TITLE@",
                  for_html(printable(fmt::format("{}, {}", name, engine->info().settings.name()))));
  page = replaced(page, "@NAMES@", for_script(engine->info().class_names));
  page = replaced(page, "@NETWORK@", base64(file.bytes()));

  std::error_code error;
  fs::create_directories(folder, error);
  if (error || !fs::is_directory(folder)) {
    throw Error(fmt::format("{}: this folder cannot be made; give another to --web",
                            printable(folder.string())));
  }
  std::vector<Output> outputs;
  for (const fs::path& path : web_page_files(folder)) {
    outputs.push_back({"a file of --web", path.string()});
  }
  check_outputs(outputs, {quantized});
  for (const char* name : kCopied) {
    write_file_atomically(folder / name, text_of(parts / name));
  }
  write_file_atomically(folder / "index.html", page);
  return page.size();
}

}  // namespace bitlog2::cli
