// The thread pool. Work is handed out one range at a time from a shared counter, so a
// slow range does not hold the others up. A network calls parallel_for some hundred times an image,
// so threads that wait look for work a while before they sleep: waking one takes as long as a small
// range.
#include "bitlog2/parallel.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

#include "bitlog2/error.h"

namespace bitlog2 {
namespace {

/// Looks at `is_ready` for some ten microseconds, or until it is true.
template <class Condition>
void look_for(Condition is_ready) {
  constexpr int kLooks = 1000;
  for (int i = 0; i < kLooks && !is_ready(); ++i) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
  }
}

}  // namespace

struct ThreadPool::State {
  using Body = std::function<void(std::size_t, std::size_t)>;

  std::mutex mutex;
  std::condition_variable work_ready;
  std::condition_variable work_done;
  // Changed while `mutex` is held. Counts parallel_for calls, so that a waiting thread sees a new
  // one.
  std::atomic<std::uint64_t> round = 0;
  std::atomic<bool> stopping = false;
  std::atomic<std::size_t> running = 0;  // threads of the pool still inside this round
  std::exception_ptr failure;

  const Body* body = nullptr;
  std::size_t count = 0;
  std::size_t grain = 1;
  std::atomic<std::size_t> next = 0;
  const std::atomic<bool>* stop = nullptr;

  std::vector<std::jthread> threads;

  void check_stop() const {
    if (stop != nullptr && *stop) {
      throw Stopped();
    }
  }

  /// Takes ranges until none is left.
  void take_ranges() {
    for (;;) {
      const std::size_t begin = next.fetch_add(grain);
      if (begin >= count) {
        return;
      }
      try {
        check_stop();
        (*body)(begin, std::min(begin + grain, count));
      } catch (...) {
        const std::lock_guard lock(mutex);
        if (!failure) {
          failure = std::current_exception();
        }
        next = count;
      }
    }
  }

  /// Ends the threads. Must be called while no thread runs a body.
  void end_threads() {
    {
      const std::lock_guard lock(mutex);
      stopping = true;
    }
    work_ready.notify_all();
    threads.clear();  // joins them
  }

  void serve() {
    std::uint64_t seen = 0;
    const auto is_called = [&] { return stopping || round != seen; };
    std::unique_lock lock(mutex, std::defer_lock);
    for (;;) {
      look_for(is_called);
      lock.lock();
      work_ready.wait(lock, is_called);
      if (stopping) {
        return;
      }
      seen = round;
      lock.unlock();
      take_ranges();
      lock.lock();
      if (--running == 0) {
        work_done.notify_one();
      }
      lock.unlock();
    }
  }
};

ThreadPool::ThreadPool(std::size_t threads) : state_(std::make_unique<State>()) {
  try {
    for (std::size_t i = 1; i < threads; ++i) {
      state_->threads.emplace_back([state = state_.get()] { state->serve(); });
    }
  } catch (const std::system_error& error) {
    const std::size_t started = size();
    state_->end_threads();
    throw Error(
        fmt::format("only {} of {} threads could be started ({}); ask for fewer with --threads",
                    started, threads, error.code().message()));
  } catch (...) {
    state_->end_threads();
    throw;
  }
}

ThreadPool::~ThreadPool() {
  state_->end_threads();
}

std::size_t ThreadPool::size() const {
  return state_->threads.size() + 1;
}

void ThreadPool::parallel_for(std::size_t count, std::size_t grain,
                              const std::function<void(std::size_t, std::size_t)>& body) {
  grain = std::max<std::size_t>(grain, 1);
  State& state = *state_;
  if (state.threads.empty() || count <= grain) {
    for (std::size_t begin = 0; begin < count; begin += grain) {
      state.check_stop();
      body(begin, std::min(begin + grain, count));
    }
    return;
  }
  {
    const std::lock_guard lock(state.mutex);
    state.body = &body;
    state.count = count;
    state.grain = grain;
    state.next = 0;
    state.failure = nullptr;
    state.running = state.threads.size();
    ++state.round;
  }
  state.work_ready.notify_all();
  state.take_ranges();
  const auto is_done = [&] { return state.running == 0; };
  look_for(is_done);
  std::unique_lock lock(state.mutex);
  state.work_done.wait(lock, is_done);
  if (state.failure) {
    std::rethrow_exception(state.failure);
  }
}

void ThreadPool::stop_at(const std::atomic<bool>* stop) {
  state_->stop = stop;
}

}  // namespace bitlog2
