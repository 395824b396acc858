// Reading, mapped where that is possible, and atomic writing. Nothing here may leave a partial file
// under a final name.
#include "bitlog2/files.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <new>
#include <string>
#include <utility>
#include <vector>

#include "bitlog2/error.h"

namespace bitlog2 {
namespace {

class FileDescriptor {
 public:
  explicit FileDescriptor(int value) : value_(value) {}
  ~FileDescriptor() {
    if (value_ >= 0) {
      ::close(value_);
    }
  }
  FileDescriptor(FileDescriptor&& other) noexcept : value_(std::exchange(other.value_, -1)) {}
  FileDescriptor& operator=(FileDescriptor&&) = delete;
  FileDescriptor(const FileDescriptor&) = delete;
  FileDescriptor& operator=(const FileDescriptor&) = delete;
  int get() const { return value_; }

 private:
  int value_;
};

/// Removes a temporary file unless it was renamed in time.
class TemporaryFile {
 public:
  explicit TemporaryFile(std::string path) : path_(std::move(path)) {}
  ~TemporaryFile() {
    if (!path_.empty()) {
      ::unlink(path_.c_str());
    }
  }
  TemporaryFile(TemporaryFile&& other) noexcept : path_(std::exchange(other.path_, {})) {}
  TemporaryFile& operator=(TemporaryFile&&) = delete;
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;
  void release() { path_.clear(); }

 private:
  std::string path_;
};

Error system_error(const std::filesystem::path& path, const char* what) {
  return Error(fmt::format("{}: {} ({})", path.string(), what, std::strerror(errno)));
}

FileDescriptor open_to_read(const std::filesystem::path& path, int more_flags = 0) {
  FileDescriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | more_flags));
  if (file.get() < 0) {
    // Opening a socket gives this error.
    throw errno == ENXIO ? Error(fmt::format("{}: a socket; give a file or a pipe", path.string()))
                         : system_error(path, "cannot be read");
  }
  return file;
}

struct stat status_of(const FileDescriptor& file, const std::filesystem::path& path) {
  struct stat status {};
  if (::fstat(file.get(), &status) != 0) {
    throw system_error(path, "cannot be read");
  }
  return status;
}

MappedPages map_file(const FileDescriptor& file, const struct stat& status,
                     const std::filesystem::path& path) {
  const auto size = static_cast<std::size_t>(status.st_size);
  if (size == 0) {
    return {};
  }
  void* address = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, file.get(), 0);
  if (address == MAP_FAILED) {
    throw system_error(path, "cannot be mapped");
  }
  return {address, size};
}

/// The memory for a stream at first; it grows with the stream.
constexpr std::size_t kFirstPages = std::size_t{1} << 16;

MappedPages new_pages(std::size_t size) {
  void* address = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (address == MAP_FAILED) {
    throw std::bad_alloc();
  }
  return {address, size};
}

/// Returns when there is something to read, or nothing more will come; at once without `stop`.
void wait_for_writer(const FileDescriptor& file, const std::atomic<bool>* stop,
                     const std::filesystem::path& path) {
  constexpr int kMilliseconds = 50;  // between two looks at `stop`
  while (stop != nullptr) {
    if (stop->load()) {
      throw Error(fmt::format("{}: not read to its end; interrupted", path.string()));
    }
    pollfd wanted = {file.get(), POLLIN, 0};
    if (::poll(&wanted, 1, kMilliseconds) > 0) {
      return;
    }
  }
}

/// At least a byte, or 0 at the end.
std::size_t read_some(const FileDescriptor& file, std::span<std::byte> bytes,
                      const std::filesystem::path& path, const std::atomic<bool>* stop) {
  for (;;) {
    wait_for_writer(file, stop, path);
    const ssize_t count = ::read(file.get(), bytes.data(), bytes.size());
    if (count >= 0) {
      return static_cast<std::size_t>(count);
    }
    if (errno != EINTR && errno != EAGAIN) {
      throw system_error(path, "cannot be read");
    }
  }
}

void write_all(int descriptor, std::span<const std::byte> bytes,
               const std::filesystem::path& path) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(descriptor, bytes.data(), bytes.size());
    if (written < 0) {
      if (errno == EINTR) {
        continue;
      }
      throw system_error(path, "cannot be written");
    }
    bytes = bytes.subspan(static_cast<std::size_t>(written));
  }
}

}  // namespace

MappedPages::MappedPages(void* address, std::size_t size)
    : bytes_(static_cast<std::byte*>(address), size) {}

MappedPages::~MappedPages() {
  if (!bytes_.empty()) {
    ::munmap(bytes_.data(), bytes_.size());
  }
}

MappedPages::MappedPages(MappedPages&& other) noexcept : bytes_(std::exchange(other.bytes_, {})) {}

MappedPages& MappedPages::operator=(MappedPages&& other) noexcept {
  std::swap(bytes_, other.bytes_);
  return *this;
}

void MappedPages::resize(std::size_t size) {
  // Pages move by their addresses; nothing is copied.
  void* address = ::mremap(bytes_.data(), bytes_.size(), size, MREMAP_MAYMOVE);
  if (address == MAP_FAILED) {
    throw std::bad_alloc();
  }
  bytes_ = {static_cast<std::byte*>(address), size};
}

