// Reading and writing of files: files are mapped, streams are read to their end, and writing is
// atomic.
#pragma once

#include <atomic>
#include <cstddef>
#include <filesystem>
#include <memory>
#include <span>
#include <string_view>

#pragma GCC visibility push(default)
namespace bitlog2 {

/// Pages of memory that this object owns and unmaps at its end.
class MappedPages {
 public:
  MappedPages() = default;
  /// `address` comes from mmap, unless `size` is 0.
  MappedPages(void* address, std::size_t size);
  ~MappedPages();
  MappedPages(MappedPages&& other) noexcept;
  MappedPages& operator=(MappedPages&& other) noexcept;
  MappedPages(const MappedPages&) = delete;
  MappedPages& operator=(const MappedPages&) = delete;

  std::span<std::byte> bytes() const { return bytes_; }
  /// Changes the size, which must not be 0 before, and perhaps the address; the content is kept.
  void resize(std::size_t size);

 private:
  std::span<std::byte> bytes_;
};

/// A file's bytes, mapped read-only. An empty file maps to an empty span.
class MappedFile {
 public:
  /// Throws Error naming `path` if it cannot be read or is not a regular file.
  explicit MappedFile(const std::filesystem::path& path);

  std::span<const std::byte> bytes() const { return pages_.bytes(); }

 private:
  MappedPages pages_;
};

/// The most bytes that are read from a pipe or a device.
inline constexpr std::size_t kMaxStreamBytes = std::size_t{256} << 20;

/// The bytes of anything that can be read: a regular file is mapped; a pipe, a FIFO or a character
/// device (/dev/stdin, the /dev/fd/63 of a shell's <(...)) is read to its end.
class FileBytes {
 public:
  /// Throws Error naming `path` if it cannot be read, if it is a folder, a socket or a block
  /// device, or if a stream does not end within `max_stream_bytes`. Waits for a stream's writer;
  /// if `stop` is given and becomes true, it throws Error.
  explicit FileBytes(const std::filesystem::path& path,
                     std::size_t max_stream_bytes = kMaxStreamBytes,
                     const std::atomic<bool>* stop = nullptr);

  std::span<const std::byte> bytes() const { return pages_.bytes(); }

 private:
  MappedPages pages_;
};

/// `path` itself, or the target if it is a symbolic link, even if there is nothing yet. Throws
/// Error for links in a circle.
std::filesystem::path follow_links(const std::filesystem::path& path);

/// A file that is written piece by piece under a temporary name in the same folder, and gets its
/// name when it is complete. A symbolic link stays, and its target is written. All functions that
/// can fail throw Error naming the file. Without commit() nothing is left behind.
class FileWriter {
 public:
  explicit FileWriter(const std::filesystem::path& path);
  ~FileWriter();
  FileWriter(FileWriter&& other) noexcept;
  FileWriter& operator=(FileWriter&& other) noexcept;
  FileWriter(const FileWriter&) = delete;
  FileWriter& operator=(const FileWriter&) = delete;

  void append(std::span<const std::byte> bytes);

  /// Replaces the first bytes of the file, which must have been appended already.
  void overwrite_start(std::span<const std::byte> bytes);

  /// Writes all data to the disk. After it, commit() hardly ever fails.
  void sync();

  /// sync(), and gives the file its name, replacing an older file of this name.
  void commit();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// Writes `content` by a FileWriter.
void write_file_atomically(const std::filesystem::path& path, std::span<const std::byte> content);
void write_file_atomically(const std::filesystem::path& path, std::string_view text);

}  // namespace bitlog2
#pragma GCC visibility pop
