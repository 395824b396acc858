// Text that goes into web pages.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

namespace bitlog2::cli {

/// Text as HTML shows it.
std::string for_html(std::string_view text);

/// JSON within a script's element, which nothing in it may end. Bytes that are no UTF-8 become
/// U+FFFD.
std::string for_script(const nlohmann::ordered_json& value);

/// The page with `text` in the place of every `mark`.
std::string replaced(std::string_view page, std::string_view mark, std::string_view text);

}  // namespace bitlog2::cli
