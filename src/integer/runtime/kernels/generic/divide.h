// The division of relative BitLog2's context by the sum of a row's weights.
#pragma once

#include <cstddef>
#include <cstdint>

#include "../portable.h"

namespace bitlog2::runtime {
namespace {

/// portable::divide(); `width` is a multiple of kLane.
struct DivideInLanes {
  void operator()(const portable::ContextDivision& division, std::int32_t* context,
                  std::size_t width) const {
    const Factor factor(division.factor);
    const I64 half = I64::all(division.half);
    const auto for_each = [&](const auto& narrow) {
      for (std::size_t c = 0; c < width; c += kValues) {
        narrow(I64::product(I32::load(context + c), factor) + half).store(context + c);
      }
    };
    if (division.shift >= 32) {
      const Shift rest(division.shift - 32);
      for_each([&](I64 product) { return product.upper_halves().shift_right_signed(rest); });
    } else {
      const NarrowingShift shift(division.shift);
      for_each([&](I64 product) { return shift(product); });
    }
  }
};

}  // namespace
}  // namespace bitlog2::runtime
