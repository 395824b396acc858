// The threads of one network. They are started when they are first needed, and started again in a
// forked process, because a fork does not copy threads.
#pragma once

#include <unistd.h>

#include <atomic>
#include <cstddef>
#include <memory>
#include <mutex>
#include <optional>

#include "bitlog2/parallel.h"

namespace bitlog2::python {

class Workers {
 public:
  /// `threads` 0: as many as this process may run on.
  explicit Workers(std::size_t threads);
  ~Workers();
  Workers(const Workers&) = delete;
  Workers& operator=(const Workers&) = delete;

  std::size_t threads() const { return threads_; }

  /// Calls `use` with a pool of all threads, or with only the calling thread if another call has
  /// them. So calls at the same time do not wait for each other.
  template <class Use>
  void with_pool(Use use) {
    State& state = of_this_process();
    const std::unique_lock lock(state.mutex, std::try_to_lock);
    if (lock.owns_lock()) {
      if (!state.pool) {
        state.pool.emplace(threads_);
      }
      use(*state.pool);
    } else {
      ThreadPool alone(1);
      use(alone);
    }
  }

 private:
  struct State {
    pid_t process = getpid();
    std::mutex mutex;
    std::optional<ThreadPool> pool;
  };

  State& of_this_process();

  std::size_t threads_;
  std::atomic<State*> state_;
};

}  // namespace bitlog2::python
