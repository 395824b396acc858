// What people give as a checkpoint that is no safetensors file: recognized by its first bytes, so
// that it is read as what it is, or the error can say what it is and what to do.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>

namespace bitlog2 {

enum class FileKind : std::uint8_t {
  unknown,
  empty,
  zeros,  ///< nothing but zero bytes
  // PyTorch
  pytorch_zip,
  pytorch_truncated,  ///< a zip archive whose end is missing
  pytorch_legacy,     ///< torch.save before version 1.6
  pytorch_tar,        ///< and before 0.1.10
  torchscript,
  pickle,  ///< of something else
  // other libraries
  onnx,
  gguf,
  hdf5,
  keras,
  tflite,
  saved_model,
  tensorflow_checkpoint,
  npy,
  npz,
  // texts
  lfs_pointer,
  web_page,
  xml,
  shard_index,
  model_config,    ///< of timm or transformers
  bitlog2_config,  ///< what --config takes
  json,
  text,
  // archives
  gzip,
  bzip2,
  xz,
  zstd,
  seven_zip,
  rar,
  tar,
  zip,
  // pictures
  png,
  jpeg,
};

/// What these bytes are, if they are no safetensors file. It reads a bounded part of them.
FileKind file_kind(std::span<const std::byte> bytes);

/// Such a file in words, and what to do, as one line: "a web page, not a checkpoint; ...". Empty
/// for `unknown`.
std::string describe_foreign_file(std::span<const std::byte> bytes);

/// What a folder holds that was given in place of a file, and what to give: one line.
std::string describe_folder(const std::filesystem::path& folder);

}  // namespace bitlog2
