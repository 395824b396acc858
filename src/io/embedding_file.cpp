// The headers contain the number of embeddings, which is known only at the end. So they are first
// written as long as for the largest number, and overwritten at the end.
#include "bitlog2/embedding_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cstdint>
#include <limits>
#include <nlohmann/json.hpp>
#include <utility>

#include "bitlog2/error.h"

static_assert(std::endian::native == std::endian::little,
              "both formats are little-endian and values are written as they are");

namespace bitlog2 {
namespace {

constexpr std::size_t kAlignment = 64;  // of the data in both formats
constexpr std::uint64_t kLargest = std::numeric_limits<std::uint64_t>::max();

/// `text` with blanks so that `before` bytes, the text and `after` bytes are a multiple of 64, and
/// at least `size`, together.
void pad(std::string& text, std::size_t before, std::size_t after, std::size_t size) {
  const std::size_t used = before + text.size() + after;
  const std::size_t padded = std::max((used + kAlignment - 1) / kAlignment * kAlignment, size);
  text.append(padded - used, ' ');
}

/// NumPy's own header, for whatever number of rows.
std::string npy_header(std::uint64_t rows, std::size_t size, std::size_t least) {
  std::string text =
      fmt::format("{{'descr': '<f4', 'fortran_order': False, 'shape': ({}, {}), }}", rows, size);
  std::string header("\x93NUMPY\x01\x00", 8);
  pad(text, header.size() + 2, 1, least);
  text += '\n';
  header += static_cast<char>(text.size() & 0xFF);
  header += static_cast<char>(text.size() >> 8);
  return header + text;
}

std::string safetensors_header(std::uint64_t rows, std::uint64_t row_bytes, std::size_t size,
                               std::uint64_t name_bytes,
                               const std::map<std::string, std::string>& metadata,
                               std::size_t least) {
  const std::uint64_t end = rows * row_bytes;
  const nlohmann::ordered_json header = {
      {"__metadata__", metadata},
      {"embeddings", {{"dtype", "F32"}, {"shape", {rows, size}}, {"data_offsets", {0, end}}}},
      {"names",
       {{"dtype", "U8"},
        {"shape", nlohmann::ordered_json::array({name_bytes})},
        {"data_offsets", {end, end + name_bytes}}}}};
  std::string text = header.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
  std::string length(sizeof(std::uint64_t), '\0');
  pad(text, length.size(), 0, least);
  for (std::size_t i = 0; i < length.size(); ++i) {
    length[i] = static_cast<char>(text.size() >> (8 * i) & 0xFF);
  }
  return length + text;
}

std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span(text));
}

}  // namespace

std::string name_line(std::string_view name) {
  std::string line;
  for (const char letter : name) {
    switch (letter) {
      case '\\':
        line += "\\\\";
        break;
      case '\n':
        line += "\\n";
        break;
      case '\r':
        line += "\\r";
        break;
      default:
        line += letter;
    }
  }
  return line + '\n';
}

std::optional<std::filesystem::path> names_path(const std::filesystem::path& path) {
  if (path.extension() == ".safetensors") {
    return std::nullopt;
  }
  if (path.extension() != ".npy") {
    throw Error(fmt::format("{}: embeddings are written as .npy or .safetensors; give such a name",
                            path.string()));
  }
  std::filesystem::path names = path;
  names.replace_extension(".names.txt");
  return names;
}

EmbeddingFile::EmbeddingFile(std::filesystem::path path, std::size_t size,
                             std::map<std::string, std::string> metadata)
    : path_(std::move(path)),
      names_path_(names_path(path_)),
      size_(size),
      metadata_(std::move(metadata)),
      file_(path_) {
  // As long as it may become, with the most digits; the last part is for those of the names.
  header_size_ = names_path_
                     ? npy_header(kLargest, size_, 0).size()
                     : safetensors_header(kLargest, 1, size_, 0, metadata_, 0).size() + kAlignment;
  file_.append(bytes_of(header()));
}

std::string EmbeddingFile::header() const {
  return names_path_ ? npy_header(count_, size_, header_size_)
                     : safetensors_header(count_, size_ * sizeof(float), size_, names_.size(),
                                          metadata_, header_size_);
}

void EmbeddingFile::append(std::string_view name, std::span<const float> embedding) {
  file_.append(std::as_bytes(embedding));
  names_ += name_line(name);
  ++count_;
}

void EmbeddingFile::commit() {
  if (!names_path_) {
    file_.append(bytes_of(names_));
  }
  file_.overwrite_start(bytes_of(header()));
  file_.sync();
  if (names_path_) {
    write_file_atomically(*names_path_, names_);
  }
  file_.commit();
}

}  // namespace bitlog2
