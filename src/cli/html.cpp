#include "cli/html.h"

#include <nlohmann/json.hpp>

namespace bitlog2::cli {

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

std::string for_script(const nlohmann::ordered_json& value) {
  std::string escaped;
  for (const char c : value.dump(-1, ' ', true, nlohmann::ordered_json::error_handler_t::replace)) {
    escaped += c == '<' ? "\\u003c" : std::string(1, c);
  }
  return escaped;
}

std::string replaced(std::string_view page, std::string_view mark, std::string_view text) {
  std::string result;
  for (std::size_t found = page.find(mark); found != std::string_view::npos;
       found = page.find(mark)) {
    result += page.substr(0, found);
    result += text;
    page.remove_prefix(found + mark.size());
  }
  return result += page;
}

}  // namespace bitlog2::cli
