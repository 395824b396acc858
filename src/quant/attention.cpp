// Attention-map quantization: RepQ-ViT's log-sqrt(2) grid and BitLog2.
#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include "bitlog2/error.h"
#include "bitlog2/quantizers.h"
#include "quant/loops.h"
#include "quant/steps.h"

namespace bitlog2 {
namespace {

quant::Sqrt2Step sqrt2_step(const AttentionScheme& scheme, int bits, float delta) {
  const std::int32_t codes = 1 << bits;
  return {delta, codes, scheme.levels == 16 ? codes - 2 : codes - 1};
}

quant::BitLog2Step bitlog2_step(const BitLog2Grid& grid, float delta) {
  return {delta, grid.multiplier, grid.fraction_bits, grid.to_nearest,
          static_cast<float>(grid.largest())};
}

float calibrate_sqrt2(const AttentionScheme& scheme, int bits, std::span<const float> probabilities,
                      ThreadPool& pool) {
  float best = *std::max_element(probabilities.begin(), probabilities.end());
  double lowest = std::numeric_limits<double>::infinity();
  for (const double p : kRangeQuantiles) {
    const float delta = quantile(probabilities, p);
    if (!(delta > std::numeric_limits<float>::min())) {
      continue;  // nearly everything is zero
    }
    const auto step = sqrt2_step(scheme, bits, delta);
    const double error = quant::sum_over_chunks(
        probabilities, pool,
        [&](std::span<const float> chunk) { return quant::squared_error(step, chunk); });
    if (error < lowest) {
      lowest = error;
      best = delta;
    }
  }
  return best > 0.0F ? best : 1.0F;
}

float calibrate_bitlog2(const BitLog2Grid& grid, std::span<const float> probabilities,
                        ThreadPool& pool) {
  const auto step = bitlog2_step(grid, 1.0F);
  std::vector<quant::BitLog2Sums> parts(probabilities.size() / quant::kChunk + 1);
  pool.parallel_for(probabilities.size(), quant::kChunk, [&](std::size_t begin, std::size_t end) {
    parts[begin / quant::kChunk] =
        quant::bitlog2_sums(step, probabilities.subspan(begin, end - begin));
  });
  quant::BitLog2Sums sums;
  for (const quant::BitLog2Sums& part : parts) {
    sums.levels_squared += part.levels_squared;
    sums.value_times_level += part.value_times_level;
    sums.largest_level = std::max(sums.largest_level, part.largest_level);
  }
  const double smallest = std::max(1.0F, sums.largest_level);
  const double largest = grid.multiplier - 1;
  if (sums.levels_squared == 0) {
    return static_cast<float>(largest);
  }
  // sum (x - m/d)^2 = const - 2 (sum x m) / d + (sum m^2) / d^2, lowest at
  // 1/d = (sum x m) / (sum m^2); of the integers the best is one of its neighbours.
  const double optimum = sums.levels_squared / sums.value_times_level;
  const double below = std::clamp(std::floor(optimum), smallest, largest);
  const double above = std::clamp(std::ceil(optimum), smallest, largest);
  const auto error = [&](double delta) {
    return (sums.levels_squared / delta - 2 * sums.value_times_level) / delta;
  };
  return static_cast<float>(error(below) <= error(above) ? below : above);
}

}  // namespace

int AttentionScheme::multiplier() const {
  // single: one level per bit of m, and zero; half: two per bit but the lowest, and zero,
  // of which the 17th level is the first of the next bit's two
  return kind == Kind::single ? 1 << (levels - 1) : levels == 16 ? 256 : 384;
}

const AttentionScheme& find_attention_scheme(std::string_view name) {
  std::string choices;
  for (const AttentionScheme& scheme : kAttentionSchemes) {
    if (scheme.name == name) {
      return scheme;
    }
    choices += fmt::format("{}{}", choices.empty() ? "" : ", ", scheme.name);
  }
  throw Error(fmt::format("unknown attention scheme '{}'; choose one of {}", name, choices));
}

std::uint32_t bitlog2_round(AttentionScheme::Kind kind, std::uint32_t m) {
  const std::uint32_t highest = std::bit_floor(m);
  return kind == AttentionScheme::Kind::half ? m & (highest | highest >> 1) : highest;
}

std::uint32_t BitLog2Grid::largest() const {
  BitLog2Grid truncating = *this;
  truncating.to_nearest = false;
  return bitlog2_round(truncating, static_cast<std::uint32_t>(multiplier) - 1U);
}

std::uint32_t bitlog2_round(const BitLog2Grid& grid, std::uint32_t m) {
  const int dropped = std::max(static_cast<int>(std::bit_width(m)) - 1 - grid.fraction_bits, 0);
  if (!grid.to_nearest || dropped == 0) {
    return m >> dropped << dropped;
  }
  return std::min((m + (1U << (dropped - 1))) >> dropped << dropped, grid.largest());
}

BitLog2Grid bitlog2_grid(const AttentionScheme& scheme) {
  return {scheme.multiplier(), scheme.kind == AttentionScheme::Kind::half ? 1 : 0, false};
}

BitLog2Grid AttentionQuantizer::bitlog2_grid() const {
  return grid ? *grid : bitlog2::bitlog2_grid(scheme);
}

AttentionQuantizer calibrate_attention(const AttentionScheme& scheme, int bits,
                                       std::span<const float> probabilities, ThreadPool& pool,
                                       const std::optional<BitLog2Grid>& grid) {
  AttentionQuantizer quantizer;
  quantizer.scheme = scheme;
  quantizer.bits = bits;
  quantizer.grid = grid;
  quantizer.delta = scheme.is_bitlog2()
                        ? calibrate_bitlog2(quantizer.bitlog2_grid(), probabilities, pool)
                        : calibrate_sqrt2(scheme, bits, probabilities, pool);
  return quantizer;
}

void fake_quantize(const AttentionQuantizer& quantizer, std::span<float> probabilities) {
  if (quantizer.scheme.is_bitlog2()) {
    quant::apply(bitlog2_step(quantizer.bitlog2_grid(), quantizer.delta), probabilities);
  } else {
    quant::apply(sqrt2_step(quantizer.scheme, quantizer.bits, quantizer.delta), probabilities);
  }
}

}  // namespace bitlog2
