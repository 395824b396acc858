// The project's one threading model: a fixed pool that splits loops.
#pragma once

#include <atomic>
#include <cstddef>
#include <functional>
#include <memory>

#pragma GCC visibility push(default)
namespace bitlog2 {

/// What parallel_for throws whose pool is to stop.
struct Stopped {};

/// A pool of `threads` threads, the calling one included; one thread means none is started
/// and loops run in the caller. A loop body must not use the pool that runs it.
class ThreadPool {
 public:
  /// Throws Error that says how many threads could be started if not all could.
  explicit ThreadPool(std::size_t threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  std::size_t size() const;

  /// Calls `body(begin, end)` on disjoint ranges of at most `grain` indices that cover
  /// [0, count), on all threads, in no particular order, and returns when all are done.
  /// An exception of a body stops further ranges and is rethrown here.
  void parallel_for(std::size_t count, std::size_t grain,
                    const std::function<void(std::size_t begin, std::size_t end)>& body);

  /// From now on, parallel_for begins no range once `stop` is set, and throws Stopped; nothing:
  /// it goes on to the end. To be called while no loop runs. Not for bodies that wait for each
  /// other.
  void stop_at(const std::atomic<bool>* stop);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace bitlog2
#pragma GCC visibility pop
