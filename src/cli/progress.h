// A line on the terminal that says how far long work is and when it will be done.
#pragma once

#include <chrono>
#include <cstddef>
#include <string>

namespace bitlog2::cli {

/// Writes to stderr, and only if that is a terminal; the line goes when the object does.
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
