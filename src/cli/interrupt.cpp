#include "cli/interrupt.h"

#include <csignal>

namespace bitlog2::cli {
namespace {

// A signal handler reaches nothing but objects of static storage.
std::atomic<bool> interrupted = false;
std::atomic<int> interrupting_signal = SIGINT;
static_assert(std::atomic<bool>::is_always_lock_free && std::atomic<int>::is_always_lock_free);

extern "C" void on_interrupt(int signal) {
  // The next one, whichever of the two, gets the default action.
  std::signal(SIGINT, SIG_DFL);
  std::signal(SIGTERM, SIG_DFL);
  interrupting_signal = signal;
  interrupted = true;
}

}  // namespace

int interrupted_exit() {
  constexpr int kEndedBySignal = 128;
  return kEndedBySignal + interrupting_signal;
}

const std::atomic<bool>& catch_interrupt() {
  struct sigaction action {};
  action.sa_handler = on_interrupt;
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
  return interrupted;
}

}  // namespace bitlog2::cli
