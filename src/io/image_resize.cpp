// Pillow's resize, the centre crop and normalisation, to the last bit. The runtime's ResizedSide
// has Pillow's arithmetic.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cassert>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "bitlog2/error.h"
#include "bitlog2/image.h"
#include "integer/runtime/resized_side.h"
#include "io/native_binary64.h"
#include "io/pixel_filter.h"

namespace bitlog2 {
namespace {

using resize::kChannels;
using resize::SideFilter;

using Side = runtime::ResizedSide<resize::NativeBinary64>;

static_assert(runtime::kWeightBits == resize::kWeightBits);
static_assert(static_cast<int>(Filter::nearest) == static_cast<int>(runtime::Filter::nearest) &&
              static_cast<int>(Filter::box) == static_cast<int>(runtime::Filter::box) &&
              static_cast<int>(Filter::bilinear) == static_cast<int>(runtime::Filter::bilinear) &&
              static_cast<int>(Filter::hamming) == static_cast<int>(runtime::Filter::hamming) &&
              static_cast<int>(Filter::lanczos) == static_cast<int>(runtime::Filter::lanczos));
static_assert(static_cast<int>(ResizeMode::squash) ==
              static_cast<int>(runtime::ResizeMode::squash));
static_assert(static_cast<int>(CropRounding::transformers) ==
              static_cast<int>(runtime::CropRounding::transformers));

runtime::ImageCrop image_crop(const Preprocessing& preprocessing) {
  return {static_cast<std::uint32_t>(preprocessing.resize),
          static_cast<std::uint32_t>(preprocessing.crop),
          static_cast<runtime::Filter>(preprocessing.filter),
          static_cast<runtime::ResizeMode>(preprocessing.resize_mode),
          static_cast<runtime::CropRounding>(preprocessing.crop_rounding)};
}

/// The filter of the outputs that a side shows.
SideFilter side_filter(Side side) {
  SideFilter filter;
  filter.stride = (side.most_inputs() + 3) / 4 * 4;  // as row filters want it
  filter.weights.resize(side.shown() * filter.stride);
  std::vector<resize::NativeBinary64> exact(side.most_inputs());
  for (std::size_t output = 0; output < side.shown(); ++output) {
    const runtime::InputRun inputs =
        side.next(exact.data(), filter.weights.data() + output * filter.stride);
    filter.inputs.push_back(
        {static_cast<std::int64_t>(inputs.first), static_cast<int>(inputs.count)});
  }
  return filter;
}

/// The part of the resized `image` that both sides show, which may not be empty.
RgbImage resize_region(const RgbImage& image, const Side& columns, const Side& rows) {
  const SideFilter horizontal = side_filter(columns);
  const SideFilter vertical = side_filter(rows);

  const auto first_row = static_cast<std::size_t>(vertical.inputs.front().first);
  const auto end_row = static_cast<std::size_t>(vertical.inputs.back().first) +
                       static_cast<std::size_t>(vertical.inputs.back().count);
  const std::size_t input_stride = static_cast<std::size_t>(image.width) * kChannels;
  const std::size_t stride = columns.shown() * kChannels;
  std::vector<std::uint8_t> narrowed((end_row - first_row) * stride);
  const resize::RowFilter filter_row = resize::row_filters().front();
  std::vector<std::uint8_t> padded;  // of the last rows, behind which there is too little
  for (std::size_t row = first_row; row < end_row; ++row) {
    std::span<const std::uint8_t> input = std::span(image.pixels).subspan(row * input_stride);
    if (input.size() < input_stride + resize::kSlack) {
      padded.assign(input.begin(), input.end());
      padded.resize(input.size() + resize::kSlack);
      input = padded;
    }
    filter_row(input.data(), horizontal, narrowed.data() + (row - first_row) * stride);
  }

  RgbImage region{static_cast<int>(columns.shown()), static_cast<int>(rows.shown()), {}};
  region.pixels.resize(rows.shown() * stride);
  std::vector<std::int32_t> sums(stride);
  for (std::size_t row = 0; row < vertical.inputs.size(); ++row) {
    const std::size_t input_row = static_cast<std::size_t>(vertical.inputs[row].first) - first_row;
    resize::filter_rows(narrowed.data() + input_row * stride, vertical.weights_of(row), sums,
                        region.pixels.data() + row * stride);
  }
  return region;
}

RgbImage place(const RgbImage& image, std::size_t left, std::size_t top, int side) {
  const auto size = static_cast<std::size_t>(side);
  RgbImage canvas{side, side, std::vector<std::uint8_t>(size * size * kChannels)};
  const std::size_t stride = static_cast<std::size_t>(image.width) * kChannels;
  for (std::size_t row = 0; row < static_cast<std::size_t>(image.height); ++row) {
    const std::size_t target = ((top + row) * size + left) * kChannels;
    std::copy_n(image.pixels.data() + row * stride, stride, canvas.pixels.data() + target);
  }
  return canvas;
}

}  // namespace

Filter find_filter(std::string_view name) {
  const auto* const found = std::ranges::find(kFilterNames, name);
  if (found == kFilterNames.end()) {
    throw Error(
        fmt::format("unknown filter '{}'; choose one of {}", name, fmt::join(kFilterNames, ", ")));
  }
  return static_cast<Filter>(found - kFilterNames.begin());
}

Filter filter_from_pillow(int resample) {
  constexpr std::array<Filter, 6> kNumbers = {Filter::nearest, Filter::lanczos, Filter::bilinear,
                                              Filter::bicubic, Filter::box,     Filter::hamming};
  if (resample < 0 || resample >= static_cast<int>(kNumbers.size())) {
    throw Error(fmt::format(
        "unknown resample {}; Pillow's are 0 nearest, 1 lanczos, 2 bilinear, 3 bicubic, 4 box and "
        "5 hamming",
        resample));
  }
  return kNumbers[static_cast<std::size_t>(resample)];
}

RgbImage resize_image(const RgbImage& image, int width, int height, Filter filter) {
  const auto side = [filter](int input, int output) {
    const auto pixels = static_cast<std::uint32_t>(output);
    return Side(static_cast<std::size_t>(input), pixels,
                {pixels, pixels, static_cast<runtime::Filter>(filter)});
  };
  return resize_region(image, side(image.width, width), side(image.height, height));
}

RgbImage resize_and_crop(const RgbImage& image, const Preprocessing& preprocessing) {
  const runtime::ImageCrop how = image_crop(preprocessing);
  const auto width = static_cast<std::size_t>(image.width);
  const auto height = static_cast<std::size_t>(image.height);
  const std::size_t shorter = std::min(width, height);
  const Side columns(width, how.resized(width, shorter), how);
  const Side rows(height, how.resized(height, shorter), how);
  RgbImage region = resize_region(image, columns, rows);
  if (region.width == preprocessing.crop && region.height == preprocessing.crop) {
    return region;
  }
  return place(region, columns.padding(), rows.padding(), preprocessing.crop);
}

void normalise(const RgbImage& crop, const Preprocessing& preprocessing, std::span<float> planes) {
  const std::size_t area = crop.pixels.size() / kChannels;
  assert(planes.size() == crop.pixels.size());
  for (std::size_t channel = 0; channel < kChannels; ++channel) {
    std::array<float, 256> normalised{};
    for (std::size_t value = 0; value < normalised.size(); ++value) {
      normalised[value] = (static_cast<float>(value) / 255.0F - preprocessing.mean[channel]) /
                          preprocessing.std[channel];
    }
    for (std::size_t i = 0; i < area; ++i) {
      planes[channel * area + i] = normalised[crop.pixels[i * kChannels + channel]];
    }
  }
}

}  // namespace bitlog2
