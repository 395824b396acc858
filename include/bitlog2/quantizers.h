// The quantizers, alone: how a tensor's parameters are found and how it is quantized.
// Everything here works on plain spans and knows no model.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "bitlog2/parallel.h"

namespace bitlog2 {

// --- uniform ------------------------------------------------------------------------

/// Asymmetric uniform quantization: q = clamp(round(x / scale) + zero_point, 0, 2^bits - 1),
/// x^ = (q - zero_point) * scale, round half to even. One scale and zero point for a whole
/// tensor, or one per channel. Scale reparameterization leaves a fractional zero point.
struct UniformQuantizer {
  int bits = 8;
  std::vector<float> scale;       ///< > 0; one, or one per channel
  std::vector<float> zero_point;  ///< as many

  bool per_channel() const { return scale.size() > 1; }
};

/// What calibration tries: the quantiles p and 1 - p as the range, in this order.
inline constexpr std::array<double, 3> kRangeQuantiles = {0.999, 0.9999, 0.99999};

/// One scale and zero point for `values`: the quantile range with the lowest mean squared
/// error (SPEC 3). A constant is reproduced exactly, whatever `bits` is.
UniformQuantizer calibrate_uniform(std::span<const float> values, int bits, ThreadPool& pool);

/// One scale and zero point per row of `values` [rows, columns] (weights).
UniformQuantizer calibrate_rows(std::span<const float> values, std::size_t rows, int bits,
                                ThreadPool& pool);

/// One scale and zero point per column of `values` [rows, columns] (activations per channel).
UniformQuantizer calibrate_columns(std::span<const float> values, std::size_t columns, int bits,
                                   ThreadPool& pool);

/// values <- x^, with the quantizer's one scale.
void fake_quantize(const UniformQuantizer& quantizer, std::span<float> values);

/// values [rows, columns] <- x^ with a scale per row.
void fake_quantize_rows(const UniformQuantizer& quantizer, std::span<float> values);

/// values [rows, columns] <- x^ with a scale per column.
void fake_quantize_columns(const UniformQuantizer& quantizer, std::span<float> values);

/// values <- x^, with the scale and zero point of one channel (a head's, say).
void fake_quantize_channel(const UniformQuantizer& quantizer, std::size_t channel,
                           std::span<float> values);

/// The quantile of `values` as torch.quantile computes it: linear interpolation at rank
/// p * (n - 1), in float32; past torch's limit of 16 M values in float64, as numpy does, to
/// which the published code falls back. `values` is not empty.
float quantile(std::span<const float> values, double p);

// --- grids of integers --------------------------------------------------------------

/// Quantization to a few integers times one scale: x^ = levels[code] * scale. Levels ascend and
/// span at most kLargestLevelSpan, so that less the smallest they fit a byte.
struct GridQuantizer {
  float scale = 1.0F;                ///< > 0
  std::vector<std::int16_t> levels;  ///< at least two, ascending
  /// None: x goes to its nearest level. Else one for each level: the lowest round(x / scale) that
  /// goes to it (to the first: all below the second's), which a table of bytes can say.
  std::vector<std::int16_t> begins = {};
};

inline constexpr int kLargestLevelSpan = 255;

/// values <- x^.
void fake_quantize(const GridQuantizer& quantizer, std::span<float> values);

/// The level of every integer from the first level to the last, of a quantizer that has begins.
std::vector<std::int16_t> levels_of_steps(const GridQuantizer& quantizer);

/// The 2^bits integers, within `span` of each other (at least 2^bits - 1), and scale with a low
/// error: the best division of a histogram of `values` [rows, channels] among them, a channel's
/// squared errors weighted by channel_weights. Throws Error where values are infinite.
GridQuantizer calibrate_code_book(std::span<const float> values,
                                  std::span<const float> channel_weights, int bits,
                                  int span = kLargestLevelSpan);

/// These levels with the scale of the lowest error, weighted as above.
GridQuantizer calibrate_grid_scale(std::span<const float> values,
                                   std::span<const float> channel_weights,
                                   std::span<const std::int16_t> levels);

// --- attention maps -----------------------------------------------------------------

/// How an attention map is quantized, under its published name.
struct AttentionScheme {
  enum class Kind : std::uint8_t {
    sqrt2,   ///< powers of sqrt(2) below a scale (RepQ-ViT)
    single,  ///< BitLog2: the highest set bit of an integer
    half,    ///< BitLog2: that and the bit below it
  };
  std::string_view name;
  Kind kind = Kind::sqrt2;
  int levels = 16;  ///< at 4 bits, zero included; 17 does not fit a 4-bit code

