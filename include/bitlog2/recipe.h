// Recipes: what calibration does beyond the published system, part by part.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

#pragma GCC visibility push(default)
namespace bitlog2 {

/// The parts that calibration may add to RepQ-ViT. The recipe `repq` has none of them: it is the
/// published system's calibration. `best` has the parts that pay together in seconds, and
/// `reconstruct` has these and reconstruction, which takes minutes. A field is named after its
/// option and the value that sets it: --weight-rounding gptq. docs/accuracy.md has the equations.
struct Recipe {
  enum class GeluScheme : std::uint8_t {
    uniform,   ///< as published
    shift,     ///< a few negative levels, then 2^k and 1.5 * 2^k, times one scale
    codebook,  ///< 2^a_bits integer levels within a byte, fitted to the calibration images
  };

  GeluScheme gelu_quant_scheme = GeluScheme::uniform;  ///< of fc2's input
  bool activation_codes_codebook = false;  ///< codebooks for other layers' inputs, q, k and v
  bool weight_rounding_gptq = false;       ///< second-order: by the error of the layer's output
  bool compensation_ridge = false;         ///< weights corrected for their quantized input
  bool compensation_target_stream =
      false;                               ///< compensation undoes some of the stream's errors, too
  bool attention_quantizers_head = false;  ///< q, k, v and the attention map: one per head
  bool head_equalization_balanced = false;    ///< q, k, v in a basis that balances their channels
  bool residual_rotation_hadamard = false;    ///< the residual stream rotated by a random matrix
  bool pixel_codes_exact = false;             ///< pixels are codes; normalisation is in the weights
  bool scale_search_output = false;           ///< ranges by search, for the error of the output
  bool attention_rounding_nearest = false;    ///< BitLog2 rounds to nearest instead of down
  bool attention_levels_by_bits = false;      ///< BitLog2 has more levels where a_bits is above 4
  bool attention_normalization_last = false;  ///< BitLog2 divides by a row's sum behind its codes
  /// Steps by which the calibrated network learns the float one's outputs, by gradients; 0: none.
  std::uint32_t reconstruction_steps = 0;

  bool operator==(const Recipe&) const = default;

  /// Whether it is the published system, reconstruction aside.
  bool is_repq() const {
    Recipe repq;
    repq.reconstruction_steps = reconstruction_steps;
    return *this == repq;
  }
};

/// The names of a part and of its two values.
struct RecipePartNames {
  std::string_view name;
  std::string_view off;
  std::string_view on;
};

/// A part that is on or off, with its names on the command line: "--weight-rounding gptq".
struct RecipePart {
  std::string_view name;
  std::string_view off;
  std::string_view on;
  bool Recipe::*member;
  bool in_best;
  std::string_view help;
  RecipePartNames first_names = {};  ///< its first names, if it was renamed; else empty

  /// Its names in a quantized file's metadata, which never change.
  RecipePartNames names_in_files() const {
    return first_names.name.empty() ? RecipePartNames{name, off, on} : first_names;
  }
};

inline constexpr std::array kRecipeParts = {
    RecipePart{"activation-codes",
               "uniform",
               "codebook",
               &Recipe::activation_codes_codebook,
               true,
               "What codes of other layers' inputs, q, k and v stand for, up to 7 bits: evenly "
               "spaced values, or a codebook's",
               {"activation-codes", "uniform", "code_book"}},
    RecipePart{"weight-rounding", "nearest", "gptq", &Recipe::weight_rounding_gptq, true,
               "How weights find their codes"},
    RecipePart{"compensation", "none", "ridge", &Recipe::compensation_ridge, true,
               "Correct weights for the quantization of their input"},
    RecipePart{
        "compensation-target", "layer", "stream", &Recipe::compensation_target_stream, true,
        "What corrected weights aim at: the layer's output, or also a correct residual stream"},
    RecipePart{"attention-quantizers", "tensor", "head", &Recipe::attention_quantizers_head, false,
               "q, k, v and the attention map: one quantizer for all heads, or one each"},
    RecipePart{"head-equalization",
               "none",
               "balanced",
               &Recipe::head_equalization_balanced,
               true,
               "q, k, v as they are, or in an invertible basis for each head that balances their "
               "channels",
               {"head-basis", "own", "balanced"}},
    RecipePart{"residual-rotation",
               "none",
               "hadamard",
               &Recipe::residual_rotation_hadamard,
               true,
               "The residual stream as it is, or rotated by a randomized Hadamard matrix",
               {"residual-basis", "own", "spread"}},
    RecipePart{"pixel-codes", "calibrated", "exact", &Recipe::pixel_codes_exact, true,
               "Codes of pixels: calibrated on the normalised ones, or the pixels themselves"},
    RecipePart{"scale-search", "tensor", "output", &Recipe::scale_search_output, true,
               "How scales are chosen: of three quantiles by the tensor's own error, or by search "
               "for the error of the layer's output (q, k, v: for their own)"},
    RecipePart{"attention-rounding", "truncate", "nearest", &Recipe::attention_rounding_nearest,
               false, "How BitLog2 drops bits"},
    RecipePart{"attention-levels", "published", "by_bits", &Recipe::attention_levels_by_bits, true,
               "BitLog2's levels: the scheme's 16 or 17, or more where a_bits is above 4"},
    RecipePart{"attention-normalization", "first", "last", &Recipe::attention_normalization_last,
               true,
               "When BitLog2_Half divides a row of the attention map by its sum, at up to 4 bits: "
               "before its codes, or after the product with v"},
};

/// The part for GELU's outputs, with its choices in the order of Recipe::GeluScheme.
inline constexpr std::string_view kGeluSchemePart = "gelu-quant-scheme";
inline constexpr std::array<std::string_view, 3> kGeluSchemes = {"Uniform", "Shift", "Codebook"};
inline constexpr std::array<std::string_view, 3> kGeluSchemesInFiles = {"Uniform", "Shift",
                                                                        "CodeBook"};

/// The part whose value is a number.
inline constexpr std::string_view kReconstructionPart = "reconstruct";
inline constexpr std::uint32_t kMaxReconstructionSteps = 1'000'000;

inline constexpr std::array<std::string_view, 3> kRecipeNames = {"repq", "best", "reconstruct"};

/// One of kRecipeNames. Throws Error listing the choices for anything else.
Recipe find_recipe(std::string_view name);

/// Sets one part, by its names on the command line or in files. Throws Error listing the choices if
/// there is no such part or value.
void set_recipe_part(Recipe& recipe, std::string_view part, std::string_view value);

/// All parts as JSON text, {part: value}, by their names in files.
std::string recipe_to_json(const Recipe& recipe);

/// The recipe of such a text; parts that are not named are off. `where` is for messages. Throws
/// Error for anything else.
Recipe parse_recipe(std::string_view json_text, const std::string& where);

}  // namespace bitlog2
#pragma GCC visibility pop
