// JSON objects as people write them, with messages for people.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace bitlog2 {

/// The JSON object that `text` holds; a byte order mark is passed over. Throws Error that begins
/// with `where`, with line and column, for anything else and for a key that is there twice.
nlohmann::json parse_object(std::string_view text, const std::string& where);

}  // namespace bitlog2
