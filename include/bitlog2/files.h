// Files as the project uses them: mapped whole to read, written atomically.
#pragma once

#include <cstddef>
#include <filesystem>
#include <span>
#include <string_view>

namespace bitlog2 {

/// A file's bytes, mapped read-only. An empty file maps to an empty span.
class MappedFile {
 public:
  /// Throws Error naming `path` if it cannot be read or is not a regular file.
  explicit MappedFile(const std::filesystem::path& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  std::span<const std::byte> bytes() const { return bytes_; }

 private:
  std::span<const std::byte> bytes_;
};

/// What `path` stands for: itself, or where it leads if it is a symbolic link, though nothing
/// be there yet. Throws Error for links in a circle.
std::filesystem::path follow_links(const std::filesystem::path& path);

/// Writes `content` to a temporary file beside `path`, fsyncs it and renames it to `path`; a
/// symbolic link stays, and the file that it leads to is written. Throws Error; nothing is left
/// behind then.
void write_file_atomically(const std::filesystem::path& path, std::span<const std::byte> content);
void write_file_atomically(const std::filesystem::path& path, std::string_view text);

}  // namespace bitlog2
