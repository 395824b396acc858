// The values of a layer for all calibration images, which need not fit in memory: a few images at a
// time, which are kept, or computed anew whenever they are needed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "simulate/tensor.h"

namespace bitlog2::calibration {

/// How many images are computed at once. Sums over all images are made chunk by chunk: results
/// depend on this number.
inline constexpr std::size_t kImagesPerChunk = 8;

/// Keeps tensors in memory up to a limit, and the others in a file without a name.
class Storage {
 public:
  static constexpr std::size_t kNoLimit = SIZE_MAX;

  explicit Storage(std::size_t memory_limit) : memory_limit_(memory_limit) {}
  Storage(const Storage&) = delete;
  Storage& operator=(const Storage&) = delete;
  ~Storage();

  /// A tensor that is kept; its memory is freed with the object.
  class Kept {
   public:
    /// Throws Error if the file cannot be written.
    Kept(Storage& storage, simulate::Tensor x);
    Kept(Kept&& other) noexcept;
    Kept(const Kept&) = delete;
    Kept& operator=(const Kept&) = delete;
    Kept& operator=(Kept&&) = delete;
    ~Kept();

    /// A copy.
    simulate::Tensor load() const;
    /// Replaces the tensor by another one of the same shape.
    void replace(simulate::Tensor x);

   private:
    Storage* storage_;  // null: moved from
    simulate::Tensor in_memory_;
    std::size_t batch_;
    std::size_t tokens_;
    std::size_t channels_;
    std::optional<std::size_t> offset_;  // in the file
  };

  /// How many more bytes may be kept of values that can also be computed anew.
  std::size_t spare_bytes() const;

 private:
  std::size_t place_in_file(std::size_t bytes);
  void write(std::size_t offset, const simulate::Tensor& x) const;
  void read(std::size_t offset, simulate::Tensor& x) const;
  void open_file();

  std::size_t memory_limit_;
  std::size_t memory_used_ = 0;
  int file_ = -1;
  std::size_t file_size_ = 0;
  std::multimap<std::size_t, std::size_t> free_;  // places in the file: bytes, offset
};

/// [images, tokens, channels] values.
class Sequence {
 public:
  using Source = std::function<simulate::Tensor(std::size_t chunk)>;

  /// `source` computes chunk i: images [i, i + 1) * kImagesPerChunk, as many as there are.
  Sequence(std::size_t images, std::size_t tokens, std::size_t channels, Source source)
      : images_(images), tokens_(tokens), channels_(channels), source_(std::move(source)) {}

  std::size_t images() const { return images_; }
  std::size_t tokens() const { return tokens_; }
  std::size_t channels() const { return channels_; }
  std::size_t rows() const { return images_ * tokens_; }
  std::size_t size() const { return rows() * channels_; }
  std::size_t chunks() const { return (images_ + kImagesPerChunk - 1) / kImagesPerChunk; }

  simulate::Tensor chunk(std::size_t i) const {
    return is_kept() ? kept_.at(i).load() : source_(i);
  }

  /// Computes all chunks and keeps them; the source is released.
  void keep(Storage& storage);

  /// keep() if spare_bytes() allows it.
  void keep_if_small(Storage& storage);

  bool is_kept() const { return !source_; }

  /// Releases its chunks or its source; it has no chunks any more.
  void end() {
    source_ = nullptr;
    kept_.clear();
  }

  /// Replaces a chunk; the sequence is kept.
  void replace(std::size_t i, simulate::Tensor x) { kept_[i].replace(std::move(x)); }

 private:
  std::size_t images_;
  std::size_t tokens_;
  std::size_t channels_;
  Source source_;  // none: kept
  std::vector<Storage::Kept> kept_;
};

using SequencePointer = std::shared_ptr<Sequence>;

}  // namespace bitlog2::calibration
