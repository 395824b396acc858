// Named tensors from a file of any supported format: safetensors, torch.save's files, shards.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#pragma GCC visibility push(default)
namespace bitlog2 {

/// Element types that this project reads or writes; `other` is any other type, known or unknown.
enum class DType { f32, f16, bf16, f64, u8, i8, i16, i32, i64, other };

/// The name of a dtype in a safetensors header, e.g. "F32"; "?" for `other`.
std::string_view dtype_name(DType dtype);

/// One tensor of an opened file: a view, valid as long as the file is open.
struct TensorView {
  DType dtype = DType::other;
  std::string dtype_name;            ///< as a safetensors header spells it
  std::vector<std::uint64_t> shape;  ///< agrees with the bytes' size, unless the dtype is unknown
  std::span<const std::byte> bytes;  ///< little-endian, row-major; alignment is the file's
  std::uint64_t element_count = 0;
};

/// The content of a file, as its reader gives it.
struct TensorFileContent {
  std::string name;  ///< of the file, for messages
  std::map<std::string, TensorView> tensors;
  std::map<std::string, std::string> metadata;
  std::vector<std::string> notes;
  std::vector<std::shared_ptr<const void>> memory;  ///< owns the tensors' bytes
};

/// The tensors of a file that was opened and checked. Copies share the file, which stays mapped
/// as long as one of them lives.
class TensorFile {
 public:
  TensorFile() = default;
  explicit TensorFile(TensorFileContent content) : content_(std::move(content)) {}

  const std::string& name() const { return content_.name; }
  const std::map<std::string, TensorView>& tensors() const { return content_.tensors; }
  /// The __metadata__ of a safetensors file; a value that is no string is given as its JSON text.
  /// Empty for other files.
  const std::map<std::string, std::string>& metadata() const { return content_.metadata; }
  /// Notes for people about how the file was read, one line each, without its name.
  const std::vector<std::string>& notes() const { return content_.notes; }

  /// The tensor called `tensor`, or nullptr.
  const TensorView* find(const std::string& tensor) const;

  /// The tensor called `tensor`; throws Error naming it and the file.
  const TensorView& at(const std::string& tensor) const;

  /// A copy of an F32, F16, BF16 or F64 tensor as float32. Throws Error for another dtype, for NaN
  /// or infinite values and for those that float32 cannot hold.
  std::vector<float> read_floats(const std::string& tensor) const;

 protected:
  TensorFileContent content_;
};

/// Opens a file of tensors, which is recognized by its content: safetensors, a checkpoint by
/// torch.save (`.pth`, `.pt`, `.bin`; the zip format and the one before it) or the index of a
/// checkpoint in shards (`model.safetensors.index.json`, `pytorch_model.bin.index.json`). Nothing
/// in a file is executed, and tensors that are contiguous and uncompressed in the mapped file are
/// used in place. Throws Error; for a folder or a file of another format it says what that is and
/// what to do.
TensorFile open_tensors(const std::filesystem::path& path);

/// IEEE binary16 to binary32, exact, subnormals and NaN included.
float half_to_float(std::uint16_t half);

}  // namespace bitlog2
#pragma GCC visibility pop
