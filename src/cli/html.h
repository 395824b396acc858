// Text that goes into web pages.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

namespace bitlog2::cli {

/// Text as HTML shows it.
std::string for_html(std::string_view text);

/// JSON for the inside of a script element, escaped so that nothing in it ends the element. Bytes
/// that are no UTF-8 become U+FFFD.
std::string for_script(const nlohmann::ordered_json& value);

/// The page with every `mark` replaced by `text`.
std::string replaced(std::string_view page, std::string_view mark, std::string_view text);

}  // namespace bitlog2::cli
