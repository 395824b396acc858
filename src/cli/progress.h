// A line on the terminal with the progress of long work and the time that is left.
#pragma once

#include <chrono>
#include <cstddef>
#include <string>

namespace bitlog2::cli {

/// Writes to stderr, only if that is a terminal. The destructor removes the line.
class Progress {
 public:
  explicit Progress(std::string what);
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  void show(std::size_t done, std::size_t total, const std::string& note = "");

 private:
  std::string what_;
  bool on_terminal_;
  std::chrono::steady_clock::time_point start_;
};

}  // namespace bitlog2::cli
