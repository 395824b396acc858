#include "calibrate/input_quantizers.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

#include "bitlog2/error.h"
#include "calibrate/norm_coordinates.h"
#include "calibrate/transforms/pixel_folding.h"
#include "quant/affine.h"
#include "quant/affine_search.h"
#include "quant/codebook_fit.h"
#include "quant/histogram.h"
#include "quant/range_search.h"

namespace bitlog2::calibration {
namespace {

using quant::Range;

/// The half range, in standard deviations, of evenly spaced codes, from kMinBits to kMaxBits: about
/// where their squared error is lowest for a normal distribution, above 5 bits a little wider,
/// since the tails that cost most there are heavier.
constexpr std::array kReach = {2.2, 2.2, 2.7, 3.0, 3.6, 3.9, 4.2};

/// GELU's outputs as sums of at most two shifts: its short negative part, and its long tail.
std::vector<std::int16_t> shift_levels(int bits) {
  switch (bits) {
    case 2:
      return {-1, 0, 4, 16};
    case 3:
      return {-2, 0, 2, 4, 8, 16, 32, 64};
    default:  // more bits do not add codes
      return {-3, -2, -1, 0, 1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64};
  }
}

/// The squared norm of each input channel's weights.
std::vector<float> channel_weights(const Linear& layer) {
  std::vector<float> weights(layer.in_features);
  for (std::size_t i = 0; i < layer.weight.size(); ++i) {
    weights[i % layer.in_features] += layer.weight[i] * layer.weight[i];
  }
  return weights;
}

/// Calls `see` with every part of x.
template <class See>
void for_each_part(const Sequence& x, See see) {
  for (std::size_t i = 0; i < x.chunks(); ++i) {
    see(x.chunk(i).values());
  }
}

/// Gives all of x to a search in as many passes as it needs.
template <class Search>
Search search_all(Search search, const Sequence& x, ThreadPool& pool) {
  do {
    for_each_part(x, [&](std::span<const float> values) { search.add(values, pool); });
  } while (search.next_pass());
  return search;
}

std::vector<Spread> spreads_of_channels(const LayerInput& in) {
  SpreadSums sums(in.x.channels());
  for_each_part(in.x, [&](std::span<const float> values) { sums.add(values, in.pool); });
  return sums.spreads();
}

quant::Histogram histogram_of(const LayerInput& in) {
  const std::vector<float> weights = channel_weights(in.layer);
  quant::Histogram histogram;
  for_each_part(in.x,
                [&](std::span<const float> values) { histogram.add(values, weights, in.pool); });
  if (!std::isfinite(histogram.total())) {
    throw Error(
        fmt::format("{}: the weights are too large; the checkpoint may be damaged", in.layer.name));
  }
  return histogram;
}

Quantizer exact_pixels(const LayerInput&) {
  return pixel_quantizer();
}

Quantizer shift_codebook(const LayerInput& in) {
  return quant::fit_codebook_scale(histogram_of(in), shift_levels(in.bits()));
}

Quantizer own_codebook(const LayerInput& in) {
  return quant::fit_codebook(histogram_of(in), in.bits());
}

/// One codebook suits all channels once they have mean 0 and the same deviation.
Quantizer standardized_codebook(const LayerInput& in) {
  standardize(*in.norm, in.layer, spreads_of_channels(in));
  return own_codebook(in);
}

/// Gives every channel the coordinate in which its range is that of the one quantizer.
Quantizer one_quantizer_for(const LayerInput& in, std::vector<Range> ranges) {
  const float qmax = quant::qmax_of(in.bits());
  const float zero = std::floor(qmax / 2);
  double mean = 0;
  for (Range& range : ranges) {
    if (range.low == range.high) {
      range.low -= 0.5F * qmax;
      range.high = range.low + qmax;
    }
    mean += (range.high - range.low) / qmax;
  }
  const auto scale = static_cast<float>(mean / static_cast<double>(ranges.size()));
  std::vector<Coordinate> coordinates;
  for (const Range& range : ranges) {
    const float ratio = (range.high - range.low) / qmax / scale;
    coordinates.push_back({range.low + zero * scale * ratio, ratio});
  }
  change_coordinates(*in.norm, in.layer, coordinates);
  return Affine{in.bits(), {scale}, {zero}};
}

Quantizer searched_channels(const LayerInput& in) {
  quant::ColumnRangeSearch search(in.x.rows(), in.x.channels());
  for_each_part(in.x, [&](std::span<const float> values) { search.add(values, in.pool); });
  return one_quantizer_for(in, search.ranges(in.bits(), in.pool));
}

/// The head's input has too few rows to search for ranges: they are as many standard deviations as
/// suit a normal distribution.
Quantizer normal_channels(const LayerInput& in) {
  const double reach = kReach.at(static_cast<std::size_t>(in.bits() - kMinBits));
  std::vector<Range> ranges;
  for (const Spread& spread : spreads_of_channels(in)) {
    ranges.push_back({static_cast<float>(spread.mean - reach * spread.deviation),
                      static_cast<float>(spread.mean + reach * spread.deviation)});
  }
  return one_quantizer_for(in, std::move(ranges));
}

/// As in RepQ-ViT: quantile ranges per channel, then scale reparameterization.
Quantizer reparameterized_channels(const LayerInput& in) {
  return reparameterize(*in.norm, in.layer, find_channel_ranges(in.x, in.bits(), in.pool));
}

Quantizer searched_range(const LayerInput& in) {
  const std::vector<float> weights = channel_weights(in.layer);
  quant::RangeSearch search(in.x.size(), weights);
  for_each_part(in.x, [&](std::span<const float> values) { search.add(values); });
  return quant::affine_of(search.range(in.bits()), in.bits());
}

Quantizer quantile_range(const LayerInput& in) {
  return find_range(in.x, in.bits(), in.pool);
}

bool is_output(const LayerInput& in) {
  return in.layer.role == Role::head || in.layer.role == Role::projection;
}

bool has_codebook(const LayerInput& in) {  // the head's input has too few rows, and GELU's outputs
                                           // have an option of their own
  return in.settings.has_codebooks() && !is_output(in) && in.layer.role != Role::fc2;
}

struct Choice {
  bool (*applies)(const LayerInput&);
  Quantizer (*find)(const LayerInput&);
};

/// The first choice that applies is taken.
constexpr Choice kChoices[] = {
    {[](const LayerInput& in) {
       return in.layer.role == Role::patch_embed && in.settings.recipe.pixel_codes_exact;
     },
     exact_pixels},
    {[](const LayerInput& in) { return in.layer.role == Role::patch_embed; }, quantile_range},
    {[](const LayerInput& in) {
       return in.layer.role == Role::fc2 &&
              in.settings.recipe.gelu_quant_scheme == Recipe::GeluScheme::shift;
     },
     shift_codebook},
    {[](const LayerInput& in) {
       return in.layer.role == Role::fc2 &&
              in.settings.recipe.gelu_quant_scheme == Recipe::GeluScheme::codebook;
     },
     own_codebook},
    {[](const LayerInput& in) { return has_codebook(in) && in.norm != nullptr; },
     standardized_codebook},
    {has_codebook, own_codebook},
    {[](const LayerInput& in) {
       return is_output(in) && in.norm != nullptr && in.settings.recipe.scale_search_output;
     },
     normal_channels},
    {[](const LayerInput& in) {
       return follows_norm(in.layer.role) && in.settings.recipe.scale_search_output;
     },
     searched_channels},
    {[](const LayerInput& in) { return follows_norm(in.layer.role); }, reparameterized_channels},
    {[](const LayerInput& in) { return in.settings.recipe.scale_search_output; }, searched_range},
    {[](const LayerInput&) { return true; }, quantile_range},
};

}  // namespace

Quantizer find_input_quantizer(const LayerInput& input) {
  const auto* const choice = std::ranges::find_if(
      kChoices, [&](const Choice& candidate) { return candidate.applies(input); });
  return choice->find(input);
}

Affine find_channel_ranges(const Sequence& x, int bits, ThreadPool& pool) {
  return search_all(quant::ColumnSearch(x.rows(), x.channels(), bits), x, pool).found();
}

Affine find_range(const Sequence& x, int bits, ThreadPool& pool) {
  return search_all(quant::AffineSearch(x.size(), bits), x, pool).found();
}

}  // namespace bitlog2::calibration
