// Reads the index's weight_map: which tensor is in which file.
#include "io/shards.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "bitlog2/error.h"
#include "io/shallow_json.h"

namespace bitlog2 {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMostNamed = 4;  // in a message

std::string list_of(std::vector<std::string> names) {
  const std::size_t all = names.size();
  names.resize(std::min(all, kMostNamed));
  const std::string text = fmt::format("'{}'", fmt::join(names, "', '"));
  return all > kMostNamed ? fmt::format("{} and {} more", text, all - kMostNamed) : text;
}

/// The tensors of each shard.
std::map<std::string, std::vector<std::string>> read_index(const std::string& name,
                                                           std::span<const std::byte> bytes) {
  const auto document = shallow_json({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
  std::map<std::string, std::vector<std::string>> shards;
  if (document.contains("weight_map") && document["weight_map"].is_object()) {
    for (const auto& [tensor, shard] : document["weight_map"].items()) {
      if (!shard.is_string()) {
        throw Error(fmt::format("{}: weight_map names no file for '{}'", name, tensor));
      }
      shards[shard.get<std::string>()].push_back(tensor);
    }
  }
  if (shards.empty()) {
    throw Error(fmt::format("{}: its weight_map names no shards; download it again", name));
  }
  return shards;
}

/// Where a shard is. It must be a file beside the index, whatever the index says.
fs::path path_of(const fs::path& index, const std::string& shard) {
  if (shard.empty() || shard == "." || shard == ".." ||
      shard.find_first_of(std::string_view("/\\\0", 3)) != std::string::npos) {
    throw Error(
        fmt::format("{}: refused: a shard that is no file beside it: '{}'", index.string(), shard));
  }
  fs::path path = index.parent_path() / shard;
  std::error_code ignored;
  if (!fs::exists(path, ignored)) {
    throw Error(fmt::format("{}: its shard {} is missing; download it to the same folder",
                            index.string(), path.string()));
  }
  return path;
}

}  // namespace

TensorFile open_shards(const fs::path& index, std::span<const std::byte> bytes,
                       const std::function<TensorFile(const fs::path&)>& open) {
  TensorFileContent content;
  content.name = index.string();
  std::vector<std::string> left_out;
  for (const auto& [shard, names] : read_index(content.name, bytes)) {
    auto file = std::make_shared<const TensorFile>(open(path_of(index, shard)));
    std::vector<std::string> missing;
    for (const std::string& name : names) {
      const TensorView* tensor = file->find(name);
      if (tensor == nullptr) {
        missing.push_back(name);
      } else {
        content.tensors.emplace(name, *tensor);
      }
    }
    if (!missing.empty()) {
      throw Error(fmt::format("{}: its shard {} lacks {}; download both again", content.name,
                              file->name(), list_of(missing)));
    }
    for (const auto& [name, tensor] : file->tensors()) {
      if (!std::ranges::binary_search(names, name)) {
        left_out.push_back(name);
      }
    }
    content.metadata.insert(file->metadata().begin(), file->metadata().end());
    for (const std::string& note : file->notes()) {
      content.notes.push_back(fmt::format("shard {}: {}", shard, note));
    }
    content.memory.push_back(std::move(file));
  }
  if (!left_out.empty()) {
    content.notes.push_back(fmt::format(
        "tensors of its shards that it does not name are left out: {}", list_of(left_out)));
  }
  return TensorFile(std::move(content));
}

}  // namespace bitlog2
