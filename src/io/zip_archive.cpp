// Zip through minizip, which reads the archive from memory and says where an entry's data lies.
#include "io/zip_archive.h"

#include <fmt/format.h>
#include <unzip.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "bitlog2/error.h"

namespace bitlog2 {
namespace {

constexpr std::size_t kMostEntries = 100'000;
constexpr std::uint64_t kMostGrowth = 1032;  // of one byte by deflate
constexpr unsigned kEncrypted = 1;           // a flag

/// The archive as minizip's callbacks read it.
struct Stream {
  std::span<const std::byte> bytes;
  std::size_t position = 0;
};

Stream& stream_of(void* opaque) {
  return *static_cast<Stream*>(opaque);
}

void* open_stream(void* opaque, const void* /*name*/, int /*mode*/) {
  return opaque;
}

uLong read_stream(void* opaque, void* /*stream*/, void* buffer, uLong size) {
  Stream& stream = stream_of(opaque);
  const std::size_t count = std::min<std::size_t>(size, stream.bytes.size() - stream.position);
  if (count > 0) {
    std::memcpy(buffer, stream.bytes.data() + stream.position, count);
  }
  stream.position += count;
  return count;
}

ZPOS64_T tell_stream(void* opaque, void* /*stream*/) {
  return stream_of(opaque).position;
}

long seek_stream(void* opaque, void* /*stream*/, ZPOS64_T offset, int origin) {
  Stream& stream = stream_of(opaque);
  const ZPOS64_T base = origin == ZLIB_FILEFUNC_SEEK_SET   ? 0
                        : origin == ZLIB_FILEFUNC_SEEK_CUR ? stream.position
                                                           : stream.bytes.size();
  if (offset > stream.bytes.size() - base) {
    return -1;
  }
  stream.position = static_cast<std::size_t>(base + offset);
  return 0;
}

int close_stream(void* /*opaque*/, void* /*stream*/) {
  return 0;
}

int error_of_stream(void* /*opaque*/, void* /*stream*/) {
  return 0;
}

}  // namespace

struct ZipArchive::State {
  State(std::span<const std::byte> bytes, std::string archive)
      : name(std::move(archive)), stream{bytes}, decompressible(bytes.size()) {
    zlib_filefunc64_def functions = {open_stream, read_stream,  nullptr,         tell_stream,
                                     seek_stream, close_stream, error_of_stream, &stream};
    file = unzOpen2_64(nullptr, &functions);
    if (file == nullptr) {
      fail("its directory is missing");
    }
  }
  ~State() { unzClose(file); }
  State(const State&) = delete;
  State& operator=(const State&) = delete;
  State(State&&) = delete;
  State& operator=(State&&) = delete;

  [[noreturn]] void fail(const std::string& what) const {
    throw Error(
        fmt::format("{}: the zip archive is damaged: {}; copy or download it again", name, what));
  }

  const ZipEntry& find(const std::string& entry) const {
    const auto found = entries.find(entry);
    if (found == entries.end()) {
      fail(fmt::format("'{}' is missing", entry));
    }
    return found->second;
  }

  std::string name;
  Stream stream;
  unzFile file = nullptr;
  std::map<std::string, ZipEntry> entries;
  std::uint64_t decompressible;  ///< bytes of the archive, over all calls that are still to come
};

namespace {

/// The entry at which the archive stands, opened as long as this lives.
class OpenedEntry {
 public:
  OpenedEntry(unzFile file, const ZipEntry& entry, bool raw) : file_(file) {
    const unz64_file_pos position = {entry.position, entry.index};
    int method = 0;
    is_open_ = unzGoToFilePos64(file, &position) == UNZ_OK &&
               unzOpenCurrentFile2(file, &method, nullptr, raw ? 1 : 0) == UNZ_OK;
  }
  ~OpenedEntry() { close(); }
  OpenedEntry(const OpenedEntry&) = delete;
  OpenedEntry& operator=(const OpenedEntry&) = delete;
  OpenedEntry(OpenedEntry&&) = delete;
  OpenedEntry& operator=(OpenedEntry&&) = delete;

  bool is_open() const { return is_open_; }

