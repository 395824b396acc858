// The models of tests/data/architectures, as their libraries save them.
#pragma once

#include <algorithm>
#include <filesystem>
#include <string>
#include <vector>

namespace bitlog2::testing {

inline const std::filesystem::path kSavedModels =
    std::filesystem::path(BITLOG2_SOURCE_DIR) / "tests/data/architectures";

/// The names of the models, sorted.
inline std::vector<std::string> saved_models() {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(kSavedModels)) {
    if (entry.is_directory()) {
      names.push_back(entry.path().filename().string());
    }
  }
  std::ranges::sort(names);
  return names;
}

/// The argument for `--model`: the folder, or the file if there is no config.json.
inline std::string saved_model(const std::string& name) {
  const std::filesystem::path folder = kSavedModels / name;
  if (std::filesystem::exists(folder / "config.json")) {
    return folder.string();
  }
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    if (entry.path().filename() != "expected.safetensors") {
      return entry.path().string();
    }
  }
  return "";
}

}  // namespace bitlog2::testing
