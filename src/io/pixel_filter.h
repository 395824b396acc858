// The resize of one side as weighted sums of pixels in fixed point, and the loops that take most of
// its time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace bitlog2::resize {

inline constexpr std::size_t kChannels = 3;
inline constexpr int kWeightBits = 22;  // 32 bits minus 8 for a pixel and 2 for sign and overshoot

/// Bytes that a RowFilter may read behind the last input pixel.
inline constexpr std::size_t kSlack = 16;

/// A run of positions along one side of an image.
struct Run {
  std::int64_t first = 0;
  int count = 0;
};

/// Which inputs each output of a run sums, and their weights times 2^kWeightBits. The inputs'
/// weights add up to that, and their magnitudes to less than twice as much.
struct SideFilter {
  std::size_t stride = 0;             ///< from one output's weights to the next's: a multiple of 4
  std::vector<Run> inputs;            ///< of each output
  std::vector<std::int32_t> weights;  ///< [outputs, stride], 0 behind an output's inputs

  std::span<const std::int32_t> weights_of(std::size_t output) const {
    return {weights.data() + output * stride, static_cast<std::size_t>(inputs[output].count)};
  }
};

/// A row of RGB pixels, filtered: each channel's sum, rounded and cut to a byte.
using RowFilter = void (*)(const std::uint8_t* input, const SideFilter& filter,
                           std::uint8_t* output);

/// The row filters that this CPU can run, best first; all give the same bytes.
std::span<const RowFilter> row_filters();

/// One output row from as many input rows as there are `weights`, one behind the other; `sums` is
/// scratch of a row's size.
void filter_rows(const std::uint8_t* input, std::span<const std::int32_t> weights,
                 std::span<std::int32_t> sums, std::uint8_t* output);

}  // namespace bitlog2::resize
