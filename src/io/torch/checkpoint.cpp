// torch's two containers. Both hold a pickle of everything, in which tensors name their storages,
// and the storages' bytes.
#include "io/torch/checkpoint.h"

#include <fmt/format.h>

#include <cstring>
#include <functional>
#include <map>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "bitlog2/error.h"
#include "io/torch/pickle.h"
#include "io/torch/state_dict.h"
#include "io/torch/tensors.h"
#include "io/torch/views.h"
#include "io/zip_archive.h"

namespace bitlog2::torch {
namespace {

using namespace std::string_view_literals;

constexpr std::uint64_t kLargestPickle = std::uint64_t{256} << 20;  // bytes

/// The most that is copied of a file of `size` bytes, into tensors that do not stand in a row.
std::uint64_t most_copied(std::size_t size) {
  constexpr std::uint64_t kAnyway = std::uint64_t{1} << 20;
  return kAnyway + 4 * std::uint64_t{size};
}

/// The bytes of a tensor's storage.
using FindStorage = std::function<std::span<const std::byte>(const Storage&, const std::string&)>;

/// What the pickle's weights are, in a file of `size` bytes.
TensorFileContent make_content(const PickleGraph& graph, const std::string& name, std::size_t size,
                               const FindStorage& find_storage) {
  TensorFileContent content;
  content.name = name;
  StateDict weights = find_state_dict(graph, name);
  content.notes = std::move(weights.notes);
  ViewMaker views(most_copied(size));
  for (const auto& [key, id] : weights.tensors) {
    const std::string where = fmt::format("{}: tensor '{}'", name, key);
    const Tensor tensor = read_tensor(graph, id, where);
    content.tensors.emplace(key, views.view(tensor, find_storage(tensor.storage, where), where));
  }
  content.memory = views.take_memory();
  return content;
}

[[noreturn]] void fail_about_byte_order(const std::string& name) {
  throw Error(
      fmt::format("{}: it was saved on a big-endian machine; save it again on another", name));
}

/// "archive/" of "archive/data.pkl".
std::string folder_in_archive(const ZipArchive& archive, const std::string& name) {
  constexpr auto kPickle = "/data.pkl"sv;
  for (const auto& [entry, unused] : archive.entries()) {
    if (entry.ends_with(kPickle)) {
      return entry.substr(0, entry.size() - kPickle.size() + 1);
    }
  }
  throw Error(fmt::format("{}: the archive holds no data.pkl, as torch.save writes it", name));
}

std::vector<std::byte> read_data_pickle(const ZipArchive& archive, const std::string& entry,
                                        const std::string& name) {
  const std::uint64_t size = archive.entries().at(entry).size;
  if (size > kLargestPickle) {
    throw Error(fmt::format("{}: '{}' claims {} bytes; is it a checkpoint of torch.save?", name,
                            entry, size));
  }
  return archive.read(entry);
}

// ---- The format before zip -----------------------------------------------------------------

class LegacyReader {
 public:
  LegacyReader(std::span<const std::byte> bytes, const std::string& name)
      : bytes_(bytes), name_(name) {}

  TensorFileContent read() {
    next_pickle();  // the magic number
    next_pickle();  // the version of the format
    check_byte_order(next_pickle());
    const PickleGraph graph = next_pickle();
    find_storages(graph, next_pickle());
    return make_content(
        graph, name_, bytes_.size(),
        [&](const Storage& storage, const std::string& where) { return bytes_of(storage, where); });
  }

 private:
  PickleGraph next_pickle() {
    PickleGraph graph = read_pickle(bytes_.subspan(at_), name_);
    at_ += graph.bytes_read();
    return graph;
  }

  void check_byte_order(const PickleGraph& system) const {
    const auto items = dict_items(system, system.root());
    for (std::size_t i = 0; items && i + 1 < items->size(); i += 2) {
      const Value& value = system[(*items)[i + 1]];
      if (system[(*items)[i]].text == "little_endian" && value.kind == ValueKind::boolean &&
          value.number == 0) {
        fail_about_byte_order(name_);
      }
    }
  }

