// Writing files: whole or not at all, and where links lead.
#include "bitlog2/files.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>

#include "bitlog2/error.h"
#include "reference.h"

namespace bitlog2 {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

std::string content_of(const fs::path& path) {
  const MappedFile file(path);
  std::string text;
  std::ranges::transform(file.bytes(), std::back_inserter(text),
                         [](std::byte byte) { return std::to_integer<char>(byte); });
  return text;
}

std::ptrdiff_t entries_of(const fs::path& folder) {
  return std::distance(fs::directory_iterator(folder), fs::directory_iterator());
}

TEST(WriteFile, ReplacesWhatWasThere) {
  const testing::TemporaryFolder folder;
  const fs::path path = folder.path() / "file";
  for (const char* text : {"a longer text", "short", ""}) {
    write_file_atomically(path, std::string_view(text));
    EXPECT_EQ(content_of(path), text);
  }
  EXPECT_EQ(entries_of(folder.path()), 1);
}

TEST(WriteFile, WritesWhereLinksLead) {
  const testing::TemporaryFolder folder;
  fs::create_directory(folder.path() / "there");
  fs::create_symlink("there/second", folder.path() / "first");
  fs::create_symlink(folder.path() / "file", folder.path() / "there/second");
  EXPECT_EQ(follow_links(folder.path() / "first"), folder.path() / "file");
  for (const char* text : {"new", "old"}) {
    write_file_atomically(folder.path() / "first", std::string_view(text));
    EXPECT_EQ(content_of(folder.path() / "file"), text);
    EXPECT_TRUE(fs::is_symlink(folder.path() / "first"));
    EXPECT_TRUE(fs::is_symlink(folder.path() / "there/second"));
  }
  EXPECT_EQ(entries_of(folder.path()), 3);
}

TEST(WriteFile, RefusesLinksInACircle) {
  const testing::TemporaryFolder folder;
  fs::create_symlink("b", folder.path() / "a");
  fs::create_symlink("a", folder.path() / "b");
  try {
    write_file_atomically(folder.path() / "a", std::string_view("text"));
    ADD_FAILURE() << "no Error";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("a: cannot be written"));
  }
  EXPECT_EQ(entries_of(folder.path()), 2);
}

}  // namespace
}  // namespace bitlog2
