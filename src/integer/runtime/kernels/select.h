// Which kernels a machine can run. Not part of the freestanding runtime: it asks the CPU.
#pragma once

#include <span>

#include "kernels.h"

namespace bitlog2::runtime {

/// The tables that this machine can run, the fastest first; the portable one is the last.
std::span<const Kernels* const> available_kernels();

/// The other tables of this build, which this machine must not call.
std::span<const Kernels* const> unavailable_kernels();

}  // namespace bitlog2::runtime
