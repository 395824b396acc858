// Parses JSON texts from outside that have few levels.
#pragma once

#include <cstddef>
#include <nlohmann/json.hpp>
#include <string_view>

namespace bitlog2 {

/// The JSON of `text`, without values that are nested deeper than in any index; a discarded value
/// if `text` is no JSON or larger than 64 MiB.
inline nlohmann::json shallow_json(std::string_view text) {
  constexpr std::size_t kLongest = std::size_t{64} << 20;
  const auto at_sane_depth = [](int depth, nlohmann::json::parse_event_t, nlohmann::json&) {
    return depth <= 4;
  };
  return text.size() > kLongest ? nlohmann::json(nlohmann::json::value_t::discarded)
                                : nlohmann::json::parse(text, at_sane_depth, false);
}

}  // namespace bitlog2
