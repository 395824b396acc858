// Recognition by magic numbers. It runs only on files whose safetensors header could not be
// read, so a whole safetensors file is never taken for something else.
#include "io/file_kind.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <nlohmann/json.hpp>
#include <string_view>
#include <vector>

#include "io/shallow_json.h"

namespace bitlog2 {
namespace {

using nlohmann::json;
using namespace std::string_view_literals;

std::string_view as_text(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

std::size_t read_little_endian(std::string_view bytes, std::size_t at, std::size_t count) {
  std::size_t value = 0;
  for (std::size_t i = count; i > 0; --i) {
    value = value << 8 | static_cast<unsigned char>(bytes[at + i - 1]);
  }
  return value;
}

// ---- Zip archives ----------------------------------------------------------------------

/// A zip archive's names, as its directory lists them. Without a directory, which stands at the
/// end, only the first name.
struct ZipNames {
  std::vector<std::string_view> names;
  bool complete = false;
};

ZipNames zip_names(std::string_view bytes) {
  constexpr std::size_t kMostNames = 4096;
  constexpr std::size_t kLocalHeader = 30;
  constexpr std::size_t kEntry = 46;
  constexpr std::size_t kEnd = 22;
  constexpr std::size_t kLongestComment = 0xFFFF;
  ZipNames result;
  if (bytes.size() >= kLocalHeader) {
    result.names.push_back(bytes.substr(kLocalHeader, read_little_endian(bytes, 26, 2)));
  }
  const std::size_t tail = bytes.size() - std::min(bytes.size(), kEnd + kLongestComment);
  const std::size_t end = bytes.substr(tail).rfind("PK\5\6"sv);
  if (end == std::string_view::npos || bytes.size() - tail - end < kEnd) {
    return result;
  }
  result.complete = true;
  std::size_t at = read_little_endian(bytes, tail + end + 16, 4);
  while (at < bytes.size() && bytes.size() - at >= kEntry &&
         bytes.substr(at).starts_with("PK\1\2"sv) && result.names.size() < kMostNames) {
    const std::size_t length = read_little_endian(bytes, at + 28, 2);
    result.names.push_back(bytes.substr(at + kEntry, length));
    at += kEntry + length + read_little_endian(bytes, at + 30, 2) +
          read_little_endian(bytes, at + 32, 2);
  }
  return result;
}

FileKind zip_kind(std::string_view bytes) {
  const ZipNames zip = zip_names(bytes);
  const auto any = [&](const auto& test) { return std::ranges::any_of(zip.names, test); };
  if (any([](auto name) { return name.ends_with("/constants.pkl"sv); }) ||
      any([](auto name) { return name.find("/code/"sv) != std::string_view::npos; })) {
    return FileKind::torchscript;
  }
  if (any([](auto name) { return name.ends_with("/data.pkl"sv); })) {
    return zip.complete ? FileKind::pytorch_zip : FileKind::pytorch_truncated;
  }
  if (any([](auto name) { return name == "model.weights.h5"sv; })) {
    return FileKind::keras;
  }
  if (any([](auto name) { return name.ends_with(".npy"sv); })) {
    return FileKind::npz;
  }
  return FileKind::zip;
}

// ---- Other binary formats --------------------------------------------------------------

struct Magic {
  std::string_view bytes;
  FileKind kind;
  std::size_t offset = 0;
};

constexpr std::array kMagics = {
    // A pickled long integer: the number by which torch.load knows its old format.
    Magic{"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19."sv, FileKind::pytorch_legacy},
    Magic{"L119547037146038801333356L\n."sv, FileKind::pytorch_legacy},  // in protocols 0 and 1
    Magic{"GGUF"sv, FileKind::gguf},
    Magic{"\x89HDF\r\n\x1a\n"sv, FileKind::hdf5},
    Magic{"TFL3"sv, FileKind::tflite, 4},
    Magic{"\x93NUMPY"sv, FileKind::npy},
    Magic{"version https://git-lfs"sv, FileKind::lfs_pointer},
    Magic{"\x1f\x8b"sv, FileKind::gzip},
    Magic{"BZh"sv, FileKind::bzip2},
    Magic{"\xfd"
          "7zXZ\0"sv,
          FileKind::xz},
    Magic{"\x28\xb5\x2f\xfd"sv, FileKind::zstd},
    Magic{"7z\xbc\xaf\x27\x1c"sv, FileKind::seven_zip},
    Magic{"Rar!\x1a\x07"sv, FileKind::rar},
    Magic{"ustar"sv, FileKind::tar, 257},
    Magic{"\x89PNG\r\n\x1a\n"sv, FileKind::png},
    Magic{"\xff\xd8\xff"sv, FileKind::jpeg},
};

/// The same number in later protocols, which have more before it.
bool is_legacy_pytorch(std::string_view bytes) {
  constexpr std::size_t kLooked = 32;
  return bytes.starts_with('\x80') &&
         bytes.substr(0, kLooked).find("\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19."sv) !=
             std::string_view::npos;
}

/// torch's first format was a tar archive of these.
bool is_pytorch_tar(std::string_view bytes) {
  return bytes.starts_with("sys_info\0"sv) || bytes.starts_with("pickle\0"sv) ||
         bytes.starts_with("tensors\0"sv) || bytes.starts_with("storages\0"sv);
}

/// Pickle's protocols 2 to 5 begin with their number and one of a few operations.
bool is_pickle(std::string_view bytes) {
  return bytes.size() > 3 && bytes[0] == '\x80' && bytes[1] >= 2 && bytes[1] <= 5 &&
         "\x95}c(])\x8aX\x8c"sv.find(bytes[2]) != std::string_view::npos;
}

/// ONNX and TensorFlow's SavedModel are Protocol Buffers, which have no magic number. Both begin
/// with a small version number as field 1; what may follow it differs.
FileKind protobuf_kind(std::string_view bytes) {
  if (bytes.size() < 8 || bytes[0] != '\x08' || bytes[1] < 1 || bytes[1] > 32) {
    return FileKind::unknown;
  }
  constexpr unsigned kNamesField = 0x12;  // ONNX: producer_name; SavedModel: a graph
  const auto tag = static_cast<unsigned char>(bytes[2]);
  const auto length = static_cast<unsigned char>(bytes[3]);
  if (tag == kNamesField) {
    if (length >= 0x80) {
      return bytes[1] == 1 ? FileKind::saved_model : FileKind::unknown;
    }
    const std::string_view producer = bytes.substr(4, length);
    const bool printable = std::ranges::all_of(
        producer, [](unsigned char letter) { return letter >= 0x20 && letter < 0x7F; });
    return length > 0 && producer.size() == length && printable ? FileKind::onnx
                                                                : FileKind::unknown;
  }
  // producer_version, domain, model_version, doc_string, graph, opset_import
  constexpr auto kOnnxTags = "\x1a\x22\x28\x32\x3a\x42"sv;
  return kOnnxTags.find(static_cast<char>(tag)) != std::string_view::npos && length != 0
             ? FileKind::onnx
             : FileKind::unknown;
}

// ---- Texts -----------------------------------------------------------------------------

std::string lower_case(std::string_view text) {
  std::string result(text);
  std::ranges::transform(result, result.begin(), [](char letter) {
    return letter >= 'A' && letter <= 'Z' ? static_cast<char>(letter - 'A' + 'a') : letter;
  });
  return result;
}

std::string_view skip_space(std::string_view text) {
  if (text.starts_with("\xef\xbb\xbf"sv)) {
    text.remove_prefix(3);
  }
  text.remove_prefix(std::min(text.find_first_not_of(" \t\r\n"), text.size()));
  return text;
}

FileKind json_kind(std::string_view text) {
  const json document = shallow_json(text);
  if (document.is_discarded()) {
    return FileKind::text;
  }
  const auto has = [&](const char* key) { return document.contains(key); };
  if (has("weight_map")) {
    return FileKind::shard_index;
  }
  if (has("model_type") || has("architectures") || has("architecture")) {
    return FileKind::model_config;
  }
  return has("family") && has("embed_dim") ? FileKind::bitlog2_config : FileKind::json;
}

FileKind text_kind(std::string_view bytes) {
  constexpr std::size_t kLooked = 512;
  const std::string_view text = skip_space(bytes);
  const std::string start = lower_case(text.substr(0, kLooked));
  if (start.starts_with("<!doctype html") || start.starts_with("<html") ||
      start.starts_with("<head")) {
    return FileKind::web_page;
  }
  if (start.starts_with("<?xml")) {
    return start.find("<html") == std::string::npos ? FileKind::xml : FileKind::web_page;
  }
  const bool is_text = !text.empty() && std::ranges::all_of(bytes.substr(0, kLooked), [](char c) {
    const auto byte = static_cast<unsigned char>(c);
    return (byte >= 0x20 && byte != 0x7F) || c == '\n' || c == '\r' || c == '\t';
  });
  if (!is_text) {
    return FileKind::unknown;
  }
  if (text.starts_with('{') || text.starts_with('[')) {
    return json_kind(text);
  }
  const bool is_ascii = std::ranges::all_of(
      start, [](char letter) { return static_cast<unsigned char>(letter) < 0x80; });
  return is_ascii ? FileKind::text : FileKind::unknown;
}

/// Whether the file is zeros as far as one looks: its first and its last 4 KiB.
bool is_zeros(std::string_view bytes) {
  constexpr std::size_t kLooked = 4096;
  const auto zeros = [](std::string_view part) {
    return part.find_first_not_of('\0') == std::string_view::npos;
  };
  return zeros(bytes.substr(0, kLooked)) &&
         zeros(bytes.substr(bytes.size() - std::min(kLooked, bytes.size())));
}

// ---- In words --------------------------------------------------------------------------

/// A kind in words, and what to do.
struct Description {
  FileKind kind;
  std::string_view what;
  std::string_view advice;
};

constexpr auto kGetPyTorchOrTimm =
    "take the model's PyTorch or safetensors weights in its place (timm has most)"sv;
constexpr auto kOnlyWeights = "it can be given as weights only"sv;
constexpr auto kUnpack = "unpack it, and give the .safetensors file inside"sv;
constexpr auto kDownloadAgain = "download it again"sv;

constexpr std::array kDescriptions = {
    Description{FileKind::empty, "an empty file", kDownloadAgain},
    Description{FileKind::zeros, "filled with zeros, as broken downloads are", kDownloadAgain},
    Description{FileKind::pytorch_zip, "a PyTorch checkpoint, not safetensors", kOnlyWeights},
    Description{FileKind::pytorch_legacy, "a PyTorch checkpoint, not safetensors", kOnlyWeights},
    Description{FileKind::pytorch_truncated, "a PyTorch checkpoint whose end is missing",
                kDownloadAgain},
    Description{FileKind::pytorch_tar, "a PyTorch checkpoint from before torch 0.1.10",
                "load it in Python and save it again: torch.save(torch.load('FILE'), 'FILE.pth')"},
    Description{FileKind::shard_index, "a list of shards, not safetensors", kOnlyWeights},
    Description{FileKind::torchscript, "a TorchScript program, not safetensors",
                "save its weights: python3 -c \"import torch, safetensors.torch as s; "
                "s.save_file({k: v.contiguous().clone() for k, v in "
                "torch.jit.load('FILE', map_location='cpu').state_dict().items()}, "
                "'FILE.safetensors')\""},
    Description{FileKind::pickle, "a Python pickle, not safetensors",
                "load it in Python and save its tensors with torch.save or safetensors"},
    Description{FileKind::onnx, "an ONNX model, not safetensors", kGetPyTorchOrTimm},
    Description{FileKind::gguf, "a GGUF file (llama.cpp), not safetensors", kGetPyTorchOrTimm},
    Description{FileKind::hdf5, "an HDF5 file (Keras?), not safetensors", kGetPyTorchOrTimm},
    Description{FileKind::keras, "a Keras model, not safetensors", kGetPyTorchOrTimm},
    Description{FileKind::tflite, "a TensorFlow Lite model, not safetensors", kGetPyTorchOrTimm},
    Description{FileKind::saved_model, "a TensorFlow SavedModel, not safetensors",
                kGetPyTorchOrTimm},
    Description{FileKind::tensorflow_checkpoint, "a TensorFlow checkpoint's index, not safetensors",
                kGetPyTorchOrTimm},
    Description{FileKind::npy, "a NumPy array, not safetensors",
                "save it with safetensors.numpy.save_file, under the names it needs"},
    Description{FileKind::npz, "NumPy arrays (.npz), not safetensors",
                "load the model with timm, which reads them, and save its state_dict() with "
                "safetensors.torch.save_file"},
    Description{FileKind::lfs_pointer, "a Git LFS pointer, not the file itself",
                "run git lfs install && git lfs pull in its folder"},
    Description{FileKind::web_page, "a web page, not a checkpoint",
                "the link led to a page, or needs a login; on Hugging Face, links to files have "
                "/resolve/, not /blob/"},
    Description{FileKind::xml, "an XML text (a server's error?), not a checkpoint", kDownloadAgain},
    Description{FileKind::model_config, "a model's configuration, not its weights",
                "give the .safetensors file beside it"},
    Description{FileKind::bitlog2_config, "a configuration, not weights",
                "give it as --config, and the weights as --weights"},
    Description{FileKind::json, "a JSON text, not safetensors", "give the .safetensors file"},
    Description{FileKind::text, "a text, not safetensors", "give the .safetensors file"},
    Description{FileKind::gzip, "a gzip archive, not safetensors", kUnpack},
    Description{FileKind::bzip2, "a bzip2 archive, not safetensors", kUnpack},
    Description{FileKind::xz, "an xz archive, not safetensors", kUnpack},
    Description{FileKind::zstd, "a zstd archive, not safetensors", kUnpack},
    Description{FileKind::seven_zip, "a 7z archive, not safetensors", kUnpack},
    Description{FileKind::rar, "a RAR archive, not safetensors", kUnpack},
    Description{FileKind::tar, "a tar archive, not safetensors", kUnpack},
    Description{FileKind::zip, "a zip archive, not safetensors", kUnpack},
    Description{FileKind::png, "a PNG picture, not a safetensors file", "give a .safetensors file"},
    Description{FileKind::jpeg, "a JPEG picture, not a safetensors file",
                "give a .safetensors file"},
};

}  // namespace

FileKind file_kind(std::span<const std::byte> bytes) {
  const std::string_view text = as_text(bytes);
  if (text.empty()) {
    return FileKind::empty;
  }
  if (text.starts_with("PK\3\4"sv) || text.starts_with("PK\5\6"sv)) {
    return zip_kind(text);
  }
  for (const Magic& magic : kMagics) {
    if (text.size() > magic.offset && text.substr(magic.offset).starts_with(magic.bytes)) {
      return magic.kind == FileKind::tar && is_pytorch_tar(text) ? FileKind::pytorch_tar
                                                                 : magic.kind;
    }
  }
  if (is_pickle(text)) {
    return is_legacy_pytorch(text) ? FileKind::pytorch_legacy : FileKind::pickle;
  }
  if (text.ends_with("\x57\xfb\x80\x8b\x24\x75\x47\xdb"sv)) {
    return FileKind::tensorflow_checkpoint;
  }
  const FileKind protobuf = protobuf_kind(text);
  if (protobuf != FileKind::unknown) {
    return protobuf;
  }
  constexpr std::size_t kFewBytes = 8;  // as few zeros are rather a broken header
  return text.size() > kFewBytes && is_zeros(text) ? FileKind::zeros : text_kind(text);
}

std::string describe_foreign_file(std::span<const std::byte> bytes) {
  const FileKind kind = file_kind(bytes);
  for (const Description& description : kDescriptions) {
    if (description.kind == kind) {
      return fmt::format("{}; {}", description.what, description.advice);
    }
  }
  return "";
}

}  // namespace bitlog2
