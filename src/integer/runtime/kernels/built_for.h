// Kernels of instruction sets for which a build is made as a whole, as builds for microcontrollers
// are: no processor is asked.
#pragma once

#include "kernels.h"

namespace bitlog2::runtime {

#if defined(__ARM_FEATURE_MVE)
const Kernels& mve_kernels();
inline constexpr const Kernels& (*kBuiltFor)() = mve_kernels;
#elif defined(__arm__) && defined(__ARM_FEATURE_DSP)
const Kernels& dsp_kernels();
inline constexpr const Kernels& (*kBuiltFor)() = dsp_kernels;
#elif defined(__wasm_simd128__)
const Kernels& wasm_simd128_kernels();
inline constexpr const Kernels& (*kBuiltFor)() = wasm_simd128_kernels;
#else
inline constexpr const Kernels& (*kBuiltFor)() = portable_kernels;
#endif

}  // namespace bitlog2::runtime
