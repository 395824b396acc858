// Kernels by the name of their instruction set.
#pragma once

#include <string>

#include "integer/runtime/kernels/kernels.h"

namespace bitlog2::integer {

/// `isa` is one of available_isas(); empty: the environment variable BITLOG2_ISA, else the fastest.
/// Throws Error listing the choices.
const runtime::Kernels& choose_kernels(std::string isa);

}  // namespace bitlog2::integer
