// A configuration's text to JSON, with messages for people who wrote it by hand.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace bitlog2 {

/// The JSON object that `text` holds. Throws Error, which begins with `where`, for text that is
/// none and for one that has a key twice.
nlohmann::json parse_config_object(std::string_view text, const std::string& where);

}  // namespace bitlog2