  bool is_bitlog2() const { return kind != Kind::sqrt2; }

  /// BitLog2: probabilities become integers in [0, multiplier()).
  int multiplier() const;
};

/// All schemes, in the order in which they are listed to users.
inline constexpr std::array kAttentionSchemes = {
    AttentionScheme{"Sqrt2_16", AttentionScheme::Kind::sqrt2, 16},
    AttentionScheme{"Sqrt2_17", AttentionScheme::Kind::sqrt2, 17},
    AttentionScheme{"BitLog2_Single_16", AttentionScheme::Kind::single, 16},
    AttentionScheme{"BitLog2_Single_17", AttentionScheme::Kind::single, 17},
    AttentionScheme{"BitLog2_Half_16", AttentionScheme::Kind::half, 16},
    AttentionScheme{"BitLog2_Half_17", AttentionScheme::Kind::half, 17},
};

/// Throws Error listing the choices if there is no such scheme.
const AttentionScheme& find_attention_scheme(std::string_view name);

/// m^ of BitLog2: `m` cut down to its highest set bit (single), or to its highest two bits
/// (half). 0 stays 0.
std::uint32_t bitlog2_round(AttentionScheme::Kind kind, std::uint32_t m);

/// BitLog2 beyond the published schemes: probabilities become integers in [0, multiplier), of
/// which the highest bit and `fraction_bits` bits below it are kept.
struct BitLog2Grid {
  int multiplier = 256;     ///< at most 65536
  int fraction_bits = 1;    ///< 0 to 3
  bool to_nearest = false;  ///< half of the last kept bit is added before the others are dropped

  /// The largest integer that is kept: what becomes of multiplier - 1 without rounding.
  std::uint32_t largest() const;
};

/// m^: `m` < multiplier, cut down to its highest bits. 0 stays 0.
std::uint32_t bitlog2_round(const BitLog2Grid& grid, std::uint32_t m);

/// Quantizes probabilities (post-softmax, in [0, 1]).
///  - sqrt2: t = round(-2 log2(x / delta)); 0 if t >= levels, else
///    x^ = delta * 2^-ceil(t / 2) * (sqrt(2) if t is odd)
///  - BitLog2: x^ = bitlog2_round(min(floor(x * M), M - 1)) / delta
struct AttentionQuantizer {
  AttentionScheme scheme;
  int bits = 4;        ///< of sqrt2; BitLog2 is a 4-bit code whatever is asked for
  float delta = 1.0F;  ///< sqrt2: in (0, 1]; BitLog2: an integer in [1, M - 1]
  std::optional<BitLog2Grid> grid = {};  ///< of BitLog2, where it is not the scheme's own

  /// The scheme must be BitLog2.
  BitLog2Grid bitlog2_grid() const;
};

/// The published grid of a BitLog2 scheme.
BitLog2Grid bitlog2_grid(const AttentionScheme& scheme);

/// Finds delta on `probabilities`: for sqrt2 the quantile with the lowest mean squared
/// error, for BitLog2 the integer with the lowest, in closed form (the error is a quadratic
/// in 1 / delta, SPEC 3).
AttentionQuantizer calibrate_attention(const AttentionScheme& scheme, int bits,
                                       std::span<const float> probabilities, ThreadPool& pool,
                                       const std::optional<BitLog2Grid>& grid = {});

/// probabilities <- x^.
void fake_quantize(const AttentionQuantizer& quantizer, std::span<float> probabilities);

}  // namespace bitlog2
