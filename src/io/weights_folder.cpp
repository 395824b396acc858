// A folder that was given in place of a checkpoint: which of its files to give.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <filesystem>
#include <initializer_list>
#include <iterator>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include "io/file_kind.h"

namespace bitlog2 {
namespace {

namespace fs = std::filesystem;

/// The names in a folder, sorted; folders end in a slash. A bounded number of them.
std::vector<std::string> names_in_folder(const fs::path& folder) {
  constexpr std::size_t kMostNames = 10000;
  std::vector<std::string> names;
  std::error_code error;
  for (fs::directory_iterator entry(folder, error), end; !error && entry != end;
       entry.increment(error)) {
    std::error_code ignored;
    const bool is_folder = entry->is_directory(ignored);
    names.push_back(entry->path().filename().string() + (is_folder ? "/" : ""));
    if (names.size() == kMostNames) {
      break;
    }
  }
  std::ranges::sort(names);
  return names;
}

/// model.safetensors of a Hugging Face cache's folder, which keeps one folder a revision.
std::optional<fs::path> file_in_snapshots(const fs::path& folder) {
  for (const std::string& revision : names_in_folder(folder / "snapshots")) {
    std::error_code ignored;
    const fs::path file = folder / "snapshots" / revision / "model.safetensors";
    if (fs::exists(file, ignored)) {
      return file;
    }
  }
  return std::nullopt;
}

std::string first_names(const std::vector<std::string>& names) {
  constexpr std::size_t kShown = 4;
  const std::size_t shown = std::min(names.size(), kShown);
  std::string text = fmt::format(
      "{}", fmt::join(names.begin(), names.begin() + static_cast<std::ptrdiff_t>(shown), ", "));
  return names.size() > shown ? fmt::format("{} and {} more", text, names.size() - shown) : text;
}

std::vector<std::string> with_endings(const std::vector<std::string>& names,
                                      std::initializer_list<std::string_view> endings) {
  std::vector<std::string> result;
  std::ranges::copy_if(names, std::back_inserter(result), [&](const std::string& name) {
    return std::ranges::any_of(endings,
                               [&](std::string_view ending) { return name.ends_with(ending); });
  });
  return result;
}

}  // namespace

std::string describe_folder(const fs::path& folder) {
  const std::vector<std::string> names = names_in_folder(folder);
  const auto give = [&](const std::string& name) {
    return fmt::format("a folder; give {}", (folder / name).string());
  };
  const std::vector<std::string> weights = with_endings(names, {".safetensors"});
  if (std::ranges::find(weights, "model.safetensors") != weights.end()) {
    return give("model.safetensors");
  }
  const std::vector<std::string> indices = with_endings(names, {".safetensors.index.json"});
  if (indices.empty() && weights.size() == 1) {
    return give(weights.front());
  }
  if (!indices.empty()) {
    return give(indices.front());
  }
  if (!weights.empty()) {
    return fmt::format("a folder; give one of its files: {}", first_names(weights));
  }
  if (const auto snapshot = file_in_snapshots(folder)) {
    return fmt::format("a folder; give {}", snapshot->string());
  }
  const std::vector<std::string> pytorch = with_endings(names, {".bin", ".pth", ".pt", ".ckpt"});
  if (!pytorch.empty()) {
    const std::vector<std::string> lists = with_endings(names, {".bin.index.json"});
    return give(lists.empty() ? pytorch.front() : lists.front());
  }
  if (names.empty()) {
    return "an empty folder; give a .safetensors file";
  }
  return fmt::format("a folder without a .safetensors file (it holds {})", first_names(names));
}

}  // namespace bitlog2
