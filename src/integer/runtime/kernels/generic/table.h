// The kernels that are written once over the vectors of one instruction set (simd/), as a table.
// A file that fills a table includes its simd header and this within its target region, and adds
// multiply() and multiply_in_registers().
#pragma once

#include "../kernels.h"
#include "../portable.h"
#include "attend_values.h"
#include "ceiling.h"
#include "codes.h"
#include "divide.h"
#include "normalise.h"
#include "panels.h"
#include "rescale.h"
#include "softmax.h"

namespace bitlog2::runtime {
namespace {

/// The table's own.
std::uint64_t multiply_in_registers(std::uint64_t rounds);

constexpr Kernels make_table(const char* name) {
  return {name,
          nullptr,
          pack_rows,
          pack_columns,
          multiply,
          sum_rows,
          rescale,
          rescale_to_codes,
          rescale_and_add,
          portable::split_channels,
          decode,
          normalise,
          softmax_codes,
          attend_values<DivideInLanes>,
          multiply_in_registers};
}

}  // namespace
}  // namespace bitlog2::runtime
