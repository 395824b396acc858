// Reading and writing the safetensors format: an 8-byte little-endian header
// length, a JSON header, then the tensors' bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "bitlog2/tensors.h"

#pragma GCC visibility push(default)
namespace bitlog2 {

/// The tensors of a safetensors file. Quantized models and datasets are always of this format.
class Safetensors : public TensorFile {
 public:
  /// Maps `path` and checks the whole header: lengths, offsets (in range, without gaps, not
  /// overlapping), and shapes against sizes. Throws Error; for a folder or a file of another format
  /// it says what that is and what to do.
  static Safetensors open(const std::filesystem::path& path);

  /// The same checks on bytes that the caller keeps alive; `name` is for messages.
  static Safetensors parse(std::span<const std::byte> bytes, const std::string& name);
};

/// One tensor to write.
struct TensorToWrite {
  std::string name;
  DType dtype = DType::f32;
  std::vector<std::uint64_t> shape;
  std::span<const std::byte> bytes;
};

/// The content of a file that holds `tensors`, in the order given. Data starts at a multiple
/// of 64 bytes.
std::vector<std::byte> serialize_safetensors(std::span<const TensorToWrite> tensors,
                                             const std::map<std::string, std::string>& metadata);

/// Writes serialize_safetensors' content to a temporary file beside `path`, fsyncs it and
/// renames it to `path`. Throws Error, leaving nothing under the final name.
void write_safetensors(const std::filesystem::path& path, std::span<const TensorToWrite> tensors,
                       const std::map<std::string, std::string>& metadata);

}  // namespace bitlog2
#pragma GCC visibility pop
