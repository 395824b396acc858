// The kernels that a build of the runtime offers. hosted/ asks the CPU which of all tables it can
// run; freestanding/ has the kernels that the build was compiled for and the portable ones. A build
// links one of the two.
#pragma once

#include <cstddef>

#include "kernels/kernels.h"

namespace bitlog2::runtime {

/// The kernels at `index`, the fastest first, the portable ones last; nullptr behind them.
const Kernels* kernels_at(std::size_t index);

}  // namespace bitlog2::runtime
