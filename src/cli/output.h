// The files that a command writes, checked before any work starts.
#pragma once

#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

namespace bitlog2::cli {

/// The path that stands for stdout, where `--json` writes without a file.
inline constexpr const char* kStandardOutput = "-";

/// A file that the user asked a command to write, by an option.
struct Output {
  std::string option;  ///< "--json", for messages
  std::string path;    ///< empty: not asked for; kStandardOutput: to stdout

  bool wanted() const { return !path.empty(); }
  bool to_stdout() const { return path == kStandardOutput; }
};

/// Throws Error unless every one of `outputs` can be written without harm: it has a name, its
/// folder can be written to, it is no read-only or special file, and it is neither one of `inputs`,
/// nor a file in a folder among them, nor another output. Called before long work starts.
void check_outputs(const std::vector<Output>& outputs,
                   const std::vector<std::filesystem::path>& inputs);

/// Writes `document` to `output`, if it was asked for. Throws Error if that fails.
void write_json(const Output& output, const nlohmann::ordered_json& document);

}  // namespace bitlog2::cli
