// The quantizers: how a tensor's parameters are found and how it is quantized. Everything here
// works on plain spans and knows no model.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "bitlog2/parallel.h"

#pragma GCC visibility push(default)
namespace bitlog2 {

// --- affine -------------------------------------------------------------------------

/// Affine (asymmetric uniform) quantization: q = clamp(round(x / scale) + zero_point, 0, qmax),
/// qmax = 2^bits - 1, x^ = (q - zero_point) * scale, round half to even. One scale and zero point
/// for a whole tensor, or one per channel. Scale reparameterization leaves a fractional zero
/// point.
struct Affine {
  int bits = 8;
  std::vector<float> scale;       ///< > 0; one, or one per channel
  std::vector<float> zero_point;  ///< as many
};

/// What calibration tries: the quantiles p and 1 - p as the range, in this order.
inline constexpr std::array<double, 3> kRangeQuantiles = {0.999, 0.9999, 0.99999};

/// One scale and zero point for `values`: the quantile range with the lowest mean squared error,
/// as RepQ-ViT chooses it. A constant is reproduced exactly, whatever `bits` is.
Affine calibrate_affine(std::span<const float> values, int bits, ThreadPool& pool);

/// One scale and zero point per row of `values` [rows, columns] (weights).
Affine calibrate_rows(std::span<const float> values, std::size_t rows, int bits, ThreadPool& pool);

/// One scale and zero point per column of `values` [rows, columns] (activations per channel).
Affine calibrate_columns(std::span<const float> values, std::size_t columns, int bits,
                         ThreadPool& pool);

/// values <- x^, by the scale and zero point of one channel.
void fake_quantize(const Affine& quantizer, std::span<float> values, std::size_t channel = 0);

/// values [rows, columns] <- x^ with a scale per row.
void fake_quantize_rows(const Affine& quantizer, std::span<float> values);

/// values [rows, columns] <- x^ with a scale per column.
void fake_quantize_columns(const Affine& quantizer, std::span<float> values);

/// The quantile of `values` as torch.quantile computes it: linear interpolation at rank
/// p * (n - 1), in float32; past torch's limit of 16 M values in float64, as numpy does, to
/// which the published code falls back. `values` is not empty.
float quantile(std::span<const float> values, double p);

// --- codebooks ----------------------------------------------------------------------

/// The largest distance of a codebook's levels: `level - levels.front()` fits in a uint8.
inline constexpr int kLargestLevelSpan = 255;

/// Quantization to a few integers times one scale: x^ = levels[code] * scale.
struct Codebook {
  float scale = 1.0F;                ///< > 0
  std::vector<std::int16_t> levels;  ///< at least two, ascending, within kLargestLevelSpan
  /// Empty: x goes to its nearest level. Otherwise: the lower bound of round(x / scale) for each
  /// level; what is below the second's goes to the first.
  std::vector<std::int16_t> begins = {};
};

/// values <- x^.
void fake_quantize(const Codebook& codebook, std::span<float> values);

/// The level of every integer from the first level to the last, of a codebook that has begins.
std::vector<std::int16_t> levels_of_steps(const Codebook& codebook);

/// 2^bits levels within `span` of each other (at least 2^bits - 1) and a scale, with a low error:
/// the best division of a histogram of `values` [rows, channels] among them, a channel's squared
/// errors weighted by channel_weights. Throws Error where values are infinite.
Codebook calibrate_codebook(std::span<const float> values, std::span<const float> channel_weights,
                            int bits, int span = kLargestLevelSpan);

/// These levels with the scale of the lowest error, weighted as above.
Codebook calibrate_codebook_scale(std::span<const float> values,
                                  std::span<const float> channel_weights,
                                  std::span<const std::int16_t> levels);

// --- attention maps -----------------------------------------------------------------

class AttentionMethod;  // quant/attention/scheme.h

/// How an attention map is quantized, under the name by which users ask for it.
struct AttentionScheme {
  std::string_view name;
  const AttentionMethod* method = nullptr;  ///< its arithmetic
  bool published = true;                    ///< one of those that published results are for
};

/// All schemes, in the order in which they are listed to users (quant/attention/scheme.cpp).
extern const std::span<const AttentionScheme> kAttentionSchemes;

/// Their names, separated by commas.
std::string attention_scheme_names();

/// Throws Error listing the choices if there is no such scheme.
const AttentionScheme& find_attention_scheme(std::string_view name);

/// What a recipe may change of BitLog2; other schemes have nothing of it.
struct AttentionOptions {
  bool to_nearest = false;      ///< rounds to the nearest level instead of down
  bool levels_by_bits = false;  ///< has the levels that `bits` above 4 can tell apart

  bool operator==(const AttentionOptions&) const = default;
};

/// Quantizes an attention map: probabilities (post-softmax), in [0, 1].
struct AttentionQuantizer {
  AttentionScheme scheme;
  int bits = 4;
  float delta = 1.0F;  ///< the scheme's parameter: what its levels are multiplied or divided by
  AttentionOptions options = {};
};

/// Finds delta on `probabilities`.
AttentionQuantizer calibrate_attention(const AttentionScheme& scheme, int bits,
                                       std::span<const float> probabilities, ThreadPool& pool,
                                       const AttentionOptions& options = {});

/// probabilities <- x^.
void fake_quantize(const AttentionQuantizer& quantizer, std::span<float> probabilities);

// --- any of them --------------------------------------------------------------------

/// One quantizer for all heads, or one per head.
using AttentionQuantizers = std::vector<AttentionQuantizer>;

using Quantizer = std::variant<Affine, Codebook, AttentionQuantizers>;

/// How many channels have parameters of their own; 1: all values share one set.
std::size_t channel_count(const Quantizer& quantizer);

/// values <- x^, by the parameters of one channel (a head, of what attention multiplies).
void fake_quantize(const Quantizer& quantizer, std::span<float> values, std::size_t channel = 0);

}  // namespace bitlog2
#pragma GCC visibility pop
