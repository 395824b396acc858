#include "model/names/position_resize.h"

#include <algorithm>
#include <cmath>

namespace bitlog2 {
namespace {

/// The cubic convolution kernel (Keys), |x| < 2.
double cubic(double x, double a) {
  x = std::fabs(x);
  return x <= 1  ? ((a + 2) * x - (a + 3)) * x * x + 1
         : x < 2 ? ((a * x - 5 * a) * x + 8 * a) * x - 4 * a
                 : 0;
}

/// The weights of the inputs from `first` on for one element of the result.
struct Taps {
  std::size_t first = 0;
  std::vector<double> weights;
};

/// torch's kernel has a = -0.75; inputs beyond the ends repeat the ends.
Taps plain_taps(double at, std::size_t from) {
  const double floor = std::floor(at);
  const auto last = static_cast<std::ptrdiff_t>(from) - 1;
  Taps taps = {0, std::vector<double>(from)};
  for (std::ptrdiff_t i = -1; i <= 2; ++i) {
    const std::ptrdiff_t place =
        std::clamp<std::ptrdiff_t>(static_cast<std::ptrdiff_t>(floor) + i, 0, last);
    taps.weights[static_cast<std::size_t>(place)] +=
        cubic(at - floor - static_cast<double>(i), -0.75);
  }
  return taps;
}

/// As Pillow: a = -0.5, the kernel is as wide as the inputs of one result, and is cut off at the
/// ends.
Taps antialiased_taps(std::size_t index, std::size_t from, std::size_t to) {
  const double scale = static_cast<double>(from) / static_cast<double>(to);
  const double width = std::max(scale, 1.0);
  const double centre = scale * (static_cast<double>(index) + 0.5);
  const double low = std::max(centre - 2 * width + 0.5, 0.0);
  const double high = std::min(centre + 2 * width + 0.5, static_cast<double>(from));
  Taps taps = {static_cast<std::size_t>(low), {}};
  double sum = 0;
  for (std::size_t place = taps.first; place < static_cast<std::size_t>(high); ++place) {
    taps.weights.push_back(cubic((static_cast<double>(place) - centre + 0.5) / width, -0.5));
    sum += taps.weights.back();
  }
  for (double& weight : taps.weights) {
    weight /= sum;
  }
  return taps;
}

Taps taps_of(std::size_t index, std::size_t from, std::size_t to, PositionResize rule) {
  const auto place = static_cast<double>(index);
  const auto source = static_cast<double>(from);
  const auto target = static_cast<double>(to);
  switch (rule) {
    case PositionResize::antialias:
      return antialiased_taps(index, from, to);
    case PositionResize::plain:
      return plain_taps((place + 0.5) * source / target - 0.5, from);
    case PositionResize::offset:
      return plain_taps((place + 0.5) * source / (target + 0.1) - 0.5, from);
    case PositionResize::align_corners:
      break;
  }
  return plain_taps(to > 1 ? place * (source - 1) / (target - 1) : 0.0, from);
}

}  // namespace

std::vector<float> resize_positions(std::span<const float> positions, std::size_t from,
                                    std::size_t to, PositionResize rule) {
  const std::size_t channels = positions.size() / (from * from);
  std::vector<Taps> taps;
  for (std::size_t i = 0; i < to; ++i) {
    taps.push_back(taps_of(i, from, to, rule));
  }
  std::vector<double> rows(from * to * channels);  // [from, to, channels]
  for (std::size_t y = 0; y < from; ++y) {
    for (std::size_t x = 0; x < to; ++x) {
      for (std::size_t i = 0; i < taps[x].weights.size(); ++i) {
        const std::size_t source = (y * from + taps[x].first + i) * channels;
        for (std::size_t c = 0; c < channels; ++c) {
          rows[(y * to + x) * channels + c] += taps[x].weights[i] * positions[source + c];
        }
      }
    }
  }
  std::vector<float> result(to * to * channels);
  std::vector<double> sums(to * channels);
  for (std::size_t y = 0; y < to; ++y) {
    std::ranges::fill(sums, 0.0);
    for (std::size_t i = 0; i < taps[y].weights.size(); ++i) {
      const double* row = rows.data() + (taps[y].first + i) * to * channels;
      for (std::size_t c = 0; c < sums.size(); ++c) {
        sums[c] += taps[y].weights[i] * row[c];
      }
    }
    std::ranges::transform(sums, result.begin() + static_cast<std::ptrdiff_t>(y * sums.size()),
                           [](double sum) { return static_cast<float>(sum); });
  }
  return result;
}

}  // namespace bitlog2
