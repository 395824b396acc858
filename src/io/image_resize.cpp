// Pillow's bicubic resize, torchvision's centre crop and normalisation, to the last bit.
// Nothing here may reorder Pillow's arithmetic: a crop's bytes are part of the accuracy.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cassert>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "bitlog2/error.h"
#include "bitlog2/image.h"
#include "io/pixel_filter.h"

namespace bitlog2 {
namespace {

using resize::kChannels;
using resize::kWeightBits;
using resize::Run;
using resize::SideFilter;

constexpr double kBicubicSupport = 2.0;

/// Keys' cubic with a = -0.5, in the order of operations that Pillow has.
double bicubic(double x) {
  constexpr double kA = -0.5;
  x = std::abs(x);
  if (x < 1.0) {
    return ((kA + 2.0) * x - (kA + 3.0)) * x * x + 1.0;
  }
  if (x < 2.0) {
    return (((x - 5.0) * x + 8.0) * x - 4.0) * kA;
  }
  return 0.0;
}

std::int32_t fixed_point(double weight) {
  const double scaled = weight * (1 << kWeightBits);
  return static_cast<std::int32_t>(weight < 0.0 ? scaled - 0.5 : scaled + 0.5);
}

/// The inputs within `support` of `center`, both in input pixels.
Run inputs_around(double center, double support, int input_size) {
  // NOLINTBEGIN(bugprone-incorrect-roundings): Pillow's rounding, below zero too
  const int first = std::max(static_cast<int>(center - support + 0.5), 0);
  const int end = std::min(static_cast<int>(center + support + 0.5), input_size);
  // NOLINTEND(bugprone-incorrect-roundings)
  return {first, end - first};
}

/// The filter of `outputs` when a side of `input_size` becomes `output_size`.
SideFilter bicubic_filter(int input_size, std::int64_t output_size, const Run& outputs) {
  const double scale = static_cast<double>(input_size) / static_cast<double>(output_size);
  const double stretch = std::max(scale, 1.0);
  const double inverse_stretch = 1.0 / stretch;
  const double support = kBicubicSupport * stretch;
  const auto output_count = static_cast<std::size_t>(outputs.count);

  SideFilter filter;
  // A multiple of 4, as row filters want it.
  filter.stride = (static_cast<std::size_t>(std::ceil(support)) * 2 + 1 + 3) / 4 * 4;
  filter.weights.resize(output_count * filter.stride);
  std::vector<double> weights;
  for (std::size_t output = 0; output < output_count; ++output) {
    const double position = static_cast<double>(outputs.first) + static_cast<double>(output);
    const double center = (position + 0.5) * scale;
    const Run inputs = inputs_around(center, support, input_size);
    weights.clear();
    double sum = 0.0;
    for (int i = 0; i < inputs.count; ++i) {
      const double distance = static_cast<double>(inputs.first + i) - center + 0.5;
      weights.push_back(bicubic(distance * inverse_stretch));
      sum += weights.back();
    }
    std::transform(weights.begin(), weights.end(), filter.weights.data() + output * filter.stride,
                   [sum](double weight) { return fixed_point(weight / sum); });
    filter.inputs.push_back(inputs);
  }
  return filter;
}

/// The part of `image` resized to width x height that lies in `columns` x `rows`, which may
/// not be empty.
RgbImage resize_region(const RgbImage& image, std::int64_t width, std::int64_t height,
                       const Run& columns, const Run& rows) {
  const SideFilter horizontal = bicubic_filter(image.width, width, columns);
  const SideFilter vertical = bicubic_filter(image.height, height, rows);

  const auto first_row = static_cast<std::size_t>(vertical.inputs.front().first);
  const auto end_row = static_cast<std::size_t>(vertical.inputs.back().first) +
                       static_cast<std::size_t>(vertical.inputs.back().count);
  const std::size_t input_stride = static_cast<std::size_t>(image.width) * kChannels;
  const std::size_t stride = static_cast<std::size_t>(columns.count) * kChannels;
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

  RgbImage region{columns.count, rows.count, {}};
  region.pixels.resize(static_cast<std::size_t>(rows.count) * stride);
  std::vector<std::int32_t> sums(stride);
  for (std::size_t row = 0; row < vertical.inputs.size(); ++row) {
    const std::size_t input_row = static_cast<std::size_t>(vertical.inputs[row].first) - first_row;
    resize::filter_rows(narrowed.data() + input_row * stride, vertical.weights_of(row), sums,
                        region.pixels.data() + row * stride);
  }
  return region;
}

/// One side's centre crop: the part of the image that it shows, and the zeros before it.
struct CentreCrop {
  Run shown;
  int padding = 0;
};

CentreCrop centre_crop(std::int64_t size, int crop) {
  if (size < crop) {
    const int shown = static_cast<int>(size);
    return {{0, shown}, (crop - shown) / 2};
  }
  // Python's round((size - crop) / 2.0): halves go to the even neighbour.
  const std::int64_t excess = size - crop;
  const std::int64_t floor = excess / 2;
  return {{floor + (excess % 2) * (floor % 2), crop}, 0};
}

RgbImage place(const RgbImage& image, int left, int top, int side) {
  const auto size = static_cast<std::size_t>(side);
  RgbImage canvas{side, side, std::vector<std::uint8_t>(size * size * kChannels)};
  const std::size_t stride = static_cast<std::size_t>(image.width) * kChannels;
  for (std::size_t row = 0; row < static_cast<std::size_t>(image.height); ++row) {
    const std::size_t target =
        ((static_cast<std::size_t>(top) + row) * size + static_cast<std::size_t>(left)) * kChannels;
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

RgbImage resize_bicubic(const RgbImage& image, int width, int height) {
  return resize_region(image, width, height, {0, width}, {0, height});
}

RgbImage resize_and_crop(const RgbImage& image, const Preprocessing& preprocessing) {
  const std::int64_t shorter = std::min(image.width, image.height);
  const std::int64_t width = std::int64_t{preprocessing.resize} * image.width / shorter;
  const std::int64_t height = std::int64_t{preprocessing.resize} * image.height / shorter;
  const CentreCrop columns = centre_crop(width, preprocessing.crop);
  const CentreCrop rows = centre_crop(height, preprocessing.crop);
  RgbImage region = resize_region(image, width, height, columns.shown, rows.shown);
  if (region.width == preprocessing.crop && region.height == preprocessing.crop) {
    return region;
  }
  return place(region, columns.padding, rows.padding, preprocessing.crop);
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
