// What calibration does beyond the published system, part by part.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace bitlog2 {

/// The parts that calibration may add to RepQ-ViT. Without any of them, which is the recipe
/// `repq`, it is the published system, bit for bit; with all of them it is `best`.
struct Recipe {
  enum class GeluGrid : std::uint8_t {
    uniform,    ///< as published
    shift,      ///< a few negative codes, then 2^k and 1.5 * 2^k, times one scale
    code_book,  ///< 2^a_bits integers that fit a byte, found by Lloyd's algorithm
  };

  GeluGrid gelu_grid = GeluGrid::uniform;  ///< of fc2's input
  bool gptq = false;              ///< second-order weight rounding
  bool compensation = false;      ///< ridge correction of weights for their quantized input
  bool head_quantizers = false;   ///< q, k, v and the attention map: one quantizer per head
  bool head_transforms = false;   ///< q, k, v in a basis per head that balances their channels
  bool output_search = false;     ///< ranges and weight scales by the error of the output
  bool nearest_attention = false; ///< BitLog2 rounds to nearest instead of truncating
  bool fine_attention = false;    ///< BitLog2 has as many levels as a_bits above 4 can tell

  bool operator==(const Recipe&) const = default;

  bool is_repq() const { return *this == Recipe{}; }
};

/// "repq" or "best". Throws Error listing the choices for anything else.
Recipe find_recipe(std::string_view name);

}  // namespace bitlog2
