// Named tensors, whatever the file that holds them: safetensors, torch.save's files, shards.
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

/// Element types that this project reads or writes; `other` is any other dtype, of a format or
/// unknown, that it does neither with.
enum class DType { f32, f16, bf16, f64, u8, i8, i16, i32, i64, other };

/// The name of a dtype in a safetensors header, e.g. "F32"; "?" for `other`.
std::string_view dtype_name(DType dtype);

/// One tensor of an opened file: a view, valid as long as the file is open.
struct TensorView {
  DType dtype = DType::other;
  std::string dtype_name;            ///< as a safetensors header spells it
  std::vector<std::uint64_t> shape;  ///< fits the bytes, if the dtype is one of the format's
  std::span<const std::byte> bytes;  ///< little-endian, row-major; alignment is the file's
  std::uint64_t element_count = 0;
};

/// What a reader found in a file.
struct TensorFileContent {
  std::string name;  ///< of the file, for messages
  std::map<std::string, TensorView> tensors;
  std::map<std::string, std::string> metadata;
  std::vector<std::string> notes;
  std::vector<std::shared_ptr<const void>> memory;  ///< what the tensors' bytes lie in
};

/// The tensors of a file that was opened and checked. Copies share the file, which stays mapped
/// as long as one of them lives.
class TensorFile {
 public:
  TensorFile() = default;
  explicit TensorFile(TensorFileContent content) : content_(std::move(content)) {}

  const std::string& name() const { return content_.name; }
  const std::map<std::string, TensorView>& tensors() const { return content_.tensors; }
  /// What stands under a safetensors file's __metadata__; a value that is no string is there as
  /// its JSON. Empty for other files.
  const std::map<std::string, std::string>& metadata() const { return content_.metadata; }
  /// What a person should know about how the file was read, one line each, without its name.
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

/// Opens a file of tensors, which is known by its content: safetensors, a checkpoint by torch.save
/// (`.pth`, `.pt`, `.bin`; the zip format and the one before it) or the index of a checkpoint in
/// shards (`model.safetensors.index.json`, `pytorch_model.bin.index.json`). Nothing that a file
/// holds is executed, and tensors stay where they are in the mapped file if they are whole there.
/// Throws Error, which says what the file is and what to do where it is a folder or of another
/// format.
TensorFile open_tensors(const std::filesystem::path& path);

/// IEEE binary16 to binary32, exact, subnormals and NaN included.
float half_to_float(std::uint16_t half);

}  // namespace bitlog2
#pragma GCC visibility pop
