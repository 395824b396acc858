// The safetensors format. The reader does not trust the file: every length, offset and shape is
// checked against the file before a byte of data is looked at, and nothing is allocated
// from a number that the file merely claims.
#include "bitlog2/safetensors.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <limits>
#include <nlohmann/json.hpp>
#include <utility>

#include "bitlog2/error.h"
#include "bitlog2/files.h"
#include "io/dtypes.h"
#include "io/file_kind.h"

namespace bitlog2 {
namespace {

using nlohmann::json;

constexpr std::uint64_t kMaxHeaderBytes = 100'000'000;  // the format's own limit
constexpr std::size_t kDataAlignment = 64;              // of what we write

/// Reads one file's header; every failure names the file and, where there is one, the tensor.
class HeaderReader {
 public:
  HeaderReader(std::span<const std::byte> bytes, const std::string& name)
      : bytes_(bytes), name_(name) {}

  void read(std::map<std::string, TensorView>& tensors,
            std::map<std::string, std::string>& metadata) {
    const json header = parse_header();
    for (const auto& [key, value] : header.items()) {
      if (key == "__metadata__") {
        read_metadata(value, metadata);
      } else {
        tensors.emplace(key, read_tensor(key, value));
      }
    }
    check_layout();
  }

 private:
  struct Extent {
    std::uint64_t begin;
    std::uint64_t end;
    std::string tensor;
  };

  static constexpr const char* kIsItWhole = "is it a whole safetensors file?";
  static constexpr const char* kCutOff = "the file is cut off: copy or download it again";

  [[noreturn]] void fail(const std::string& what, const char* advice = kIsItWhole) const {
    throw Error(fmt::format("{}: {}; {}", name_, what, advice));
  }

  /// Throws an Error that names what the file is, if that can be told.
  void fail_if_foreign() const {
    const std::string kind = describe_foreign_file(bytes_);
    if (!kind.empty()) {
      throw Error(fmt::format("{}: is {}", name_, kind));
    }
  }

  json parse_header() {
    std::uint64_t length = 0;
    if (bytes_.size() < sizeof(length)) {
      fail_if_foreign();
      fail(fmt::format("only {} bytes long", bytes_.size()));
    }
    std::memcpy(&length, bytes_.data(), sizeof(length));
    if (length > kMaxHeaderBytes || length > bytes_.size() - sizeof(length)) {
      // Where a header begins, the rest of it may be missing. Else it is no safetensors file.
      const bool begins = length <= kMaxHeaderBytes && bytes_.size() > sizeof(length) &&
                          bytes_[sizeof(length)] == std::byte{'{'};
      if (!begins) {
        fail_if_foreign();
      }
      fail(fmt::format("the header claims {} bytes, the file has {}", length, bytes_.size()),
           begins ? kCutOff : kIsItWhole);
    }
    const auto text = bytes_.subspan(sizeof(length), static_cast<std::size_t>(length));
    data_ = bytes_.subspan(sizeof(length) + static_cast<std::size_t>(length));
    const auto* first = reinterpret_cast<const char*>(text.data());
    // A header is three levels deep; a depth limit keeps hostile nesting off the stack.
    const auto at_sane_depth = [](int depth, json::parse_event_t, json&) {
      if (depth > 8) {
        throw Error("nested too deeply");
      }
      return true;
    };
    try {
      json header = json::parse(first, first + text.size(), at_sane_depth);
      if (header.is_object()) {
        return header;
      }
    } catch (const json::exception&) {
    } catch (const Error&) {
    }
    fail_if_foreign();
    fail("the header is not a JSON object");
  }

  void read_metadata(const json& value, std::map<std::string, std::string>& metadata) const {
    if (!value.is_object()) {
      fail("__metadata__ is not an object");
    }
    for (const auto& [key, text] : value.items()) {
      // Values must be strings; some writers put numbers or lists there, which does no harm.
      metadata.emplace(key, text.is_string() ? text.get<std::string>() : text.dump());
    }
  }

  std::uint64_t read_unsigned(const std::string& tensor, const json& value) const {
    if (!value.is_number_unsigned()) {
      fail(fmt::format("tensor '{}' has a size or offset that is no whole number", tensor));
    }
    return value.get<std::uint64_t>();
  }

