#include "calibrate/sequence.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <string>
#include <utility>

#include "bitlog2/error.h"

namespace bitlog2::calibration {
namespace {

constexpr std::size_t kSpareBytes = std::size_t{128} << 20;

std::size_t bytes_of(const simulate::Tensor& x) {
  return x.size() * sizeof(float);
}

[[noreturn]] void fail_at_file(const char* what) {
  throw Error(fmt::format(
      "a temporary file could not be {} ({}); set TMPDIR to a folder with room, or raise --memory",
      what, std::strerror(errno)));  // NOLINT(concurrency-mt-unsafe): its text is used at once
}

/// Reads or writes all bytes; `call` is pread or pwrite.
template <class Byte, class Call>
void transfer(Call call, int file, Byte* bytes, std::size_t count, std::size_t offset,
              const char* what) {
  while (count > 0) {
    const ssize_t done = call(file, bytes, count, static_cast<off_t>(offset));
    if (done < 0 && errno == EINTR) {
      continue;
    }
    if (done <= 0) {
      fail_at_file(what);
    }
    bytes += done;
    count -= static_cast<std::size_t>(done);
    offset += static_cast<std::size_t>(done);
  }
}

}  // namespace

Storage::~Storage() {
  if (file_ >= 0) {
    close(file_);
  }
}

std::size_t Storage::spare_bytes() const {
  return std::min(kSpareBytes, (memory_limit_ - std::min(memory_limit_, memory_used_)) / 2);
}

void Storage::open_file() {
  std::error_code error;
  const std::filesystem::path folder = std::filesystem::temp_directory_path(error);
  if (error) {
    throw Error(
        fmt::format("TMPDIR is no folder that a temporary file can be in ({}); set it to one, or "
                    "raise --memory",
                    error.message()));
  }
  std::string name = (folder / "bitlog2-XXXXXX").string();
  file_ = mkostemp(name.data(), O_CLOEXEC);
  if (file_ < 0) {
    fail_at_file("made");
  }
  unlink(name.c_str());
}

std::size_t Storage::place_in_file(std::size_t bytes) {
  if (file_ < 0) {
    open_file();
  }
  if (const auto place = free_.find(bytes); place != free_.end()) {
    const std::size_t offset = place->second;
    free_.erase(place);
    return offset;
  }
  return std::exchange(file_size_, file_size_ + bytes);
}

void Storage::write(std::size_t offset, const simulate::Tensor& x) const {
  transfer(pwrite, file_, reinterpret_cast<const char*>(x.values().data()), bytes_of(x), offset,
           "written");
}

void Storage::read(std::size_t offset, simulate::Tensor& x) const {
  transfer(pread, file_, reinterpret_cast<char*>(x.values().data()), bytes_of(x), offset, "read");
}

Storage::Kept::Kept(Storage& storage, simulate::Tensor x)
    : storage_(&storage), batch_(x.batch()), tokens_(x.tokens()), channels_(x.channels()) {
  const std::size_t bytes = bytes_of(x);
  if (bytes <= storage.memory_limit_ - std::min(storage.memory_limit_, storage.memory_used_)) {
    storage.memory_used_ += bytes;
    in_memory_ = std::move(x);
  } else {
    offset_ = storage.place_in_file(bytes);
    storage.write(*offset_, x);
  }
}

Storage::Kept::Kept(Kept&& other) noexcept
    : storage_(std::exchange(other.storage_, nullptr)),
      in_memory_(std::move(other.in_memory_)),
      batch_(other.batch_),
      tokens_(other.tokens_),
      channels_(other.channels_),
      offset_(other.offset_) {}

Storage::Kept::~Kept() {
  if (storage_ == nullptr) {
    return;
  }
  const std::size_t bytes = batch_ * tokens_ * channels_ * sizeof(float);
  if (offset_) {
    storage_->free_.emplace(bytes, *offset_);
  } else {
    storage_->memory_used_ -= bytes;
  }
}

simulate::Tensor Storage::Kept::load() const {
  if (!offset_) {
    return simulate::copy(in_memory_);
  }
  simulate::Tensor x(batch_, tokens_, channels_);
  storage_->read(*offset_, x);
  return x;
}

void Storage::Kept::replace(simulate::Tensor x) {
  if (offset_) {
    storage_->write(*offset_, x);
  } else {
    in_memory_ = std::move(x);
  }
}

void Sequence::keep(Storage& storage) {
  if (is_kept()) {
    return;
  }
  kept_.reserve(chunks());
  for (std::size_t i = 0; i < chunks(); ++i) {
    kept_.emplace_back(storage, source_(i));
  }
  source_ = nullptr;
}

void Sequence::keep_if_small(Storage& storage) {
  if (size() * sizeof(float) <= storage.spare_bytes()) {
    keep(storage);
  }
}

}  // namespace bitlog2::calibration