  /// Where the entry's data begins.
  std::uint64_t offset() const { return unzGetCurrentFileZStreamPos64(file_); }

  /// Whether as many bytes could be read.
  bool read(std::span<std::byte> bytes) {
    constexpr std::size_t kStep = std::size_t{1} << 28;
    while (!bytes.empty()) {
      const int count = unzReadCurrentFile(file_, bytes.data(),
                                           static_cast<unsigned>(std::min(bytes.size(), kStep)));
      if (count <= 0) {
        return false;
      }
      bytes = bytes.subspan(static_cast<std::size_t>(count));
    }
    return true;
  }

  /// Whether what was read has the checksum that the archive says.
  bool close() { return !std::exchange(is_open_, false) || unzCloseCurrentFile(file_) == UNZ_OK; }

 private:
  unzFile file_;
  bool is_open_ = false;
};

}  // namespace

ZipArchive::ZipArchive(std::span<const std::byte> bytes, const std::string& name)
    : state_(std::make_unique<State>(bytes, name)) {
  std::string entry_name;
  int status = unzGoToFirstFile(state_->file);
  for (; status == UNZ_OK; status = unzGoToNextFile(state_->file)) {
    unz_file_info64 info = {};
    unz64_file_pos position = {};
    entry_name.resize(0x10000);
    if (state_->entries.size() == kMostEntries ||
        unzGetCurrentFileInfo64(state_->file, &info, entry_name.data(), entry_name.size(), nullptr,
                                0, nullptr, 0) != UNZ_OK ||
        unzGetFilePos64(state_->file, &position) != UNZ_OK) {
      break;
    }
    entry_name.resize(info.size_filename);
    const ZipEntry entry = {.position = position.pos_in_zip_directory,
                            .index = position.num_of_file,
                            .size = info.uncompressed_size,
                            .compressed_size = info.compressed_size,
                            .is_stored = info.compression_method == 0};
    if ((info.flag & kEncrypted) != 0) {
      throw Error(fmt::format("{}: '{}' is encrypted; give the archive without a password", name,
                              entry_name));
    }
    if (entry.compressed_size > bytes.size() ||
        entry.size > (entry.is_stored ? 1 : kMostGrowth) * entry.compressed_size) {
      state_->fail(fmt::format("'{}' claims {} bytes", entry_name, entry.size));
    }
    if (!state_->entries.emplace(entry_name, entry).second) {
      state_->fail(fmt::format("'{}' is there twice", entry_name));
    }
  }
  if (status != UNZ_END_OF_LIST_OF_FILE) {
    state_->fail("its directory ends early");
  }
}

ZipArchive::~ZipArchive() = default;

const std::map<std::string, ZipEntry>& ZipArchive::entries() const {
  return state_->entries;
}

std::span<const std::byte> ZipArchive::stored(const std::string& entry) const {
  const ZipEntry& found = state_->find(entry);
  const OpenedEntry opened(state_->file, found, true);
  if (!opened.is_open() || !found.is_stored) {
    state_->fail(fmt::format("'{}' cannot be found", entry));
  }
  const std::span<const std::byte> bytes = state_->stream.bytes;
  const std::uint64_t offset = opened.offset();
  if (offset > bytes.size() || found.size > bytes.size() - offset) {
    state_->fail(fmt::format("'{}' is not within it", entry));
  }
  return bytes.subspan(static_cast<std::size_t>(offset), static_cast<std::size_t>(found.size));
}

std::vector<std::byte> ZipArchive::read(const std::string& entry) const {
  const ZipEntry& found = state_->find(entry);
  if (found.compressed_size > state_->decompressible) {
    state_->fail("its files overlap");
  }
  state_->decompressible -= found.compressed_size;
  OpenedEntry opened(state_->file, found, false);
  if (!opened.is_open()) {
    state_->fail(fmt::format("'{}' cannot be found", entry));
  }
  std::vector<std::byte> content(static_cast<std::size_t>(found.size));
  if (!opened.read(content) || !opened.close()) {
    state_->fail(fmt::format("'{}' is not what its checksum says", entry));
  }
  return content;
}

}  // namespace bitlog2
