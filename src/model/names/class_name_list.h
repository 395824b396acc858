// Class names as files list them.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

namespace bitlog2 {

/// The strings of an array, or of an object whose keys are 0 to size - 1; empty if it is neither,
/// or if they say no more than a number each ("LABEL_0").
std::vector<std::string> class_name_list(const nlohmann::json& json);

/// ImageNet's names where `names` are its classes as other libraries spell them
/// ("tench, Tinca tinca"), else `names`.
std::vector<std::string> with_imagenet_spelling(std::vector<std::string> names);

}  // namespace bitlog2
