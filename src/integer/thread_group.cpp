#include "integer/thread_group.h"

#include <atomic>
#include <thread>

namespace bitlog2::integer {
namespace {

/// The barrier of a group of threads. It spins, since waits are short.
class SpinBarrier {
 public:
  explicit SpinBarrier(std::size_t threads) : threads_(threads) {}

  void wait() {
    constexpr int kSpins = 4096;
    const std::size_t round = round_.load(std::memory_order_acquire);
    if (arrived_.fetch_add(1, std::memory_order_acq_rel) + 1 == threads_) {
      arrived_.store(0, std::memory_order_relaxed);
      round_.fetch_add(1, std::memory_order_release);
      return;
    }
    for (int spins = 0; round_.load(std::memory_order_acquire) == round; ++spins) {
      if (spins > kSpins) {
        std::this_thread::yield();
      }
    }
  }

 private:
  std::size_t threads_;
  std::atomic<std::size_t> arrived_ = 0;
  std::atomic<std::size_t> round_ = 0;
};

}  // namespace

void run_in_group(
    ThreadPool& pool,
    const std::function<void(const runtime::ThreadGroup& group, std::size_t rank)>& run) {
  SpinBarrier barrier(pool.size());
  const runtime::ThreadGroup group = {
      pool.size(), [](void* context) { static_cast<SpinBarrier*>(context)->wait(); }, &barrier};
  pool.parallel_for(group.size, 1, [&](std::size_t rank, std::size_t) {
    run(group, rank);
    barrier.wait();  // none returns before all have come, so that each thread has one rank
  });
}

}  // namespace bitlog2::integer
