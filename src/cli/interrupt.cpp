#include "cli/interrupt.h"

#include <csignal>

namespace bitlog2::cli {
namespace {

// A signal handler reaches nothing but an object of static storage.
std::atomic<bool> interrupted = false;
static_assert(std::atomic<bool>::is_always_lock_free);

extern "C" void on_interrupt(int) {
  interrupted = true;
}

}  // namespace

const std::atomic<bool>& catch_interrupt() {
  struct sigaction action {};
  action.sa_handler = on_interrupt;
  // The second Ctrl-C gets the default action.
  action.sa_flags = static_cast<int>(SA_RESETHAND);
  sigaction(SIGINT, &action, nullptr);
  return interrupted;
}

}  // namespace bitlog2::cli
