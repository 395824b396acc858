// Every row filter that this CPU can run gives the same bytes.
#include "io/pixel_filter.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace bitlog2::resize {
namespace {

/// Outputs at random places, each from 1 to 13 inputs, with weights that are as large as 32-bit
/// sums allow; some are negative.
SideFilter draw_filter(std::size_t outputs, int width) {
  SideFilter filter;
  filter.stride = 16;
  filter.weights.resize(outputs * filter.stride);
  for (std::size_t x = 0; x < outputs; ++x) {
    const int count = *rc::gen::inRange(1, std::min(width, 13) + 1);
    filter.inputs.push_back({*rc::gen::inRange(0, width - count + 1), count});
    const int most = (1 << (kWeightBits + 1)) / count - 1;
    for (int i = 0; i < count; ++i) {
      filter.weights[x * filter.stride + static_cast<std::size_t>(i)] =
          *rc::gen::oneOf(rc::gen::inRange(-most, most + 1), rc::gen::inRange(-5000, 5001),
                          rc::gen::element(-most, most, 2047, 2048, -2048, -1));
    }
  }
  return filter;
}

RC_GTEST_PROP(RowFilters, AllGiveTheSameBytes, ()) {
  const int width = *rc::gen::inRange(1, 40);
  const auto outputs = *rc::gen::inRange<std::size_t>(1, 30);
  const SideFilter filter = draw_filter(outputs, width);
  std::vector<std::uint8_t> input(static_cast<std::size_t>(width) * kChannels + kSlack);
  for (std::uint8_t& byte : input) {
    byte =
        *rc::gen::oneOf(rc::gen::arbitrary<std::uint8_t>(), rc::gen::element<std::uint8_t>(0, 255));
  }
  std::vector<std::uint8_t> expected(outputs * kChannels);
  row_filters().back()(input.data(), filter, expected.data());
  for (const RowFilter row_filter : row_filters()) {
    std::vector<std::uint8_t> found(outputs * kChannels + 1, 77);
    row_filter(input.data(), filter, found.data());
    RC_ASSERT(found.back() == 77);
    found.pop_back();
    RC_ASSERT(found == expected);
  }
}

}  // namespace
}  // namespace bitlog2::resize
