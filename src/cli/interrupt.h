// Ctrl-C and SIGTERM, as a flag that long work checks.
#pragma once

#include <atomic>

namespace bitlog2::cli {

/// Thrown by a calibration that was interrupted.
struct Interrupted {};

/// The exit code of a run that was interrupted, as shells count it: 128 + the signal, so 130 after
/// Ctrl-C and 143 after SIGTERM.
int interrupted_exit();

/// From now on SIGINT and SIGTERM set the flag that is returned; a second signal ends the process.
const std::atomic<bool>& catch_interrupt();

}  // namespace bitlog2::cli
