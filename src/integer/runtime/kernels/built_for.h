// The kernels for builds that are compiled for one instruction set as a whole, as for
// microcontrollers and WebAssembly: the processor is not asked at run time.
#pragma once

#include "kernels.h"

namespace bitlog2::runtime {

#if defined(__ARM_FEATURE_MVE)
const Kernels& mve_kernels();
inline constexpr const Kernels& (*kBuiltFor)() = mve_kernels;
#elif defined(__arm__) && defined(__ARM_FEATURE_DSP)
const Kernels& dsp_kernels();
inline constexpr const Kernels& (*kBuiltFor)() = dsp_kernels;
#elif defined(__wasm_relaxed_simd__)
const Kernels& wasm_relaxed_kernels();
inline constexpr const Kernels& (*kBuiltFor)() = wasm_relaxed_kernels;
#elif defined(__wasm_simd128__)
const Kernels& wasm_simd128_kernels();
inline constexpr const Kernels& (*kBuiltFor)() = wasm_simd128_kernels;
#else
inline constexpr const Kernels& (*kBuiltFor)() = portable_kernels;
#endif

}  // namespace bitlog2::runtime
