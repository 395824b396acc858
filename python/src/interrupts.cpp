#include "interrupts.h"

#include <condition_variable>
#include <exception>
#include <mutex>
#include <utility>

namespace bitlog2::python {
namespace {

namespace nb = nanobind;
using std::chrono::milliseconds;

/// A job's progress and, at its end, its exception.
struct Reached {
  std::mutex mutex;
  std::condition_variable ended;
  bool done = false;
  std::size_t steps = 0;
  std::size_t of = 0;
  std::exception_ptr failure;
};

void do_work(const std::function<void(const Job&)>& work, const std::atomic<bool>& stop,
             Reached& reached) {
  std::exception_ptr failure;
  try {
    work({stop, [&](std::size_t done, std::size_t total) {
            const std::lock_guard lock(reached.mutex);
            reached.steps = done;
            reached.of = total;
          }});
  } catch (...) {
    failure = std::current_exception();
  }
  const std::lock_guard lock(reached.mutex);
  reached.failure = failure;
  reached.done = true;
  reached.ended.notify_one();
}

/// Python's side of a job: the progress that it was told last, and the exception that it raised.
class Watcher {
 public:
  explicit Watcher(const nb::object& progress) : progress_(progress) {}

  /// Looks for signals and reports progress. Called with Python's lock. False: the job must end.
  bool look(std::size_t done, std::size_t total) {
    if (raised_) {
      return false;
    }
    try {
      if (PyErr_CheckSignals() != 0) {
        nb::raise_python_error();
      }
      if (!progress_.is_none() && total > 0 && (done != done_ || total != total_)) {
        done_ = done;
        total_ = total;
        progress_(done, total);
      }
    } catch (nb::python_error& error) {
      raised_.emplace(std::move(error));
    }
    return !raised_;
  }

  void rethrow() {
    if (raised_) {
      throw nb::python_error(std::move(*raised_));
    }
  }

 private:
  const nb::object& progress_;
  std::size_t done_ = 0;
  std::size_t total_ = 0;
  std::optional<nb::python_error> raised_;
};

}  // namespace

bool Interrupts::requested() {
  constexpr milliseconds kPause{50};
  if (!requested_ && std::this_thread::get_id() == caller_ && Clock::now() - looked_ >= kPause) {
    looked_ = Clock::now();
    const nb::gil_scoped_acquire lock;
    if (PyErr_CheckSignals() != 0) {
      raised_.emplace();
      requested_ = true;
    }
  }
  return requested_;
}

void Interrupts::rethrow() {
  if (raised_) {
    throw nb::python_error(std::move(*raised_));
  }
}

void run_job(const nb::object& progress, const std::function<void(const Job&)>& work) {
  constexpr milliseconds kPause{100};
  std::atomic<bool> stop = false;
  Reached reached;
  Watcher watcher(progress);
  {
    const nb::gil_scoped_release unlocked;
    const std::jthread worker([&] { do_work(work, stop, reached); });
    std::unique_lock lock(reached.mutex);
    while (!reached.ended.wait_for(lock, kPause, [&] { return reached.done; })) {
      const std::size_t steps = reached.steps;
      const std::size_t of = reached.of;
      lock.unlock();
      {
        const nb::gil_scoped_acquire locked;
        stop = !watcher.look(steps, of);
      }
      lock.lock();
    }
  }
  if (!stop && !reached.failure) {
    watcher.look(reached.steps, reached.of);
  }
  watcher.rethrow();
  if (reached.failure) {
    std::rethrow_exception(reached.failure);
  }
}

}  // namespace bitlog2::python
