#include "integer/isa.h"

#include <fmt/format.h>

#include <cstdlib>
#include <vector>

#include "bitlog2/error.h"
#include "bitlog2/integer.h"
#include "integer/runtime/kernels/select.h"

namespace bitlog2 {
namespace integer {

const runtime::Kernels& choose_kernels(std::string isa) {
  if (isa.empty()) {
    const char* wanted = std::getenv("BITLOG2_ISA");  // NOLINT(concurrency-mt-unsafe)
    isa = wanted == nullptr ? "" : wanted;
  }
  if (isa.empty()) {
    return *runtime::available_kernels().front();
  }
  for (const runtime::Kernels* kernels : runtime::available_kernels()) {
    if (isa == kernels->name) {
      return *kernels;
    }
  }
  throw Error(fmt::format("instruction set '{}' (--isa, BITLOG2_ISA): this machine runs {}", isa,
                          fmt::join(available_isas(), ", ")));
}

}  // namespace integer

std::vector<std::string> available_isas() {
  std::vector<std::string> names;
  for (const runtime::Kernels* kernels : runtime::available_kernels()) {
    names.emplace_back(kernels->name);
  }
  return names;
}

}  // namespace bitlog2
