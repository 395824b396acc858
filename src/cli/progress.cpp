#include "cli/progress.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cstdio>

namespace bitlog2::cli {

Progress::Progress(std::string what)
    : what_(std::move(what)),
      on_terminal_(isatty(STDERR_FILENO) == 1),
      start_(std::chrono::steady_clock::now()) {}

Progress::~Progress() {
  if (on_terminal_) {
    fmt::print(stderr, "\r\x1b[K");
    std::fflush(stderr);
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
  fmt::print(stderr, "\r\x1b[K{}  {}/{}  {}ETA {:.0f}:{:02.0f}", what_, done, total, note,
             static_cast<double>(static_cast<int>(left) / 60),
             static_cast<double>(static_cast<int>(left) % 60));
  std::fflush(stderr);
}

}  // namespace bitlog2::cli
