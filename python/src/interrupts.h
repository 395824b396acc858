// Ctrl-C during long work without the interpreter's lock. Python's own handler only leaves a note;
// somebody has to look at it, in the main thread and with the lock.
#pragma once

#include <nanobind/nanobind.h>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <functional>
#include <optional>
#include <thread>

namespace bitlog2::python {

/// For loops that the calling thread takes part in. It is made and ended with the lock.
class Interrupts {
 public:
  /// Whether the work is to end. Called without the lock, by any thread, as often as one likes.
  bool requested();

  /// Throws what a signal's handler raised, if it did. Called with the lock.
  void rethrow();

 private:
  using Clock = std::chrono::steady_clock;

  std::thread::id caller_ = std::this_thread::get_id();
  Clock::time_point looked_ = Clock::now();
  std::atomic<bool> requested_ = false;
  std::optional<nanobind::python_error> raised_;
};

/// What long work is given: a flag that says that it is to end, and whom to tell how far it is.
struct Job {
  const std::atomic<bool>& stop;
  std::function<void(std::size_t done, std::size_t total)> report;
};

/// Runs `work` on a thread of its own, without the lock, while the calling thread looks for signals
/// and calls `progress(done, total)`, unless it is None. Throws what `work` throws, or what a
/// signal's handler or `progress` raised, in the place of whatever `work` ended with then.
void run_job(const nanobind::object& progress, const std::function<void(const Job&)>& work);

}  // namespace bitlog2::python
