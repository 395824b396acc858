#include "cli/web_page.h"

#include <fmt/format.h>

#include <array>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <system_error>

#include "bitlog2/error.h"
#include "bitlog2/files.h"
#include "bitlog2/integer.h"
#include "cli/console.h"
#include "cli/output.h"

namespace bitlog2::cli {
namespace {

namespace fs = std::filesystem;

/// What index.html is made of (tools/make_page.py).
constexpr const char* kTemplate = "page.html";
constexpr std::array kCopied = {"bitlog2.mjs", "bitlog2.wasm", "bitlog2_simd128.wasm"};

/// Where `./dev web` builds them and where they are installed, from the program's folder.
constexpr std::array kPlaces = {"../web", "../share/bitlog2/web"};

fs::path find_parts() {
  std::error_code error;
  const fs::path program = fs::read_symlink("/proc/self/exe", error).parent_path();
  for (const char* place : kPlaces) {
    const fs::path folder = (program / place).lexically_normal();
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

std::string base64(std::span<const std::byte> bytes) {
  constexpr std::string_view kDigits =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string text;
  text.reserve((bytes.size() + 2) / 3 * 4);
  for (std::size_t first = 0; first < bytes.size(); first += 3) {
    const std::size_t count = std::min<std::size_t>(3, bytes.size() - first);
    std::uint32_t group = 0;
    for (std::size_t i = 0; i < 3; ++i) {
      group = group << 8 | (i < count ? std::to_integer<std::uint32_t>(bytes[first + i]) : 0);
    }
    for (std::size_t i = 0; i < 4; ++i) {
      text += i <= count ? kDigits[group >> (18 - 6 * i) & 63] : '=';
    }
  }
  return text;
}

std::string for_html(std::string_view text) {
  std::string escaped;
  for (const char c : text) {
    switch (c) {
      case '&':
        escaped += "&amp;";
        break;
      case '<':
        escaped += "&lt;";
        break;
      case '"':
        escaped += "&quot;";
        break;
      default:
        escaped += c;
    }
  }
  return escaped;
}

/// JSON within a script's element, which no name may end.
std::string for_script(const nlohmann::json& value) {
  std::string escaped;
  for (const char c : value.dump(-1, ' ', true, nlohmann::json::error_handler_t::replace)) {
    escaped += c == '<' ? "\\u003c" : std::string(1, c);
  }
  return escaped;
}

/// The page with every `mark` replaced.
std::string filled(std::string_view page, std::string_view mark, std::string_view text) {
  std::string result;
  for (std::size_t found = page.find(mark); found != std::string_view::npos;
       found = page.find(mark)) {
    result += page.substr(0, found);
    result += text;
    page.remove_prefix(found + mark.size());
  }
  return result += page;
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
  // What nobody has named is called as its file, up to the first dot.
  const std::string& known = engine->config().name;
  const std::string own = quantized.filename().string();
  const std::string name = known == ModelConfig{}.name ? own.substr(0, own.find('.')) : known;
  page = filled(page, "@TITLE@",
                for_html(printable(fmt::format("{}, {}", name, engine->info().settings.name()))));
  page = filled(page, "@NAMES@", for_script(engine->info().class_names));
  page = filled(page, "@NETWORK@", base64(file.bytes()));

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
