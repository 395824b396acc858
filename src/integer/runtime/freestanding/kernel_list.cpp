#include "../kernel_list.h"

#include "../kernels/built_for.h"

namespace bitlog2::runtime {

const Kernels* kernels_at(std::size_t index) {
  constexpr std::size_t kPortable = kBuiltFor == portable_kernels ? 0 : 1;
  return index < kPortable ? &kBuiltFor() : index == kPortable ? &portable_kernels() : nullptr;
}

}  // namespace bitlog2::runtime
