// Tables of the generic kernels in plain C++ (kernels/simd/scalar.h), with four and with sixteen
// values in a "register". They test, on any machine, the code that real instruction sets share.
#pragma once

#include "integer/runtime/kernels/kernels.h"

namespace bitlog2::runtime {

const Kernels& scalar_4_kernels();
const Kernels& scalar_16_kernels();

}  // namespace bitlog2::runtime
