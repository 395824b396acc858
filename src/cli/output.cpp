#include "cli/output.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <system_error>

#include "bitlog2/dataset.h"
#include "bitlog2/error.h"
#include "bitlog2/files.h"
#include "cli/console.h"

namespace bitlog2::cli {
namespace {

namespace fs = std::filesystem;

bool is_same(const fs::path& a, const fs::path& b) {
  std::error_code ignored;  // files that are not there are not the same
  return fs::equivalent(a, b, ignored);
}

/// True if `path` is `input`, or an image or a list of labels in the folder `input`.
bool is_read(const fs::path& path, const fs::path& input) {
  std::error_code error;
  if (!fs::is_directory(input, error)) {
    return is_same(path, input);
  }
  if (!is_image_name(path.filename().string()) && path.extension() != ".txt") {
    return false;
  }
  const fs::path target = fs::canonical(path, error);
  if (error) {
    return false;
  }
  for (fs::path folder = target.parent_path(); folder.has_relative_path();
       folder = folder.parent_path()) {
    if (is_same(folder, input)) {
      return true;
    }
  }
  return false;
}

/// The same for names of which nothing is there yet.
bool is_same_target(const fs::path& a, const fs::path& b) {
  std::error_code ignored;
  return is_same(a, b) || fs::weakly_canonical(follow_links(a), ignored) ==
                              fs::weakly_canonical(follow_links(b), ignored);
}

void check_writable(const Output& output) {
  const fs::path target = follow_links(output.path);
  const fs::path folder = target.has_parent_path() ? target.parent_path() : ".";
  if (::access((folder / "").c_str(), W_OK | X_OK) != 0) {
    throw Error(fmt::format("{}: cannot be written; is {} a folder that you may write to?",
                            output.path, folder.string()));
  }
  std::error_code ignored;
  const fs::file_status status = fs::status(target, ignored);
  if (!fs::exists(status)) {
    return;
  }
  if (!fs::is_regular_file(status)) {
    // Folders cannot be written to, and a device would be replaced by the file.
    throw Error(fmt::format(
        "{}: is not a regular file; give a file's name, or '-' for stdout where that may be",
        output.path));
  }
  constexpr fs::perms kWrite =
      fs::perms::owner_write | fs::perms::group_write | fs::perms::others_write;
  // The superuser can write to a read-only file, but is refused as well.
  if ((status.permissions() & kWrite) == fs::perms::none || ::access(target.c_str(), W_OK) != 0) {
    throw Error(
        fmt::format("{}: is read-only; give another name, or remove it first", output.path));
  }
}

void check_name(const Output& output) {
  if (output.path.starts_with('-')) {
    throw Error(fmt::format("{} {}: a file's name is needed; write ./{} if it is one",
                            output.option, output.path, output.path));
  }
}

}  // namespace

void check_outputs(const std::vector<Output>& outputs, const std::vector<fs::path>& inputs) {
  if (std::ranges::count_if(outputs, &Output::to_stdout) > 1) {
    throw Error("only one result can go to stdout; name a file for the others");
  }
  for (std::size_t i = 0; i < outputs.size(); ++i) {
    const Output& output = outputs[i];
    if (!output.wanted() || output.to_stdout()) {
      continue;
    }
    check_name(output);
    for (const fs::path& input : inputs) {
      if (is_read(output.path, input)) {
        throw Error(fmt::format("{} {}: {} is read and must not be overwritten; give another name",
                                output.option, output.path, input.string()));
      }
    }
    for (std::size_t other = 0; other < i; ++other) {
      if (outputs[other].wanted() && is_same_target(outputs[other].path, output.path)) {
        throw Error(fmt::format("{} and {} both write {}; give different names",
                                outputs[other].option, output.option, output.path));
      }
    }
    check_writable(output);
  }
}

void write_json(const Output& output, const nlohmann::ordered_json& document) {
  if (output.to_stdout()) {
    print(json_text(document));
  } else if (output.wanted()) {
    write_file_atomically(output.path, json_text(document));
  }
}

}  // namespace bitlog2::cli