MappedFile::MappedFile(const std::filesystem::path& path) {
  // A FIFO without a writer must not be waited for.
  const FileDescriptor file = open_to_read(path, O_NONBLOCK);
  const struct stat status = status_of(file, path);
  if (!S_ISREG(status.st_mode)) {
    throw Error(fmt::format("{}: not a file", path.string()));
  }
  pages_ = map_file(file, status, path);
}

FileBytes::FileBytes(const std::filesystem::path& path, std::size_t max_stream_bytes,
                     const std::atomic<bool>* stop) {
  // Opening a FIFO waits for its writer, too.
  const FileDescriptor file = open_to_read(path, stop == nullptr ? 0 : O_NONBLOCK);
  const struct stat status = status_of(file, path);
  if (S_ISREG(status.st_mode)) {
    pages_ = map_file(file, status, path);
    return;
  }
  if (!S_ISFIFO(status.st_mode) && !S_ISCHR(status.st_mode)) {
    throw Error(fmt::format("{}: {}; give a file or a pipe", path.string(),
                            S_ISDIR(status.st_mode) ? "a folder" : "not a file"));
  }
  // One byte more than allowed tells whether the stream goes on.
  const std::size_t limit = max_stream_bytes + 1;
  MappedPages pages = new_pages(std::min(kFirstPages, limit));
  std::size_t size = 0;
  while (const std::size_t count = read_some(file, pages.bytes().subspan(size), path, stop)) {
    size += count;
    if (size > max_stream_bytes) {
      throw Error(fmt::format("{}: does not end within {} bytes; give a smaller file",
                              path.string(), max_stream_bytes));
    }
    if (size == pages.bytes().size()) {
      pages.resize(std::min(2 * size, limit));
    }
  }
  if (size > 0) {
    pages.resize(size);
    pages_ = std::move(pages);
  }
}

std::filesystem::path follow_links(const std::filesystem::path& path) {
  constexpr int kMostLinks = 40;  // as many as Linux follows
  std::filesystem::path target = path;
  std::error_code ignored;
  for (int links = 0; std::filesystem::is_symlink(target, ignored); ++links) {
    if (links == kMostLinks) {
      errno = ELOOP;
      throw system_error(path, "cannot be written");
    }
    target = target.parent_path() / std::filesystem::read_symlink(target, ignored);
  }
  return target;
}

struct FileWriter::State {
  std::filesystem::path path;  // as the caller calls it
  std::filesystem::path target;
  std::string temporary_name;
  FileDescriptor file;
  TemporaryFile temporary;
  std::vector<std::byte> buffer;

  static State create(const std::filesystem::path& path);
  void flush();
};

namespace {

/// Rows of a few hundred bytes are not worth a system call each.
constexpr std::size_t kWriteBuffer = std::size_t{1} << 16;

}  // namespace

FileWriter::State FileWriter::State::create(const std::filesystem::path& path) {
  std::filesystem::path target = follow_links(path);
  std::string name = target.string() + ".XXXXXX";
  FileDescriptor file(::mkostemp(name.data(), O_CLOEXEC));
  if (file.get() < 0) {
    throw system_error(path, "cannot be written");
  }
  return {path, std::move(target), name, std::move(file), TemporaryFile(name), {}};
}

void FileWriter::State::flush() {
  write_all(file.get(), buffer, path);
  buffer.clear();
}

FileWriter::FileWriter(const std::filesystem::path& path)
    : state_(std::make_unique<State>(State::create(path))) {}

FileWriter::~FileWriter() = default;
FileWriter::FileWriter(FileWriter&&) noexcept = default;
FileWriter& FileWriter::operator=(FileWriter&&) noexcept = default;

void FileWriter::append(std::span<const std::byte> bytes) {
  if (state_->buffer.size() + bytes.size() > kWriteBuffer) {
    state_->flush();
  }
  if (bytes.size() > kWriteBuffer) {
    write_all(state_->file.get(), bytes, state_->path);
  } else {
    state_->buffer.insert(state_->buffer.end(), bytes.begin(), bytes.end());
  }
}

void FileWriter::overwrite_start(std::span<const std::byte> bytes) {
  state_->flush();
  const int file = state_->file.get();
  if (::lseek(file, 0, SEEK_SET) != 0) {
    throw system_error(state_->path, "cannot be written");
  }
  write_all(file, bytes, state_->path);
  if (::lseek(file, 0, SEEK_END) < 0) {
    throw system_error(state_->path, "cannot be written");
  }
}

void FileWriter::sync() {
  state_->flush();
  // mkostemp creates 0600; a result file gets what a plain open would have given.
  const mode_t mask = ::umask(0);
  ::umask(mask);
  if (::fchmod(state_->file.get(), 0666 & ~mask) != 0 || ::fsync(state_->file.get()) != 0) {
    throw system_error(state_->path, "cannot be written");
  }
}

void FileWriter::commit() {
  sync();
  if (::rename(state_->temporary_name.c_str(), state_->target.c_str()) != 0) {
    throw system_error(state_->path, "cannot be written");
  }
  state_->temporary.release();
}

void write_file_atomically(const std::filesystem::path& path, std::span<const std::byte> content) {
  FileWriter file(path);
  file.append(content);
  file.commit();
}

void write_file_atomically(const std::filesystem::path& path, std::string_view text) {
  write_file_atomically(path, std::as_bytes(std::span(text)));
}

}  // namespace bitlog2
