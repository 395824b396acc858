#include "model/json_object.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "bitlog2/error.h"

namespace bitlog2 {
namespace {

using nlohmann::json;

/// What is wrong at byte `at` of `text`, in plain words. `told` is the JSON library's message,
/// which speaks of a grammar.
std::string plain_reason(std::string_view text, std::size_t at, std::string_view told) {
  const auto says = [&](std::string_view part) {
    return told.find(part) != std::string_view::npos;
  };
  const char letter = at < text.size() ? text[at] : '\0';
  if (says("unexpected end of input")) {
    return "the text ends too early; is a } or ] missing?";
  }
  if (says("UTF-8")) {
    return "this is not UTF-8; save the file as UTF-8";
  }
  if (says("invalid string")) {
    return "this text in quotes is not closed, or holds a character that must be escaped";
  }
  if (letter == '\'') {
    return "texts and keys stand in double quotes";
  }
  if (letter == '/' || letter == '#') {
    return "JSON has no comments; a key that begins with _ may hold one";
  }
  if (says("expected end of input")) {
    return "something follows the closing }";
  }
  if (says("; expected '}'") || says("; expected ']'")) {
    return "a comma is missing before this";
  }
  if (says("; expected ':'")) {
    return "a colon is missing before this";
  }
  if (says("while parsing object key")) {
    return letter == '}' ? "a comma stands before this }"
                         : "a key in double quotes must stand here";
  }
  if (letter == '}' || letter == ']' || letter == ',') {
    return "a value is missing before this";
  }
  return "this is no value of JSON (a number, true, false, null, or a text in double quotes)";
}

/// Where the token ends whose last byte is `at`, its first byte, as far as a quote tells.
std::size_t token_begin(std::string_view text, std::size_t at) {
  if (at == 0 || at >= text.size() || text[at] != '"') {
    return at;
  }
  const std::size_t quote = text.rfind('"', at - 1);
  return quote == std::string_view::npos || text.find('\n', quote) < at ? at : quote;
}

std::string syntax_error(std::string_view text, const json::parse_error& error) {
  const std::string_view told = error.what();
  const std::size_t last = std::min(error.byte == 0 ? 0 : error.byte - 1, text.size());
  const std::size_t at = told.find("unexpected string literal") == std::string_view::npos
                             ? last
                             : token_begin(text, last);
  const std::string_view before = text.substr(0, at);
  const std::size_t line_begin = before.rfind('\n') + 1;  // npos + 1 is 0
  const auto is_letter = [](char byte) {
    return (static_cast<unsigned char>(byte) & 0xC0) != 0x80;
  };
  return fmt::format("line {}, column {}: {}", 1 + std::ranges::count(before, '\n'),
                     1 + std::ranges::count_if(before.substr(line_begin), is_letter),
                     plain_reason(text, at, told));
}

}  // namespace

nlohmann::json parse_object(std::string_view text, const std::string& where) {
  const auto fail = [&](const std::string& what) {
    return Error(fmt::format("{}: {}", where, what));
  };
  if (text.starts_with("\xef\xbb\xbf")) {
    text.remove_prefix(3);
  }
  if (text.starts_with("\xff\xfe") || text.starts_with("\xfe\xff")) {
    throw fail("the text is UTF-16; save it as UTF-8");
  }
  if (text.find_first_not_of(" \t\r\n") == std::string_view::npos) {
    throw fail("the text is empty; a JSON object is needed");
  }
  std::set<std::string> keys;
  const auto check_key = [&](int depth, json::parse_event_t event, json& parsed) {
    if (event == json::parse_event_t::key && depth == 1 &&
        !keys.insert(parsed.get<std::string>()).second) {
      throw fail(fmt::format("'{}' is there twice", parsed.get<std::string>()));
    }
    return true;
  };
  try {
    json object = json::parse(text, check_key);
    if (object.is_object()) {
      return object;
    }
  } catch (const json::parse_error& error) {
    throw fail("not valid JSON, " + syntax_error(text, error));
  } catch (const json::exception&) {  // a number of 400 digits
    throw fail("a number is too large");
  }
  throw fail("not a JSON object");
}

}  // namespace bitlog2
