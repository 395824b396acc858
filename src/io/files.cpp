// Mapped reading and atomic writing. Nothing here may leave a partial file under a
// final name.
#include "bitlog2/files.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>

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
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;
  void release() { path_.clear(); }

 private:
  std::string path_;
};

Error system_error(const std::filesystem::path& path, const char* what) {
  return Error(fmt::format("{}: {} ({})", path.string(), what, std::strerror(errno)));
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

MappedFile::MappedFile(const std::filesystem::path& path) {
  const FileDescriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (file.get() < 0) {
    throw system_error(path, "cannot be read");
  }
  struct stat status {};
  if (::fstat(file.get(), &status) != 0) {
    throw system_error(path, "cannot be read");
  }
  if (!S_ISREG(status.st_mode)) {
    throw Error(fmt::format("{}: not a file", path.string()));
  }
  const auto size = static_cast<std::size_t>(status.st_size);
  if (size == 0) {
    return;
  }
  void* address = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, file.get(), 0);
  if (address == MAP_FAILED) {
    throw system_error(path, "cannot be mapped");
  }
  bytes_ = {static_cast<const std::byte*>(address), size};
}

MappedFile::~MappedFile() {
  if (!bytes_.empty()) {
    // munmap takes a mutable address of what was mapped read-only.
    ::munmap(const_cast<std::byte*>(bytes_.data()), bytes_.size());
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

void write_file_atomically(const std::filesystem::path& path, std::span<const std::byte> content) {
  const std::filesystem::path target = follow_links(path);
  std::string temporary_name = target.string() + ".XXXXXX";
  const FileDescriptor file(::mkostemp(temporary_name.data(), O_CLOEXEC));
  if (file.get() < 0) {
    throw system_error(path, "cannot be written");
  }
  TemporaryFile temporary(temporary_name);
  write_all(file.get(), content, path);
  // mkostemp creates 0600; a result file gets what a plain open would have given.
  const mode_t mask = ::umask(0);
  ::umask(mask);
  if (::fchmod(file.get(), 0666 & ~mask) != 0 || ::fsync(file.get()) != 0 ||
      ::rename(temporary_name.c_str(), target.c_str()) != 0) {
    throw system_error(path, "cannot be written");
  }
  temporary.release();
}

void write_file_atomically(const std::filesystem::path& path, std::string_view text) {
  write_file_atomically(path, std::as_bytes(std::span(text)));
}

}  // namespace bitlog2
