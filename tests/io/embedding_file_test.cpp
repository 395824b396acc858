// Files of embeddings, byte for byte.
#include "bitlog2/embedding_file.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>

#include "bitlog2/error.h"
#include "bitlog2/safetensors.h"
#include "reference.h"

namespace bitlog2 {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::string content(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

std::vector<std::string> names_in(const fs::path& folder) {
  std::vector<std::string> names;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder)) {
    names.push_back(entry.path().filename().string());
  }
  std::ranges::sort(names);
  return names;
}

/// The header that numpy.save writes for a C-contiguous float32 array of this shape: format version
/// 1.0, padded with blanks so that the data begins at a multiple of 64 bytes.
std::string numpy_header(std::size_t rows, std::size_t columns) {
  std::string header =
      fmt::format("{{'descr': '<f4', 'fortran_order': False, 'shape': ({}, {}), }}", rows, columns);
  header.resize(117, ' ');
  return std::string("\x93NUMPY\x01\x00\x76\x00", 10) + header + "\n";
}

std::string bytes_of(const std::vector<float>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float)};
}

class EmbeddingFiles : public ::testing::Test {
 protected:
  fs::path path(const std::string& name) const { return folder_.path() / name; }
  const fs::path& folder() const { return folder_.path(); }

 private:
  testing::TemporaryFolder folder_;
};

TEST_F(EmbeddingFiles, NpyIsNumpysFormat) {
  EmbeddingFile file(path("a.npy"), 3, {});
  file.append("one.png", std::vector<float>{1, -2, 0.5F});
  file.append("two\nlines\\\r.png", std::vector<float>{3, 4, 5});
  EXPECT_EQ(file.count(), 2U);
  file.commit();
  EXPECT_EQ(numpy_header(2, 3).size(), 128U);
  EXPECT_EQ(content(path("a.npy")), numpy_header(2, 3) + bytes_of({1, -2, 0.5F, 3, 4, 5}));
  EXPECT_EQ(content(path("a.names.txt")), "one.png\ntwo\\nlines\\\\\\r.png\n");
  EXPECT_THAT(names_in(folder()), ElementsAre("a.names.txt", "a.npy"));
}

TEST_F(EmbeddingFiles, ManyRowsArriveInOrder) {
  constexpr std::size_t kRows = 12'345;  // more than the buffer holds
  constexpr std::size_t kColumns = 7;
  EmbeddingFile npy(path("a.npy"), kColumns, {});
  EmbeddingFile tensors(path("b.safetensors"), kColumns, {{"model", "m"}});
  std::vector<float> all;
  std::string names;
  for (std::size_t i = 0; i < kRows; ++i) {
    std::vector<float> row(kColumns);
    for (std::size_t c = 0; c < kColumns; ++c) {
      row[c] = static_cast<float>(i * kColumns + c);
    }
    npy.append(std::to_string(i), row);
    tensors.append(std::to_string(i), row);
    all.insert(all.end(), row.begin(), row.end());
    names += std::to_string(i) + "\n";
  }
  npy.commit();
  tensors.commit();
  EXPECT_EQ(content(path("a.npy")), numpy_header(kRows, kColumns) + bytes_of(all));
  EXPECT_EQ(content(path("a.names.txt")), names);
  const Safetensors file = Safetensors::open(path("b.safetensors"));
  EXPECT_EQ(file.read_floats("embeddings"), all);
  EXPECT_THAT(file.at("embeddings").shape, ElementsAre(kRows, kColumns));
  const std::span<const std::byte> held = file.at("names").bytes;
  EXPECT_EQ(std::string(reinterpret_cast<const char*>(held.data()), held.size()), names);
  EXPECT_EQ(file.metadata().at("model"), "m");
  EXPECT_EQ((content(path("b.safetensors")).size() - all.size() * 4 - names.size()) % 64, 0U);
}

TEST_F(EmbeddingFiles, WithoutCommitNothingIsLeft) {
  {
    EmbeddingFile file(path("a.npy"), 2, {});
    file.append("x", std::vector<float>{1, 2});
    EXPECT_FALSE(fs::exists(path("a.npy")));
  }
  EXPECT_THAT(names_in(folder()), ElementsAre());
}

TEST_F(EmbeddingFiles, OtherExtensionsAreRefused) {
  for (const char* name : {"a.npz", "a", "a.txt"}) {
    try {
      EmbeddingFile(path(name), 2, {});
      ADD_FAILURE() << name;
    } catch (const Error& error) {
      EXPECT_THAT(error.what(), HasSubstr(".npy or .safetensors"));
    }
  }
  EXPECT_THAT(names_in(folder()), ElementsAre());
}

}  // namespace
}  // namespace bitlog2
