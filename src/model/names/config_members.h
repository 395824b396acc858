// The members of a library's configuration, with checks.
#pragma once

#include <fmt/format.h>

#include <cmath>
#include <cstddef>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "bitlog2/error.h"
#include "model/preprocessing.h"

namespace bitlog2 {

/// Reads the members of an object; each failure names the file and the key.
class Members {
 public:
  Members(const nlohmann::json& object, std::string where)
      : object_(object), where_(std::move(where)) {}

  bool has(const char* key) const { return object_.contains(key) && !object_.at(key).is_null(); }
  const nlohmann::json& at(const char* key) const { return object_.at(key); }

  Members object(const char* key) const {
    static const nlohmann::json empty = nlohmann::json::object();
    return {has(key) && at(key).is_object() ? at(key) : empty, where_ + ": " + key};
  }

  std::optional<std::size_t> size(const char* key, std::size_t largest) const {
    return has(key) ? std::optional(size_of(key, at(key), largest)) : std::nullopt;
  }

  std::string text(const char* key) const {
    return has(key) && at(key).is_string() ? at(key).get<std::string>() : "";
  }

  bool flag(const char* key, bool usual) const {
    return has(key) && at(key).is_boolean() ? at(key).get<bool>() : usual;
  }

  std::optional<double> number(const char* key, double low, double high) const {
    if (!has(key)) {
      return std::nullopt;
    }
    const double value = at(key).is_number() ? at(key).get<double>() : std::nan("");
    if (!(value >= low && value <= high)) {
      fail(fmt::format("'{}' must be a number from {} to {}", key, low, high));
    }
    return value;
  }

  /// Three numbers of pixels from 0 to 1.
  Channels channels(const char* key, Channels usual) const {
    if (!has(key)) {
      return usual;
    }
    const nlohmann::json& value = at(key);
    Channels result = {};
    bool fits = value.is_array() && value.size() == result.size();
    for (std::size_t i = 0; fits && i < result.size(); ++i) {
      fits = value[i].is_number() && value[i].get<double>() >= 0 && value[i].get<double>() <= 1;
      result[i] = fits ? value[i].get<float>() : 0.0F;
    }
    if (!fits) {
      fail(fmt::format("'{}' must be three numbers from 0 to 1", key));
    }
    return result;
  }

  /// A side of a square, however it is written: 224, [3, 224, 224], {"height": 224, ...}.
  std::optional<std::size_t> side(const char* key) const {
    if (!has(key)) {
      return std::nullopt;
    }
    const nlohmann::json& value = at(key);
    std::vector<nlohmann::json> sides;
    if (value.is_array()) {
      sides.assign(value.begin() + (value.size() == 3 ? 1 : 0), value.end());
    } else if (value.is_object() && value.contains("height") && value.contains("width")) {
      sides = {value["height"], value["width"]};
    } else if (value.is_object() && value.contains("shortest_edge")) {
      sides = {value["shortest_edge"]};
    } else {
      sides = {value};
    }
    if (sides.empty() || sides.size() > 2 || sides.front() != sides.back()) {
      fail(fmt::format("'{}' is {}: only squares are supported", key, value.dump()));
    }
    return size_of(key, sides.front(), kMostPixels);
  }

  [[noreturn]] void fail(const std::string& what) const {
    throw Error(fmt::format("{}: {}", where_, what));
  }

 private:
  static constexpr std::size_t kMostPixels = 1 << 14;  // a side

  std::size_t size_of(const char* key, const nlohmann::json& value, std::size_t largest) const {
    const double number = value.is_number() ? value.get<double>() : std::nan("");
    if (!(number >= 0 && number <= static_cast<double>(largest)) || number != std::floor(number)) {
      fail(fmt::format("'{}' must be a whole number from 0 to {}", key, largest));
    }
    return static_cast<std::size_t>(number);
  }

  const nlohmann::json& object_;
  std::string where_;
};

}  // namespace bitlog2
