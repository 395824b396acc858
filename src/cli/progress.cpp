#include "cli/progress.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>

namespace bitlog2::cli {
namespace {

/// A terminal that is gone is no error.
void write(const std::string& text) {
  std::fwrite(text.data(), 1, text.size(), stderr);
  std::fflush(stderr);
}

}  // namespace

Progress::Progress(std::string what)
    : what_(std::move(what)),
      on_terminal_(isatty(STDERR_FILENO) == 1),
      start_(std::chrono::steady_clock::now()) {}

Progress::~Progress() {
  if (on_terminal_) {
    write("\r\x1b[K");
  }
}

void Progress::show(std::size_t done, std::size_t total, const std::string& note) {
  if (!on_terminal_ || done == 0) {
    return;
  }
  const double elapsed =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
  const double left =
      elapsed / static_cast<double>(done) * static_cast<double>(total - std::min(done, total));
  const auto seconds = static_cast<std::int64_t>(left);
  write(fmt::format("\r\x1b[K{}  {}/{}  {}ETA {}:{:02}", what_, done, total, note, seconds / 60,
                    seconds % 60));
}

}  // namespace bitlog2::cli
