#include "workers.h"

#include <algorithm>
#include <thread>

namespace bitlog2::python {

Workers::Workers(std::size_t threads)
    : threads_(threads > 0 ? threads : std::max(1U, std::thread::hardware_concurrency())),
      state_(std::make_unique<State>().release()) {}

Workers::~Workers() {
  std::unique_ptr<State> state(state_.load());
  if (state->process != getpid()) {
    // The state belongs to the process from which this one was forked; its threads do not exist
    // here and cannot be ended.
    static_cast<void>(state.release());
  }
}

Workers::State& Workers::of_this_process() {
  State* state = state_.load();
  if (state->process == getpid()) {
    return *state;
  }
  auto mine = std::make_unique<State>();
  if (state_.compare_exchange_strong(state, mine.get())) {
    return *mine.release();
  }
  return *state;  // another thread of this process has made a state first
}

}  // namespace bitlog2::python
