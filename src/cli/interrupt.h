// Ctrl-C, as a flag that long work looks at.
#pragma once

#include <atomic>

namespace bitlog2::cli {

/// What a calibration that was interrupted throws.
struct Interrupted {};

inline constexpr int kInterruptedExit = 130;  // 128 + SIGINT, as shells count it

/// From now on SIGINT sets the flag that is returned; a second one ends the process.
const std::atomic<bool>& catch_interrupt();

}  // namespace bitlog2::cli
