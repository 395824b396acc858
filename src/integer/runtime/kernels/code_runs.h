// Tables of codes in a short form, for kernels that hold 256 bytes in registers.
#pragma once

#include "kernels.h"

namespace bitlog2::runtime {

/// Fills `runs` with a table, if in every run codes change at most once, or at most twice and
/// always by one. Returns whether they do.
bool make_code_runs(const std::uint8_t* entries, std::size_t size, CodeRuns& runs);

}  // namespace bitlog2::runtime
