// Reading and writing the safetensors format: an 8-byte little-endian header
// length, a JSON header, then the tensors' bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#pragma GCC visibility push(default)
namespace bitlog2 {

class MappedFile;

/// Element types that this project reads or writes; `other` is any other dtype, of the format
/// or unknown, that it does neither with.
enum class DType { f32, f16, bf16, u8, i8, i16, i32, i64, other };

/// The name of a dtype in a header, e.g. "F32"; "?" for `other`.
std::string_view dtype_name(DType dtype);

/// One tensor of an opened file: a view, valid as long as the file is open.
struct TensorView {
  DType dtype = DType::other;
  std::string dtype_name;            ///< as the header spells it
  std::vector<std::uint64_t> shape;  ///< fits the bytes, if the dtype is one of the format's
  std::span<const std::byte> bytes;  ///< little-endian, row-major; alignment is the file's
  std::uint64_t element_count = 0;
};

/// A safetensors file, opened and checked. The file stays mapped as long as this
/// object or a copy of it lives.
class Safetensors {
 public:
  /// Maps `path` and checks the whole header: lengths, offsets (in range, gapless,
  /// not overlapping), shapes against sizes. Throws Error, which says what the file is and what
  /// to do where it is a folder or of another format.
  static Safetensors open(const std::filesystem::path& path);

  /// The same checks on bytes that the caller keeps alive; `name` is for messages.
  static Safetensors parse(std::span<const std::byte> bytes, const std::string& name);

  const std::string& name() const { return name_; }
  const std::map<std::string, TensorView>& tensors() const { return tensors_; }
  /// What stands under __metadata__; a value that is no string is there as its JSON.
  const std::map<std::string, std::string>& metadata() const { return metadata_; }

  /// The tensor called `tensor`, or nullptr.
  const TensorView* find(const std::string& tensor) const;

  /// The tensor called `tensor`; throws Error naming it and the file.
  const TensorView& at(const std::string& tensor) const;

  /// A copy of an F32, F16 or BF16 tensor as float32. Throws Error for another dtype
  /// and for NaN or infinite values.
  std::vector<float> read_floats(const std::string& tensor) const;

 private:
  std::string name_;
  std::shared_ptr<const MappedFile> file_;
  std::map<std::string, TensorView> tensors_;
  std::map<std::string, std::string> metadata_;
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

/// IEEE binary16 to binary32, exact, subnormals and NaN included.
float half_to_float(std::uint16_t half);

}  // namespace bitlog2
#pragma GCC visibility pop
