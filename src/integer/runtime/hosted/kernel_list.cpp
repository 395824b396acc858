#include "../kernel_list.h"

#include "../kernels/select.h"

namespace bitlog2::runtime {

const Kernels* kernels_at(std::size_t index) {
  const auto kernels = available_kernels();
  return index < kernels.size() ? kernels[index] : nullptr;
}

}  // namespace bitlog2::runtime
