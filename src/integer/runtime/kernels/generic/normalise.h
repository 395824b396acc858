// LayerNorm.
#pragma once

#include <cstddef>
#include <cstdint>

#include "../kernels.h"
#include "../portable.h"
#include "lanes.h"

namespace bitlog2::runtime {
namespace {

inline portable::Normalisation begin_row(const std::int32_t* row, std::size_t count,
                                         std::uint64_t epsilon) {
  Sum64 sum;
  I32 smallest = I32::all(row[0]);
  I32 largest = smallest;
  for_each_lanes(count, [&](std::size_t c, const auto& which) {
    const I32 x = which.load_from(row + c);
    sum.add(x);
    smallest = smallest.min(which.choose(smallest, x));
    largest = largest.max(which.choose(largest, x));
  });
  return portable::begin_normalisation(sum.total(), smallest.smallest(), largest.largest(), count,
                                       epsilon);
}

/// Writes the shortened differences from the mean to `normalised`; returns the sum of their
/// squares.
inline std::uint64_t take_differences(const portable::Normalisation& begun, const std::int32_t* row,
                                      std::size_t count, std::int32_t* normalised) {
  const I32 mean = I32::all(static_cast<std::int32_t>(begun.mean));
  const I32 half = I32::all(begun.down == 0 ? 0 : 1 << (begun.down - 1));
  const Shift down(begun.down);
  Sum64 squares;
  for_each_lanes(count, [&](std::size_t c, const auto& which) {
    const I32 centred = which.load_from(row + c) - mean;
    const I32 d = which.keep((centred + half).shift_right_signed(down));
    which.store_to(normalised + c, d);
    squares.add_squares(d);
  });
  return begun.least + static_cast<std::uint64_t>(squares.total());
}

inline void scale_differences(const portable::NormalisationScale& scale, std::size_t count,
                              std::int32_t* normalised) {
  const Factor factor(static_cast<std::int32_t>(scale.factor));
  const I64 rounding = I64::all(std::int64_t{1} << (scale.shift - 1));
  const auto scale_by = [&](const auto& narrow) {
    for_each_lanes(count, [&](std::size_t c, const auto& which) {
      const I32 d = which.load_from(normalised + c);
      which.store_to(normalised + c, narrow(I64::product(d, factor) + rounding));
    });
  };
  if (scale.shift <= 32) {
    scale_by(NarrowingShift(scale.shift));
  } else {
    const Shift rest(scale.shift - 32);
    scale_by([&](I64 product) { return product.upper_halves().shift_right_signed(rest); });
  }
}

inline void normalise(const std::int32_t* x, std::size_t rows, std::size_t count,
                      std::uint64_t epsilon, std::int32_t* normalised, std::size_t stride) {
  // Between its passes a row waits for divisions, so several rows are computed together.
  constexpr std::size_t kTogether = 4;
  const std::uint64_t root = portable::root_of_count(count);
  for (std::size_t first = 0; first < rows; first += kTogether) {
    const std::size_t together = rows - first < kTogether ? rows - first : kTogether;
    portable::Normalisation begun[kTogether];
    portable::NormalisationScale scales[kTogether];
    for (std::size_t i = 0; i < together; ++i) {
      begun[i] = begin_row(x + (first + i) * count, count, epsilon);
    }
    for (std::size_t i = 0; i < together; ++i) {
      if (begun[i].fits_32_bits()) {
        const std::uint64_t squares = take_differences(begun[i], x + (first + i) * count, count,
                                                       normalised + (first + i) * stride);
        scales[i] = portable::end_normalisation(squares, root);
      }
    }
    for (std::size_t i = 0; i < together; ++i) {
      std::int32_t* row = normalised + (first + i) * stride;
      if (begun[i].fits_32_bits()) {
        scale_differences(scales[i], count, row);
      } else {
        portable::normalise_row(x + (first + i) * count, count, epsilon, root, row);
      }
    }
  }
}

}  // namespace
}  // namespace bitlog2::runtime
