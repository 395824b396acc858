// What the codes of an activation stand for in integers. A quantizer of the calibrated model
// becomes one of these; the operation that writes the codes and the one that reads them are
// both lowered from it.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "bitlog2/quantizers.h"

namespace bitlog2::integer {

/// Encode: clamp(round(x / scale) + zero_point, 0, qmax), then the table's entry for that; or,
/// where there are levels, the code of the nearest level.
/// Decode: (code - zero_point) * scale, or levels[code] * level_scale.
struct ActivationCodes {
  double scale = 1;
  double zero_point = 0;
  std::uint32_t qmax = 15;                ///< the largest code
  std::vector<std::int16_t> levels = {};  ///< empty, or one for each code
  double level_scale = 1;                 ///< of levels
  std::vector<std::uint8_t> table = {};   ///< empty, or a code for each code

  bool has_levels() const { return !levels.empty(); }

  /// What one step of a decoded integer is worth.
  double decoded_scale() const { return has_levels() ? level_scale : scale; }

  /// What the layer behind must still take from a decoded integer.
  double decoded_zero_point() const { return has_levels() ? 0.0 : zero_point; }

  /// The smallest and the largest value that a code stands for.
  double smallest() const;
  double largest() const;

  /// How many codes there are.
  std::size_t count() const;

  /// The code of a real value.
  std::uint8_t encode(double x) const;
};

/// `head` matters for q, k and v that have a quantizer per head.
ActivationCodes codes_of(const Quantizer& quantizer, std::size_t head = 0);

}  // namespace bitlog2::integer
