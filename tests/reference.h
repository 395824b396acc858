// Where tests find their data: fixtures in the tree, and the reference data that is
// not part of the project.
#pragma once

#include <filesystem>
#include <optional>

namespace bitlog2::testing {

/// tests/data of the source tree.
std::filesystem::path fixtures();

/// The folder that holds `data/` and `goldens/`: BITLOG2_REFERENCE_DIR, else ../shared
/// beside the source tree; nothing if absent.
std::optional<std::filesystem::path> reference_directory();

/// The built programs' folder.
std::filesystem::path programs();

/// A fresh, empty folder that is removed when the object goes.
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
