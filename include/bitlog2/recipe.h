// What calibration does beyond the published system, part by part.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

namespace bitlog2 {

/// The parts that calibration may add to RepQ-ViT. With none of them, which is the recipe
/// `repq`, it is the published system, bit for bit; `best` has those that pay together.
struct Recipe {
  enum class GeluScheme : std::uint8_t {
    uniform,    ///< as published
    shift,      ///< a few negative codes, then 2^k and 1.5 * 2^k, times one scale
    code_book,  ///< 2^a_bits integers that fit a byte, fitted to what calibration sees
  };

  GeluScheme gelu_scheme = GeluScheme::uniform;  ///< of fc2's input
  bool code_books = false;                       ///< of other layers' inputs, and of q, k and v
  bool gptq = false;                             ///< second-order weight rounding
  bool compensation = false;                     ///< weights corrected for their quantized input
  bool stream_target = false;       ///< compensation also undoes some of the stream's errors
  bool head_quantizers = false;     ///< q, k, v and the attention map: a quantizer per head
  bool head_transforms = false;     ///< q, k, v in a basis per head that balances their channels
  bool residual_transform = false;  ///< the residual stream in a basis that spreads its channels
  bool exact_pixels = false;        ///< pixels are codes; normalisation goes into the weights
  bool output_search = false;       ///< ranges and weight scales by the error of the output
  bool nearest_attention = false;   ///< BitLog2 rounds to nearest instead of truncating
  bool fine_attention = false;      ///< BitLog2 has the levels that a_bits above 4 can tell apart

  bool operator==(const Recipe&) const = default;

  bool is_repq() const { return *this == Recipe{}; }
};

/// How one on-or-off part is called: on the command line ("--weight-rounding gptq") and in a
/// quantized file's metadata ("weight-rounding": "gptq").
struct RecipePart {
  std::string_view name;
  std::string_view off;
  std::string_view on;
  bool Recipe::*member;
  bool in_best;
  std::string_view help;
};

inline constexpr std::array kRecipeParts = {
    RecipePart{"activation-codes", "uniform", "code_book", &Recipe::code_books, true,
               "What codes of other layers' inputs, q, k and v stand for, up to 7 bits: evenly "
               "spaced values, or a code book's"},
    RecipePart{"weight-rounding", "nearest", "gptq", &Recipe::gptq, true,
               "How weights find their codes"},
    RecipePart{"compensation", "none", "ridge", &Recipe::compensation, true,
               "Correct weights for the quantization of their input"},
    RecipePart{
        "compensation-target", "layer", "stream", &Recipe::stream_target, true,
        "What corrected weights aim at: the layer's output, or also a correct residual stream"},
    RecipePart{"attention-quantizers", "tensor", "head", &Recipe::head_quantizers, false,
               "q, k, v and the attention map: one quantizer for all heads, or one each"},
    RecipePart{"head-basis", "own", "balanced", &Recipe::head_transforms, true,
               "q, k, v as they are, or in a basis that balances their channels"},
    RecipePart{"residual-basis", "own", "spread", &Recipe::residual_transform, true,
               "The residual stream as it is, or in a basis that spreads its channels"},
    RecipePart{"pixel-codes", "calibrated", "exact", &Recipe::exact_pixels, true,
               "Codes of pixels: calibrated on the normalised ones, or the pixels themselves"},
    RecipePart{"scale-search", "tensor", "output", &Recipe::output_search, true,
               "Whose error chooses scales: the tensor's own, or the layer's output"},
    RecipePart{"attention-rounding", "truncate", "nearest", &Recipe::nearest_attention, false,
               "How BitLog2 drops bits"},
    RecipePart{"attention-levels", "published", "by_bits", &Recipe::fine_attention, true,
               "BitLog2's levels: the scheme's 16 or 17, or more where a_bits is above 4"},
};

/// The part besides those: GELU's, with its choices in the order of Recipe::GeluScheme.
inline constexpr std::string_view kGeluSchemePart = "gelu-quant-scheme";
inline constexpr std::array<std::string_view, 3> kGeluSchemes = {"Uniform", "Shift", "CodeBook"};

/// "repq" or "best". Throws Error listing the choices for anything else.
Recipe find_recipe(std::string_view name);

/// Sets one part by name. Throws Error listing the choices if there is no such part or value.
void set_recipe_part(Recipe& recipe, std::string_view part, std::string_view value);

/// {part: value}, all of them.
std::string recipe_to_json(const Recipe& recipe);

/// The reverse; parts that are not named are off. `where` is for messages.
Recipe parse_recipe(std::string_view json_text, const std::string& where);

}  // namespace bitlog2
