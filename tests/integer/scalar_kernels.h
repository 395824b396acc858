// Tables of the generic kernels over plain C++ (kernels/simd/scalar.h), four and sixteen values to
// a "register": they test on any machine what real instruction sets share.
#pragma once

#include "integer/runtime/kernels/kernels.h"

namespace bitlog2::runtime {

const Kernels& scalar_4_kernels();
const Kernels& scalar_16_kernels();

}  // namespace bitlog2::runtime
