// Which reader a file of tensors is for.
#include <fmt/format.h>

#include <memory>
#include <system_error>
#include <utility>

#include "bitlog2/error.h"
#include "bitlog2/files.h"
#include "bitlog2/safetensors.h"
#include "bitlog2/tensors.h"
#include "io/file_kind.h"
#include "io/shards.h"
#include "io/torch/checkpoint.h"

namespace bitlog2 {
namespace {

namespace fs = std::filesystem;

/// A file that holds tensors itself.
TensorFile open_one(const fs::path& path, std::shared_ptr<const MappedFile> file, FileKind kind) {
  if (kind != FileKind::pytorch_zip && kind != FileKind::pytorch_legacy) {
    return Safetensors::open(path);
  }
  TensorFileContent content = kind == FileKind::pytorch_zip
                                  ? torch::read_zip(file->bytes(), path.string())
                                  : torch::read_legacy(file->bytes(), path.string());
  content.memory.push_back(std::move(file));
  return TensorFile(std::move(content));
}

TensorFile open_shard(const fs::path& path) {
  auto file = std::make_shared<const MappedFile>(path);
  const FileKind kind = file_kind(file->bytes());
  return open_one(path, std::move(file), kind);
}

}  // namespace

TensorFile open_tensors(const fs::path& path) {
  std::error_code ignored;
  if (fs::is_directory(path, ignored)) {
    throw Error(fmt::format("{}: is {}", path.string(), describe_folder(path)));
  }
  auto file = std::make_shared<const MappedFile>(path);
  const FileKind kind = file_kind(file->bytes());
  return kind == FileKind::shard_index ? open_shards(path, file->bytes(), open_shard)
                                       : open_one(path, std::move(file), kind);
}

}  // namespace bitlog2
