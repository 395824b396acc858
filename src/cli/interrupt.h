// Ctrl-C and SIGTERM, as a flag that long work looks at.
#pragma once

#include <atomic>

namespace bitlog2::cli {

/// What a calibration that was interrupted throws.
struct Interrupted {};

/// The exit code of a run that was interrupted, as shells count it: 128 + the signal, so 130 after
/// Ctrl-C and 143 after SIGTERM.
int interrupted_exit();

/// From now on SIGINT and SIGTERM set the flag that is returned; the next of them ends the process.
const std::atomic<bool>& catch_interrupt();

}  // namespace bitlog2::cli
