#include "cli/c_array.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cstddef>
#include <iterator>
#include <span>
#include <string_view>

#include "bitlog2/error.h"
#include "bitlog2/files.h"
#include "bitlog2/integer.h"
#include "cli/console.h"

namespace bitlog2::cli {
namespace {

constexpr std::size_t kBytesInALine = 24;

// Keywords of C, the array's language, and of C++, whose programs may include the header.
constexpr std::array<std::string_view, 70> kTakenNames = {
    "and",      "asm",      "auto",     "bool",     "break",     "case",    "catch",     "char",
    "class",    "const",    "continue", "default",  "delete",    "do",      "double",    "else",
    "enum",     "explicit", "export",   "extern",   "false",     "float",   "for",       "friend",
    "goto",     "if",       "inline",   "int",      "long",      "mutable", "namespace", "new",
    "noexcept", "not",      "nullptr",  "operator", "or",        "private", "protected", "public",
    "register", "requires", "restrict", "return",   "short",     "signed",  "sizeof",    "static",
    "struct",   "switch",   "template", "this",     "throw",     "true",    "try",       "typedef",
    "typename", "union",    "unsigned", "using",    "virtual",   "void",    "volatile",  "while",
    "xor",      "alignas",  "alignof",  "concept",  "constexpr", "decltype"};

bool is_letter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

bool is_identifier(std::string_view name) {
  const auto fits = [](char c) { return is_letter(c) || (c >= '0' && c <= '9'); };
  return !name.empty() && is_letter(name[0]) && std::ranges::all_of(name, fits) &&
         std::ranges::find(kTakenNames, name) == kTakenNames.end();
}

std::string array_name(const CArray& array) {
  return array.name.empty() ? array.source.stem().string() : array.name;
}

/// Text of a file's for a comment, which it can neither end nor break.
std::string for_comment(std::string_view text) {
  std::string result(text);
  std::ranges::replace_if(
      result, [](char c) { return std::isalnum(static_cast<unsigned char>(c)) == 0 && c != '.'; },
      '_');
  return result;
}

std::string comment(const IntegerEngine& engine) {
  return fmt::format("/* {} {}: made by bitlog2 export --c-array. */\n",
                     for_comment(engine.config().name), for_comment(engine.info().settings.name()));
}

std::string header_text(const IntegerEngine& engine, const std::string& name, std::size_t size) {
  std::string guard = name + "_h";
  std::ranges::transform(guard, guard.begin(),
                         [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
  std::string text = comment(engine);
  text += fmt::format("#ifndef {0}\n#define {0}\n\n", guard);
  text += "#ifdef __cplusplus\nextern \"C\" {\n#endif\n\n";
  text += fmt::format("enum {{\n  {}_size = {}, /* bytes */\n", name, size);
  text +=
      fmt::format("  {}_image_size = {}, /* pixels of a side */\n", name, engine.config().img_size);
  text += fmt::format("  {}_num_logits = {}, /* classes, or values of an embedding */\n", name,
                      output_size(engine.config()));
  text += fmt::format("  {}_arena_size = {} /* bytes, for one thread */\n}};\n\n", name,
                      engine.arena_bytes());
  text += "/* A quantized file, for bitlog2_open. */\n";
  text += fmt::format("extern const unsigned char {0}[{0}_size];\n\n", name);
  text += "#ifdef __cplusplus\n}\n#endif\n\n#endif\n";
  return text;
}

/// The source, line by line: it is four times as large as the file.
void write_source(const IntegerEngine& engine, const CArray& array, const std::string& name,
                  std::span<const std::byte> bytes) {
  FileWriter writer(array.source);
  std::string text = comment(engine);
  text += fmt::format("#include \"{}\"\n\n", array.header().filename().string());
  text += fmt::format("_Alignas(8) const unsigned char {0}[{0}_size] = {{\n", name);
  for (std::size_t first = 0; first < bytes.size(); first += kBytesInALine) {
    text += "  ";
    for (const std::byte each :
         bytes.subspan(first, std::min(kBytesInALine, bytes.size() - first))) {
      fmt::format_to(std::back_inserter(text), "{},", static_cast<unsigned>(each));
    }
    text += '\n';
    writer.append(std::as_bytes(std::span(text)));
    text.clear();
  }
  text = "};\n";
  writer.append(std::as_bytes(std::span(text)));
  writer.commit();
}

}  // namespace

std::filesystem::path CArray::header() const {
  return std::filesystem::path(source).replace_extension(".h");
}

void check_c_array(const CArray& array) {
  if (array.source.extension() != ".c") {
    throw Error(
        fmt::format("{}: a C array goes to a file whose name ends in .c; the header gets "
                    "the same name with .h",
                    array.source.string()));
  }
  const std::string name = array_name(array);
  if (!is_identifier(name)) {
    throw Error(
        fmt::format("'{}' is no name for an array in C; give one by --name", printable(name)));
  }
}

std::size_t write_c_array(const std::filesystem::path& quantized, const CArray& array) {
  const FileBytes file(quantized);
  const auto engine =
      IntegerEngine::from_bytes({file.bytes().begin(), file.bytes().end()}, quantized.string());
  const std::string name = array_name(array);
  write_source(*engine, array, name, file.bytes());
  write_file_atomically(array.header(), header_text(*engine, name, file.bytes().size()));
  return file.bytes().size();
}

}  // namespace bitlog2::cli
