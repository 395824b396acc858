#include "integer/runtime/kernels/target_region.h"
#include "scalar_kernels.h"

namespace bitlog2::runtime {
namespace {
constexpr std::size_t kScalarValues = 16;
}  // namespace
}  // namespace bitlog2::runtime

#include "integer/runtime/kernels/simd/scalar.h"
// The kernels that are written once for all vectors.
#include "integer/runtime/kernels/generic/table.h"

namespace bitlog2::runtime {
namespace {

void multiply(const Inputs& inputs, std::size_t rows, const Panel& panel, std::int32_t* sums,
              std::size_t stride) {
  portable::multiply(inputs, rows, panel, sums, stride);
}

std::uint64_t multiply_in_registers(std::uint64_t rounds) {
  return multiply_in<1>(rounds, [](I32 sums, U8 bytes) { return bytes.add_fours_to(sums); });
}

}  // namespace

const Kernels& scalar_16_kernels() {
  static constexpr Kernels kKernels = make_table("scalar_16");
  return kKernels;
}

}  // namespace bitlog2::runtime
