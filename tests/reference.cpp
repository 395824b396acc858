#include "reference.h"

#include <cstdlib>
#include <stdexcept>
#include <string>

namespace bitlog2::testing {

namespace fs = std::filesystem;

fs::path fixtures() {
  return fs::path(BITLOG2_SOURCE_DIR) / "tests" / "data";
}

std::optional<fs::path> reference_directory() {
  const char* given = std::getenv("BITLOG2_REFERENCE_DIR");
  const fs::path path =
      given != nullptr ? fs::path(given) : fs::path(BITLOG2_SOURCE_DIR) / ".." / "shared";
  if (fs::is_directory(path / "goldens")) {
    return path;
  }
  return std::nullopt;
}

fs::path programs() {
  return BITLOG2_BINARY_DIR;
}

TemporaryFolder::TemporaryFolder() {
  std::string name = (fs::temp_directory_path() / "bitlog2-test-XXXXXX").string();
  if (mkdtemp(name.data()) == nullptr) {
    throw std::runtime_error("no temporary folder");
  }
  path_ = name;
}

TemporaryFolder::~TemporaryFolder() {
  std::error_code ignored;
  fs::remove_all(path_, ignored);
}

}  // namespace bitlog2::testing
