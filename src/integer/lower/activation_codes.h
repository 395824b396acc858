// The codes of an activation in the integer engine. Each activation quantizer of the calibrated
// model becomes one ActivationCodes; the operation that writes the codes and the one that reads
// them are both lowered from it.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "bitlog2/quantizers.h"

namespace bitlog2::integer {

/// Encode: clamp(round(x / scale) + zero_point, 0, qmax), then the entry of `table` for it, if
/// there is a table; or, with levels, the code of the nearest level. Decode: (code - zero_point) *
/// scale, or levels[code] * level_scale.
struct ActivationCodes {
  double scale = 1;
  double zero_point = 0;
  std::uint32_t qmax = 15;                ///< the largest code
  std::vector<std::int16_t> levels = {};  ///< empty, or one for each code
  double level_scale = 1;                 ///< of levels
  std::vector<std::uint8_t> table = {};   ///< empty, or the final code for each rounded value

  bool has_levels() const { return !levels.empty(); }

  /// The real value of one unit of a decoded integer.
  double decoded_scale() const { return has_levels() ? level_scale : scale; }

  /// The zero point that the next layer must subtract from a decoded integer.
  double decoded_zero_point() const { return has_levels() ? 0.0 : zero_point; }

  /// The smallest and the largest value that a code stands for.
  double smallest() const;
  double largest() const;

  /// How many codes there are.
  std::size_t count() const;

  /// The code of the real value x.
  std::uint8_t encode(double x) const;
};

/// The codes of a quantizer; `head` chooses among quantizers per head (q, k, v).
ActivationCodes codes_of(const Quantizer& quantizer, std::size_t head = 0);

}  // namespace bitlog2::integer
