// The quantizers: how their parameters are found on values, and how values are quantized.
// Everything here works on plain spans, without a model. x^ is the value after quantization.
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
/// for a whole tensor, or one per channel. After scale reparameterization the zero point need not
/// be whole.
struct Affine {
  int bits = 8;                   ///< 2 to 8
  std::vector<float> scale;       ///< > 0; one, or one per channel
  std::vector<float> zero_point;  ///< as many
};

/// The ranges that calibration tries, in this order: from the quantile 1 - p to the quantile p.
inline constexpr std::array<double, 3> kRangeQuantiles = {0.999, 0.9999, 0.99999};

/// One scale and zero point for `values`: the quantile range with the lowest mean squared error, as
/// RepQ-ViT chooses it. A constant is represented exactly with any `bits`.
Affine calibrate_affine(std::span<const float> values, int bits, ThreadPool& pool);

/// One scale and zero point per row of `values` [rows, columns] (weights).
Affine calibrate_rows(std::span<const float> values, std::size_t rows, int bits, ThreadPool& pool);

/// One scale and zero point per column of `values` [rows, columns] (activations per channel).
Affine calibrate_columns(std::span<const float> values, std::size_t columns, int bits,
                         ThreadPool& pool);

/// Replaces `values` by x^, with the scale and zero point of one channel.
void fake_quantize(const Affine& quantizer, std::span<float> values, std::size_t channel = 0);

/// Replaces values [rows, columns] by x^, with a scale per row.
void fake_quantize_rows(const Affine& quantizer, std::span<float> values);

/// Replaces values [rows, columns] by x^, with a scale per column.
void fake_quantize_columns(const Affine& quantizer, std::span<float> values);

/// The quantile of `values` as torch.quantile computes it: linear interpolation at rank
/// p * (n - 1), in float32. Beyond torch's limit of 16 M values it is computed in float64, as by
/// numpy, which the published code uses there. `values` is not empty; p is from 0 to 1.
float quantile(std::span<const float> values, double p);

// --- codebooks ----------------------------------------------------------------------

/// The largest distance of a codebook's levels: `level - levels.front()` fits in a uint8.
inline constexpr int kLargestLevelSpan = 255;

/// Quantization to a few integer levels times one scale: x^ = levels[code] * scale.
struct Codebook {
  float scale = 1.0F;                ///< > 0
  std::vector<std::int16_t> levels;  ///< at least two, ascending, within kLargestLevelSpan
  /// Empty: x is rounded to its nearest level. Otherwise: for each level the lowest round(x /
  /// scale) that is rounded to it; lower values are rounded to the first level.
  std::vector<std::int16_t> begins = {};
};

/// Replaces `values` by x^.
void fake_quantize(const Codebook& codebook, std::span<float> values);

/// The level to which each integer from the first level to the last is rounded, for a codebook with
/// begins.
std::vector<std::int16_t> levels_of_steps(const Codebook& codebook);

/// Finds a codebook of 2^bits levels and a scale with a low squared error on `values` [rows,
/// channels], where a channel's errors are weighted by channel_weights. The levels are the optimal
/// division of a histogram (one-dimensional k-means by dynamic programming); they span at most
/// `span`, which is 2^bits - 1 or more. Throws Error if a value is infinite.
Codebook calibrate_codebook(std::span<const float> values, std::span<const float> channel_weights,
                            int bits, int span = kLargestLevelSpan);

/// A codebook of these levels with the scale of the lowest error, weighted as above.
Codebook calibrate_codebook_scale(std::span<const float> values,
                                  std::span<const float> channel_weights,
                                  std::span<const std::int16_t> levels);

// --- attention maps -----------------------------------------------------------------

class AttentionMethod;  // quant/attention/scheme.h

/// A way to quantize an attention map, under the name that users give.
struct AttentionScheme {
  std::string_view name;
  const AttentionMethod* method = nullptr;  ///< its arithmetic
  bool published = true;                    ///< whether it is one of the published system's
};

/// All schemes, in the order in which they are listed to users (quant/attention/scheme.cpp).
extern const std::span<const AttentionScheme> kAttentionSchemes;

/// Their names, separated by commas.
std::string attention_scheme_names();

/// Throws Error listing the choices if there is no such scheme.
const AttentionScheme& find_attention_scheme(std::string_view name);

/// Options of BitLog2 that a recipe may set; other schemes ignore them.
struct AttentionOptions {
  bool to_nearest = false;      ///< rounds to the nearest level instead of down
  bool levels_by_bits = false;  ///< more levels where `bits` is above 4
  /// Half alone, with its published levels: a row is divided by its largest probability before its
  /// codes, and by the sum of their values behind them.
  bool normalizes_last = false;

  bool operator==(const AttentionOptions&) const = default;
};

/// The quantizer of an attention map, whose values are probabilities, in [0, 1].
struct AttentionQuantizer {
  AttentionScheme scheme;
  int bits = 4;
  float delta = 1.0F;  ///< the scheme's parameter: what its levels are multiplied or divided by
  AttentionOptions options = {};
};

/// Finds delta, the one with a low mean squared error on `probabilities`; with normalizes_last it
/// is 1.
AttentionQuantizer calibrate_attention(const AttentionScheme& scheme, int bits,
                                       std::span<const float> probabilities, ThreadPool& pool,
                                       const AttentionOptions& options = {});

/// Replaces `probabilities`, a row of the map, by x^.
void fake_quantize(const AttentionQuantizer& quantizer, std::span<float> probabilities);

// --- any of them --------------------------------------------------------------------

/// One quantizer for all heads, or one per head.
using AttentionQuantizers = std::vector<AttentionQuantizer>;

using Quantizer = std::variant<Affine, Codebook, AttentionQuantizers>;

/// How many channels have parameters of their own; 1: all values share one set.
std::size_t channel_count(const Quantizer& quantizer);

/// Replaces `values` by x^, with the parameters of one channel (for the operands of attention: of
/// one head).
void fake_quantize(const Quantizer& quantizer, std::span<float> values, std::size_t channel = 0);

}  // namespace bitlog2
#pragma GCC visibility pop
