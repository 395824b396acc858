#include "model/names/class_name_list.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "bitlog2/dataset.h"

namespace bitlog2 {
namespace {

/// The first of several names for one thing, in lower case.
std::string first_synonym(std::string_view name) {
  std::string result(name.substr(0, name.find(',')));
  std::ranges::transform(result, result.begin(), [](char letter) {
    return letter >= 'A' && letter <= 'Z' ? static_cast<char>(letter - 'A' + 'a')
           : letter == '_'                ? ' '
                                          : letter;
  });
  return result;
}

}  // namespace

std::vector<std::string> class_name_list(const nlohmann::json& json) {
  std::vector<std::string> names;
  bool numbers_only = true;
  for (std::size_t i = 0; json.is_structured() && i < json.size(); ++i) {
    const std::string key = std::to_string(i);
    if (json.is_object() && !json.contains(key)) {
      return {};
    }
    const nlohmann::json& name = json.is_array() ? json[i] : json[key];
    if (!name.is_string()) {
      return {};
    }
    names.push_back(name.get<std::string>());
    numbers_only = numbers_only && names.back() == "LABEL_" + key;
  }
  return numbers_only ? std::vector<std::string>() : names;
}

std::vector<std::string> with_imagenet_spelling(std::vector<std::string> names) {
  const auto classes = imagenet_classes();
  if (names.size() != classes.size()) {
    return names;
  }
  std::size_t same = 0;
  for (std::size_t i = 0; i < names.size(); ++i) {
    same += first_synonym(names[i]) == first_synonym(classes[i].name) ? 1 : 0;
  }
  if (same * 10 < names.size() * 9) {  // spellings of a few differ
    return names;
  }
  for (std::size_t i = 0; i < names.size(); ++i) {
    names[i] = classes[i].name;
  }
  return names;
}

}  // namespace bitlog2
