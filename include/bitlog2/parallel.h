// The thread pool: a fixed number of threads that share the iterations of loops.
#pragma once

#include <atomic>
#include <cstddef>
#include <functional>
#include <memory>

#pragma GCC visibility push(default)
namespace bitlog2 {

/// Thrown by parallel_for when its pool is told to stop (ThreadPool::stop_at).
struct Stopped {};

/// A pool of `threads` threads, the calling thread included: with one, no thread is started and
/// loops run in the caller. A loop body must not use the pool that runs it.
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
  /// If a body throws, no further range begins, and the exception is rethrown here.
  void parallel_for(std::size_t count, std::size_t grain,
                    const std::function<void(std::size_t begin, std::size_t end)>& body);

  /// From now on, once `stop` is true, parallel_for begins no further range and throws Stopped.
  /// With nullptr, loops are never stopped. Must be called while no loop runs. Not for bodies that
  /// wait for each other.
  void stop_at(const std::atomic<bool>* stop);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace bitlog2
#pragma GCC visibility pop