  [[noreturn]] void fail(const std::string& what) const {
    throw Error(fmt::format("{}: {}; the file is cut off or damaged: copy or download it again",
                            name_, what));
  }

  /// The storages follow each other, each after the number of its elements. How large these are,
  /// only the tensors say.
  void find_storages(const PickleGraph& graph, const PickleGraph& keys) {
    std::map<std::string_view, std::size_t> element_bytes;
    for (ValueId id = 0; id < graph.size(); ++id) {
      if (is_storage(graph, id)) {
        const Storage storage = read_storage(graph, id, fmt::format("{}: a tensor", name_));
        element_bytes.emplace(storage.key, storage.element_bytes);
      }
    }
    if (keys[keys.root()].kind != ValueKind::list) {
      fail("it has no list of storages");
    }
    for (const ValueId key : keys.items(keys.root())) {
      const auto found = element_bytes.find(keys[key].text);
      if (found == element_bytes.end()) {
        fail("it has a storage of no tensor");
      }
      storages_.emplace(found->first, next_storage(found->second));
    }
  }

  std::span<const std::byte> next_storage(std::size_t element_bytes) {
    std::uint64_t count = 0;
    const auto rest = bytes_.subspan(at_);
    if (rest.size() < sizeof(count)) {
      fail("a storage is missing");
    }
    std::memcpy(&count, rest.data(), sizeof(count));
    if (count > (rest.size() - sizeof(count)) / element_bytes) {
      fail(fmt::format("a storage claims {} elements, the file has {} bytes", count,
                       rest.size() - sizeof(count)));
    }
    const std::size_t size = static_cast<std::size_t>(count) * element_bytes;
    at_ += sizeof(count) + size;
    return rest.subspan(sizeof(count), size);
  }

  std::span<const std::byte> bytes_of(const Storage& storage, const std::string& where) const {
    const auto found = storages_.find(storage.key);
    const std::uint64_t skipped = storage.offset;
    if (found == storages_.end() || skipped > found->second.size() / storage.element_bytes) {
      throw Error(fmt::format("{} has no storage; the file is damaged", where));
    }
    return found->second.subspan(static_cast<std::size_t>(skipped) * storage.element_bytes);
  }

  std::span<const std::byte> bytes_;
  const std::string& name_;
  std::size_t at_ = 0;
  std::map<std::string_view, std::span<const std::byte>> storages_;
};

}  // namespace

TensorFileContent read_legacy(std::span<const std::byte> bytes, const std::string& name) {
  return LegacyReader(bytes, name).read();
}

TensorFileContent read_zip(std::span<const std::byte> bytes, const std::string& name) {
  const ZipArchive archive(bytes, name);
  const std::string folder = folder_in_archive(archive, name);
  if (archive.entries().contains(folder + "byteorder")) {
    const auto order = archive.read(folder + "byteorder");
    if (std::string_view(reinterpret_cast<const char*>(order.data()), order.size()) == "big") {
      fail_about_byte_order(name);
    }
  }
  const std::vector<std::byte> pickle = read_data_pickle(archive, folder + "data.pkl", name);
  const PickleGraph graph = read_pickle(pickle, name);
  std::map<std::string_view, std::shared_ptr<const std::vector<std::byte>>> decompressed;
  const auto find_storage = [&](const Storage& storage,
                                const std::string& where) -> std::span<const std::byte> {
    const std::string entry = fmt::format("{}data/{}", folder, storage.key);
    const auto found = archive.entries().find(entry);
    if (found == archive.entries().end()) {
      throw Error(
          fmt::format("{}: '{}' is missing in the archive; the file is damaged", where, entry));
    }
    if (found->second.is_stored) {
      return archive.stored(entry);
    }
    auto& copy = decompressed[storage.key];
    if (copy == nullptr) {
      copy = std::make_shared<const std::vector<std::byte>>(archive.read(entry));
    }
    return *copy;
  };
  TensorFileContent content = make_content(graph, name, bytes.size(), find_storage);
  for (const auto& [key, copy] : decompressed) {
    content.memory.push_back(copy);
  }
  return content;
}

}  // namespace bitlog2::torch
