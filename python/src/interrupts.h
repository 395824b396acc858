// Ctrl-C during long work without the interpreter's lock. Python's signal handler only sets a flag;
// the main thread must check it, with the lock.
#pragma once

#include <nanobind/nanobind.h>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <functional>
#include <optional>
#include <thread>

namespace bitlog2::python {

/// Checks for signals in loops in which the calling thread takes part. Constructor and destructor
/// need the lock.
class Interrupts {
 public:
  /// Whether the work must end. Any thread may call it, without the lock and at any time.
  bool requested();

  /// Throws the exception that a signal's handler raised, if there is one. Called with the lock.
  void rethrow();

 private:
  using Clock = std::chrono::steady_clock;

  std::thread::id caller_ = std::this_thread::get_id();
  Clock::time_point looked_ = Clock::now();
  std::atomic<bool> requested_ = false;
  std::optional<nanobind::python_error> raised_;
};

/// The arguments of long work: a flag that says that it must end, and a function that reports its
/// progress.
struct Job {
  const std::atomic<bool>& stop;
  std::function<void(std::size_t done, std::size_t total)> report;
};

/// Runs `work` in a new thread, without the lock, while the calling thread checks for signals and
/// calls `progress(done, total)`, unless it is None. Throws what a signal's handler or `progress`
/// raised, or else what `work` threw.
void run_job(const nanobind::object& progress, const std::function<void(const Job&)>& work);

}  // namespace bitlog2::python
