// Reads the values of a configuration's keys, each checked; messages name the key.
#pragma once

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "bitlog2/error.h"
#include "model/preprocessing.h"

namespace bitlog2 {

inline constexpr std::size_t kMaxSize = 1 << 16;  // channels, tokens: generous

/// A value of an enumeration, and what it is called in JSON.
template <class Value>
struct Choice {
  Value value;
  std::string_view name;
};

template <class Value>
Choice(Value, const char*) -> Choice<Value>;  // clang before 17 does not find it itself

template <class Value, std::size_t size>
std::string_view name_of(const std::array<Choice<Value>, size>& choices, Value value) {
  const auto found = std::ranges::find(choices, value, &Choice<Value>::value);
  return found == choices.end() ? "" : found->name;
}

inline constexpr float kLargestPixel = 255;

/// Whether these numbers, which are not negative, are for pixels of 0 to 255. A zero fits both
/// ranges.
inline bool is_of_bytes(const Channels& values) {
  return std::ranges::max(values) > 2;
}

/// Reads one JSON object's members; every failure names the file and the key.
class ConfigReader {
 public:
  ConfigReader(const nlohmann::json& object, const std::string& where)
      : object_(object), where_(where) {}

  [[noreturn]] void fail(const std::string& what) const {
    throw Error(fmt::format("{}: config: {}", where_, what));
  }

  bool has(const char* key) const { return object_.contains(key); }

  std::size_t size(const char* key, std::size_t largest = kMaxSize) const {
    return checked_size(key, member(key), largest);
  }

  std::size_t count(const char* key, std::size_t largest) const {
    return checked_size(key, member(key), largest, 0);
  }

  std::vector<std::size_t> sizes(const char* key, std::size_t largest = kMaxSize) const {
    const nlohmann::json& value = member(key);
    if (!value.is_array()) {
      return {checked_size(key, value, largest)};
    }
    if (value.empty() || value.size() > 16) {
      fail(fmt::format("'{}' needs 1 to 16 entries", key));
    }
    std::vector<std::size_t> result;
    for (const nlohmann::json& item : value) {
      result.push_back(checked_size(key, item, largest));
    }
    return result;
  }

  template <class Number>
  Number number(const char* key, Number low, Number high) const {
    const nlohmann::json& value = member(key);
    if (!value.is_number()) {
      fail(fmt::format("'{}' must be a number", key));
    }
    const auto result = value.get<Number>();
    if (!(result >= low && result <= high)) {
      fail(fmt::format("'{}' is {}, outside {} to {}", key, value.dump(), low, high));
    }
    return result;
  }

  std::string text(const char* key) const {
    const nlohmann::json& value = member(key);
    if (!value.is_string()) {
      fail(fmt::format("'{}' must be a string", key));
    }
    return value.get<std::string>();
  }

  /// The result of `find` for a text; the key is added to its Error.
  template <class Find>
  auto word(const char* key, Find find) const {
    try {
      return find(text(key));
    } catch (const Error& error) {
      fail(error.what());
    }
  }

  bool flag(const char* key) const {
    const nlohmann::json& value = member(key);
    if (!value.is_boolean()) {
      fail(fmt::format("'{}' must be true or false", key));
    }
    return value.get<bool>();
  }

  template <class Value, std::size_t count>
  Value choice(const char* key, const std::array<Choice<Value>, count>& choices) const {
    const std::string name = text(key);
    const auto found = std::ranges::find(choices, name, &Choice<Value>::name);
    if (found == choices.end()) {
      std::vector<std::string_view> names;
      names.reserve(count);
      for (const Choice<Value>& choice : choices) {
        names.push_back(choice.name);
      }
      fail(fmt::format("unknown {} '{}'; choose one of {}", key, name, fmt::join(names, ", ")));
    }
    return found->value;
  }

  /// Three numbers from `low` to 1, or up to 255, for which check_range has a message of its own.
  Channels per_channel(const char* key, float low) const {
    const nlohmann::json& value = member(key);
    Channels result = {};
    bool fits = value.is_array() && value.size() == result.size();
    for (std::size_t i = 0; fits && i < result.size(); ++i) {
      result[i] = value[i].is_number() ? value[i].get<float>() : -1.0F;
      fits = result[i] >= low && result[i] <= kLargestPixel;
    }
    if (!fits || (std::ranges::max(result) > 1 && !is_of_bytes(result))) {
      fail(fmt::format("'{}' needs three numbers from {} to 1", key, low));
    }
    return result;
  }

 private:
  const nlohmann::json& member(const char* key) const { return object_[key]; }

  std::size_t checked_size(const char* key, const nlohmann::json& value, std::size_t largest,
                           std::size_t least = 1) const {
    if (!value.is_number_unsigned() || value.get<std::uint64_t>() < least ||
        value.get<std::uint64_t>() > largest) {
      fail(fmt::format("'{}' must be a whole number from {} to {}", key, least, largest));
    }
    return value.get<std::size_t>();
  }

  const nlohmann::json& object_;
  const std::string& where_;
};

}  // namespace bitlog2
