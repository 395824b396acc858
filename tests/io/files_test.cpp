// Reading files and streams; writing files completely or not at all, and through links.
#include "bitlog2/files.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <string>
#include <thread>
#include <utility>

#include "bitlog2/error.h"
#include "reference.h"

namespace bitlog2 {
namespace {

namespace fs = std::filesystem;
using ::testing::EndsWith;
using ::testing::HasSubstr;

std::string text_of(std::span<const std::byte> bytes) {
  std::string text;
  std::ranges::transform(bytes, std::back_inserter(text),
                         [](std::byte byte) { return std::to_integer<char>(byte); });
  return text;
}

std::string content_of(const fs::path& path) {
  return text_of(MappedFile(path).bytes());
}

std::ptrdiff_t entries_of(const fs::path& folder) {
  return std::distance(fs::directory_iterator(folder), fs::directory_iterator());
}

std::string refusal_of(const fs::path& path, std::size_t limit = kMaxStreamBytes) {
  try {
    const FileBytes file(path, limit);
    return "";
  } catch (const Error& error) {
    return error.what();
  }
}

/// A pipe with a name like those that a shell gives to a program for <(...).
class Pipe {
 public:
  Pipe() { EXPECT_EQ(::pipe(ends_.data()), 0); }
  ~Pipe() {
    ::close(ends_[0]);
    if (writer_.joinable()) {
      writer_.join();
    }
  }
  Pipe(const Pipe&) = delete;
  Pipe& operator=(const Pipe&) = delete;

  fs::path path() const { return "/dev/fd/" + std::to_string(ends_[0]); }
  /// Writes the text and closes the pipe, in a thread, because a pipe holds little.
  void write(std::string text) {
    writer_ = std::thread([end = ends_[1], text = std::move(text)] {
      for (std::size_t at = 0; at < text.size();) {
        const ssize_t count = ::write(end, text.data() + at, text.size() - at);
        if (count <= 0) {
          break;
        }
        at += static_cast<std::size_t>(count);
      }
      ::close(end);
    });
  }

 private:
  std::array<int, 2> ends_ = {};
  std::thread writer_;
};

TEST(FileBytes, MapsAFile) {
  const testing::TemporaryFolder folder;
  const fs::path path = folder.path() / "file";
  for (const char* text : {"some text", ""}) {
    write_file_atomically(path, std::string_view(text));
    EXPECT_EQ(text_of(FileBytes(path, 0).bytes()), text);
  }
}

TEST(FileBytes, ReadsAPipeToItsEnd) {
  for (const std::size_t size : {0U, 1U, 65535U, 65536U, 65537U, 1000000U}) {
    std::string text(size, 'a');
    for (std::size_t i = 0; i < size; ++i) {
      text[i] = static_cast<char>(i * i % 251);
    }
    Pipe pipe;
    pipe.write(text);
    EXPECT_EQ(text_of(FileBytes(pipe.path()).bytes()), text) << size;
  }
}

TEST(FileBytes, ReadsAFifo) {
  const testing::TemporaryFolder folder;
  const fs::path path = folder.path() / "fifo";
  ASSERT_EQ(::mkfifo(path.c_str(), 0600), 0);
  std::thread writer([&path] {
    const int end = ::open(path.c_str(), O_WRONLY);
    EXPECT_EQ(::write(end, "text", 4), 4);
    ::close(end);
  });
  EXPECT_EQ(text_of(FileBytes(path).bytes()), "text");
  writer.join();
}

TEST(FileBytes, ReadsADevice) {
  EXPECT_TRUE(FileBytes("/dev/null").bytes().empty());
}

TEST(FileBytes, TakesAStreamOfJustTheLimit) {
  for (const std::size_t limit : {std::size_t{9}, std::size_t{100000}}) {
    Pipe fits;
    fits.write(std::string(limit, 'x'));
    EXPECT_EQ(FileBytes(fits.path(), limit).bytes().size(), limit);
    Pipe exceeds;
    exceeds.write(std::string(limit + 1, 'x'));
    EXPECT_THAT(refusal_of(exceeds.path(), limit),
                HasSubstr("does not end within " + std::to_string(limit) + " bytes"));
  }
}

TEST(FileBytes, StopsReadingWhatDoesNotEnd) {
  EXPECT_EQ(refusal_of("/dev/zero"),
            "/dev/zero: does not end within 268435456 bytes; give a smaller file");
}

TEST(FileBytes, RefusesFoldersAndSockets) {
  const testing::TemporaryFolder folder;
  EXPECT_THAT(refusal_of(folder.path()), EndsWith(": a folder; give a file or a pipe"));

  const fs::path path = folder.path() / "socket";
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  ASSERT_LT(path.string().size(), sizeof(address.sun_path));
  std::ranges::copy(path.string(), address.sun_path);
  const int server = ::socket(AF_UNIX, SOCK_STREAM, 0);
  ASSERT_EQ(::bind(server, reinterpret_cast<const sockaddr*>(&address), sizeof(address)), 0);
  EXPECT_THAT(refusal_of(path), EndsWith(": a socket; give a file or a pipe"));
  ::close(server);
}

TEST(FileBytes, NamesWhatIsNotThere) {
  EXPECT_THAT(refusal_of("/nowhere/at/all"), HasSubstr("/nowhere/at/all: cannot be read"));
}

TEST(FileBytes, MovesItsBytes) {
  Pipe pipe;
  pipe.write("text");
  FileBytes first(pipe.path());
  const FileBytes second(std::move(first));
  EXPECT_EQ(text_of(second.bytes()), "text");
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
