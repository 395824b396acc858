#include "model/names/position_resize.h"

#include <algorithm>
#include <cmath>

namespace bitlog2 {
namespace {

/// Of a table of relative position biases: for class token to patch, patch to class token, and the
/// class token to itself.
constexpr std::size_t kClassTokenRows = 3;

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

/// Linear between the two neighbours of `at`; beyond the ends, the ends.
Taps linear_taps(double at, std::size_t from) {
  at = std::clamp(at, 0.0, static_cast<double>(from - 1));
  const auto left = std::min(static_cast<std::size_t>(at), from - std::min<std::size_t>(from, 2));
  const double share = at - static_cast<double>(left);
  return from == 1 ? Taps{0, {1.0}} : Taps{left, {1 - share, share}};
}

/// The learned offsets 0, 1, ..., count of tokens, spread over a larger image: the gaps between
/// them grow by one ratio, so that the last of them is the image's last, `reach`. As BEiT's authors
/// and timm choose the ratio, between 1.01 and 1.5.
std::vector<double> spread_offsets(std::size_t count, double reach) {
  constexpr double kTolerance = 1e-6;
  double low = 1.01;
  double high = 1.5;
  double ratio = low;
  while (high - low > kTolerance) {
    ratio = (low + high) / 2;
    double sum = 0;
    double gap = 1;
    for (std::size_t i = 0; i < count; ++i, gap *= ratio) {
      sum += gap;
    }
    (sum > reach ? high : low) = ratio;
  }
  std::vector<double> offsets = {0};
  double gap = 1;
  for (std::size_t i = 0; i < count; ++i, gap *= ratio) {
    offsets.push_back(offsets.back() + gap);
  }
  return offsets;
}

/// Offset `index - (to - 1)` of a side of `to` tokens, between offsets that a side of `from`
/// learned.
Taps spread_taps(std::size_t index, std::size_t to, std::span<const double> offsets) {
  const double target = static_cast<double>(index) - static_cast<double>(to - 1);
  const std::size_t last = offsets.size() - 1;
  const double distance = std::min(std::fabs(target), offsets.back());
  const auto right =
      static_cast<std::size_t>(std::ranges::lower_bound(offsets, distance) - offsets.begin());
  const std::size_t left = right == 0 ? 0 : right - 1;
  const double share =
      right == left ? 0 : (distance - offsets[left]) / (offsets[right] - offsets[left]);
  const double place = static_cast<double>(left) + share;
  return linear_taps(static_cast<double>(last) + (target < 0 ? -place : place), 2 * last + 1);
}

/// values [from * from, channels], rows of a square, to [taps.size() * taps.size(), channels].
std::vector<float> interpolate(std::span<const float> values, std::size_t from,
                               const std::vector<Taps>& taps) {
  const std::size_t to = taps.size();
  const std::size_t channels = values.size() / (from * from);
  std::vector<double> rows(from * to * channels);  // [from, to, channels]
  for (std::size_t y = 0; y < from; ++y) {
    for (std::size_t x = 0; x < to; ++x) {
      for (std::size_t i = 0; i < taps[x].weights.size(); ++i) {
        const std::size_t source = (y * from + taps[x].first + i) * channels;
        for (std::size_t c = 0; c < channels; ++c) {
          rows[(y * to + x) * channels + c] += taps[x].weights[i] * values[source + c];
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

}  // namespace

std::vector<float> resize_positions(std::span<const float> positions, std::size_t from,
                                    std::size_t to, PositionResize rule) {
  std::vector<Taps> taps;
  for (std::size_t i = 0; i < to; ++i) {
    taps.push_back(taps_of(i, from, to, rule));
  }
  return interpolate(positions, from, taps);
}

std::size_t side_of_relative_positions(std::size_t rows) {
  const double offsets = static_cast<double>(rows) - static_cast<double>(kClassTokenRows);
  const auto side = static_cast<std::size_t>(std::lround(std::sqrt(std::max(offsets, 0.0))));
  return side % 2 == 1 && side * side + kClassTokenRows == rows ? (side + 1) / 2 : 0;
}

std::vector<float> resize_relative_positions(std::span<const float> table, std::size_t heads,
                                             std::size_t from, std::size_t to,
                                             PositionResize rule) {
  const std::size_t old_side = 2 * from - 1;
  const std::size_t new_side = 2 * to - 1;
  const std::vector<double> offsets = spread_offsets(from - 1, static_cast<double>(to - 1));
  std::vector<Taps> taps;
  for (std::size_t i = 0; i < new_side; ++i) {
    taps.push_back(
        rule == PositionResize::antialias
            ? spread_taps(i, to, offsets)
            : linear_taps((static_cast<double>(i) + 0.5) * static_cast<double>(old_side) /
                                  static_cast<double>(new_side) -
                              0.5,
                          old_side));
  }
  const std::size_t learned = old_side * old_side * heads;
  std::vector<float> result = interpolate(table.first(learned), old_side, taps);
  result.insert(result.end(), table.begin() + static_cast<std::ptrdiff_t>(learned), table.end());
  return result;
}

}  // namespace bitlog2
