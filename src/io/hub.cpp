// The Hugging Face cache, as its own tools lay it out:
// models--OWNER--NAME/{refs/main, snapshots/<commit>/model.safetensors}. It is only ever
// read, and nothing is downloaded.
#include "bitlog2/hub.h"

#include <fmt/format.h>

#include <cstdlib>
#include <fstream>
#include <string_view>
#include <system_error>

namespace bitlog2 {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kWeights = "model.safetensors";

/// The folder that an environment variable names; nothing if it is unset or empty.
std::optional<fs::path> folder_from_environment(const char* variable) {
  const char* value = std::getenv(variable);
  if (value == nullptr || *value == '\0') {
    return std::nullopt;
  }
  return fs::path(value);
}

std::optional<fs::path> cache_folder() {
  if (auto folder = folder_from_environment("HF_HUB_CACHE")) {
    return folder;
  }
  if (const auto folder = folder_from_environment("HF_HOME")) {
    return *folder / "hub";
  }
  if (const auto folder = folder_from_environment("XDG_CACHE_HOME")) {
    return *folder / "huggingface" / "hub";
  }
  if (const auto folder = folder_from_environment("HOME")) {
    return *folder / ".cache" / "huggingface" / "hub";
  }
  return std::nullopt;
}

/// The cache's folder of a repository: '/' becomes "--".
std::string folder_name(const std::string& repository) {
  std::string name = "models--";
  for (const char character : repository) {
    name += character == '/' ? std::string("--") : std::string(1, character);
  }
  return name;
}

/// The commit that refs/main names, or an empty string.
std::string main_commit(const fs::path& repository) {
  std::string commit;
  std::ifstream(repository / "refs" / "main") >> commit;
  return commit;
}

/// A download that was broken off leaves a snapshot without the file, or a dead link.
bool has_weights(const fs::path& snapshot) {
  std::error_code ignored;
  return fs::is_regular_file(snapshot / kWeights, ignored);
}

/// The snapshot of refs/main, else the newest, of those that are `usable`.
std::optional<fs::path> find_snapshot(const std::string& repository,
                                      bool (*usable)(const fs::path&)) {
  const std::optional<fs::path> cache = cache_folder();
  if (!cache) {
    return std::nullopt;
  }
  const fs::path folder = *cache / folder_name(repository);
  const std::string commit = main_commit(folder);
  if (!commit.empty() && usable(folder / "snapshots" / commit)) {
    return folder / "snapshots" / commit;
  }
  std::optional<fs::path> newest;
  fs::file_time_type newest_time = fs::file_time_type::min();
  std::error_code error;
  for (fs::directory_iterator entry(folder / "snapshots", error), end; !error && entry != end;
       entry.increment(error)) {
    std::error_code no_time;
    const fs::file_time_type time = fs::last_write_time(entry->path(), no_time);
    if (!no_time && usable(entry->path()) && (!newest || time > newest_time)) {
      newest = entry->path();
      newest_time = time;
    }
  }
  return newest;
}

}  // namespace

std::optional<std::filesystem::path> find_in_hub_cache(const std::string& repository) {
  const auto snapshot = find_snapshot(repository, has_weights);
  return snapshot ? std::optional(*snapshot / kWeights) : std::nullopt;
}

std::optional<std::filesystem::path> find_snapshot_in_hub_cache(const std::string& repository) {
  return find_snapshot(repository, [](const fs::path& snapshot) {
    std::error_code ignored;
    return fs::is_directory(snapshot, ignored);
  });
}

std::string hub_download_command(const std::string& repository) {
  return fmt::format("pip install -U huggingface_hub && hf download {} {}", repository, kWeights);
}

}  // namespace bitlog2
