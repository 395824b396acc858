// Recognizes, by their first bytes, files that are given as a checkpoint and are no safetensors
// files, so that they are read by the right reader, or the error says what they are and what to do.
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

/// The kind of these bytes, if they are no safetensors file. Reads a bounded part of them.
FileKind file_kind(std::span<const std::byte> bytes);

/// The kind of such a file in words, and what to do, as one line: "a web page, not a checkpoint;
/// ...". Empty for `unknown`.
std::string describe_foreign_file(std::span<const std::byte> bytes);

/// What a folder that was given in place of a file holds, and what to give instead: one line.
std::string describe_folder(const std::filesystem::path& folder);

}  // namespace bitlog2
