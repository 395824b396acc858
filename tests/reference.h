// Where tests find their data: fixtures in the source tree, and the reference data, which is not
// part of the project.
#pragma once

#include <filesystem>
#include <optional>

namespace bitlog2::testing {

/// tests/data of the source tree.
std::filesystem::path fixtures();

/// The folder that holds `data/` and `goldens/`: BITLOG2_REFERENCE_DIR, or else `shared` next to
/// the source tree; nothing if it does not exist.
std::optional<std::filesystem::path> reference_directory();

/// The folder of the built programs.
std::filesystem::path programs();

/// A new, empty folder, which the destructor removes.
class TemporaryFolder {
 public:
  TemporaryFolder();
  ~TemporaryFolder();
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

}  // namespace bitlog2::testing