  TensorView read_tensor(const std::string& tensor, const json& entry) {
    const bool complete = entry.is_object() && entry.contains("dtype") &&
                          entry["dtype"].is_string() && entry.contains("shape") &&
                          entry["shape"].is_array() && entry.contains("data_offsets") &&
                          entry["data_offsets"].is_array() && entry["data_offsets"].size() == 2;
    if (!complete) {
      fail(fmt::format("tensor '{}' lacks a dtype, a shape or two offsets", tensor));
    }
    TensorView view;
    view.dtype_name = entry["dtype"].get<std::string>();
    // A tensor of an unknown dtype cannot be a weight, but the file's other tensors can be used.
    const DTypeEntry* dtype = find_dtype(view.dtype_name);
    view.dtype = dtype == nullptr ? DType::other : dtype->dtype;

    const std::uint64_t begin = read_unsigned(tensor, entry["data_offsets"][0]);
    const std::uint64_t end = read_unsigned(tensor, entry["data_offsets"][1]);
    if (begin > end || end > data_.size()) {
      fail(fmt::format("tensor '{}' claims bytes {} to {} of {}", tensor, begin, end, data_.size()),
           begin > end ? kIsItWhole : kCutOff);
    }
    view.element_count = 1;
    for (const json& item : entry["shape"]) {
      const std::uint64_t size = read_unsigned(tensor, item);
      view.shape.push_back(size);
      if (size != 0 && view.element_count > std::numeric_limits<std::uint64_t>::max() / 64 / size) {
        fail(fmt::format("tensor '{}' has an impossible shape", tensor));
      }
      view.element_count *= size;
    }
    if (dtype != nullptr && (view.element_count * dtype->bits) % 8 != 0) {
      fail(fmt::format("tensor '{}' of {} elements of {} bits fills no whole bytes", tensor,
                       view.element_count, dtype->bits));
    }
    if (dtype != nullptr && view.element_count * dtype->bits / 8 != end - begin) {
      fail(fmt::format("tensor '{}' has {} bytes, its shape needs {}", tensor, end - begin,
                       view.element_count * dtype->bits / 8));
    }
    view.bytes =
        data_.subspan(static_cast<std::size_t>(begin), static_cast<std::size_t>(end - begin));
    extents_.push_back({begin, end, tensor});
    return view;
  }

  void check_layout() {
    std::sort(extents_.begin(), extents_.end(), [](const Extent& a, const Extent& b) {
      return std::pair(a.begin, a.end) < std::pair(b.begin, b.end);
    });
    std::uint64_t expected = 0;
    for (const Extent& extent : extents_) {
      if (extent.begin != expected) {
        fail(fmt::format("tensor '{}' {} its neighbour's bytes", extent.tensor,
                         extent.begin < expected ? "overlaps" : "leaves a gap after"));
      }
      expected = extent.end;
    }
    if (expected != data_.size()) {
      fail(fmt::format("{} bytes of data, the header describes {}", data_.size(), expected));
    }
  }

  std::span<const std::byte> bytes_;
  const std::string& name_;
  std::span<const std::byte> data_;
  std::vector<Extent> extents_;
};

}  // namespace

Safetensors Safetensors::open(const std::filesystem::path& path) {
  std::error_code ignored;
  if (std::filesystem::is_directory(path, ignored)) {
    throw Error(fmt::format("{}: is {}", path.string(), describe_folder(path)));
  }
  auto file = std::make_shared<const MappedFile>(path);
  Safetensors result = parse(file->bytes(), path.string());
  result.content_.memory.push_back(std::move(file));
  return result;
}

Safetensors Safetensors::parse(std::span<const std::byte> bytes, const std::string& name) {
  Safetensors result;
  result.content_.name = name;
  HeaderReader(bytes, name).read(result.content_.tensors, result.content_.metadata);
  return result;
}

std::vector<std::byte> serialize_safetensors(std::span<const TensorToWrite> tensors,
                                             const std::map<std::string, std::string>& metadata) {
  nlohmann::ordered_json header = nlohmann::ordered_json::object();
  if (!metadata.empty()) {
    header["__metadata__"] = metadata;
  }
  std::uint64_t offset = 0;
  for (const TensorToWrite& tensor : tensors) {
    const std::uint64_t end = offset + tensor.bytes.size();
    header[tensor.name] = {{"dtype", dtype_name(tensor.dtype)},
                           {"shape", tensor.shape},
                           {"data_offsets", {offset, end}}};
    offset = end;
  }
  std::string text = header.dump();
  const std::size_t used = (sizeof(std::uint64_t) + text.size()) % kDataAlignment;
  text.append((kDataAlignment - used) % kDataAlignment, ' ');
  const std::uint64_t length = text.size();

  std::vector<std::byte> content(sizeof(length) + text.size() + static_cast<std::size_t>(offset));
  auto end = content.begin();
  const auto append = [&](std::span<const std::byte> bytes) {
    end = std::copy(bytes.begin(), bytes.end(), end);
  };
  append(std::as_bytes(std::span(&length, 1)));
  append(std::as_bytes(std::span(text)));
  for (const TensorToWrite& tensor : tensors) {
    append(tensor.bytes);
  }
  return content;
}

void write_safetensors(const std::filesystem::path& path, std::span<const TensorToWrite> tensors,
                       const std::map<std::string, std::string>& metadata) {
  write_file_atomically(path, serialize_safetensors(tensors, metadata));
}

}  // namespace bitlog2
