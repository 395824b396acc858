// A file of embeddings that is written one embedding after the other: NumPy's .npy, or safetensors.
#pragma once

#include <cstddef>
#include <filesystem>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "bitlog2/files.h"

namespace bitlog2 {

/// A name as one line of a list of names: a backslash, line feed or carriage return in it is
/// written as `\\`, `\n` or `\r`; other bytes stay.
std::string name_line(std::string_view name);

/// The file with the names of the embeddings in `path`: out.names.txt beside out.npy; none for
/// out.safetensors, which holds them. Throws Error for another extension.
std::optional<std::filesystem::path> names_path(const std::filesystem::path& path);

/// A file of embeddings [count, size], float32, and the names of their images in the same order.
///  - .npy: version 1.0 as numpy.save writes it, and names_path with a name_line for each
///  - .safetensors: tensors `embeddings` F32 [count, size] and `names` U8 [bytes], the same text
/// Only the names are kept in memory. The files appear under their names with commit(); without it
/// nothing is left behind.
class EmbeddingFile {
 public:
  /// `metadata` is for safetensors alone. Throws Error for another extension and if the file cannot
  /// be written.
  EmbeddingFile(std::filesystem::path path, std::size_t size,
                std::map<std::string, std::string> metadata);

  /// `embedding` has `size` values. Throws Error if it cannot be written.
  void append(std::string_view name, std::span<const float> embedding);

  /// Throws Error if the files cannot be written.
  void commit();

  std::size_t count() const { return count_; }

 private:
  std::string header() const;

  std::filesystem::path path_;
  std::optional<std::filesystem::path> names_path_;
  std::size_t size_;
  std::map<std::string, std::string> metadata_;
  std::size_t header_size_ = 0;
  std::size_t count_ = 0;
  std::string names_;
  FileWriter file_;
};

}  // namespace bitlog2
