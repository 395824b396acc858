// A zip archive in memory. Entries that are stored without compression are used in place.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace bitlog2 {

/// One file of an archive. Its checksum is not compared unless it is read.
struct ZipEntry {
  std::uint64_t position = 0;  ///< in the directory
  std::uint64_t index = 0;
  std::uint64_t size = 0;             ///< of the content, bytes
  std::uint64_t compressed_size = 0;  ///< bytes in the archive
  bool is_stored = false;             ///< not compressed
};

class ZipArchive {
 public:
  /// Reads the directory. The caller keeps `bytes` alive; `name` is for messages. Throws Error
  /// if there is no directory, or one that contradicts the file.
  ZipArchive(std::span<const std::byte> bytes, const std::string& name);
  ~ZipArchive();
  ZipArchive(const ZipArchive&) = delete;
  ZipArchive& operator=(const ZipArchive&) = delete;
  ZipArchive(ZipArchive&&) = delete;
  ZipArchive& operator=(ZipArchive&&) = delete;

  const std::map<std::string, ZipEntry>& entries() const;

  /// The content of a stored entry, in place; its checksum is not compared, so its bytes are not
  /// read. Throws Error if it is not within the archive.
  std::span<const std::byte> stored(const std::string& entry) const;

  /// A copy of an entry's content, its checksum compared. Throws Error for a damaged one, and for a
  /// size that deflate cannot reach. Over all calls together no more than the archive's size is
  /// decompressed, so that an archive whose entries overlap does not grow without bound.
  std::vector<std::byte> read(const std::string& entry) const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace bitlog2
