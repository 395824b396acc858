// Codebooks: quantization to their levels, and how levels and scale are found.
#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <numeric>

#include "base/elementary.h"
#include "base/target_clones.h"
#include "bitlog2/error.h"
#include "bitlog2/quantizers.h"
#include "quant/codebook_fit.h"
#include "quant/histogram.h"

namespace bitlog2 {
namespace {

using quant::Histogram;

constexpr double kLargestLevel = 32000;

Histogram histogram_of(std::span<const float> values, std::span<const float> channel_weights) {
  ThreadPool serial(1);
  Histogram histogram;
  histogram.add(values, channel_weights, serial);
  return histogram;
}

/// The weighted squared error of the nearest of `points`, ascending.
double error_of(const Histogram& histogram, std::span<const double> points) {
  double error = 0;
  std::size_t nearest = 0;
  for (std::size_t bin = 0; bin < histogram.bins(); ++bin) {
    const double value = histogram.centre(bin);
    while (nearest + 1 < points.size() && value - points[nearest] > points[nearest + 1] - value) {
      ++nearest;
    }
    error += histogram.weight(bin) * (value - points[nearest]) * (value - points[nearest]);
  }
  return error;
}

std::vector<double> scaled(std::span<const std::int16_t> levels, double scale) {
  std::vector<double> points;
  points.reserve(levels.size());
  for (const std::int16_t level : levels) {
    points.push_back(level * scale);
  }
  return points;
}

/// The value below which a share of the total weight lies.
double quantile_of(const Histogram& histogram, double share) {
  const double total = histogram.total();
  double sum = 0;
  for (std::size_t bin = 0; bin < histogram.bins(); ++bin) {
    sum += histogram.weight(bin);
    if (sum > share * total) {
      return histogram.centre(bin);
    }
  }
  return histogram.centre(histogram.bins() - 1);
}

/// A histogram rounded to whole steps from `first` on. Values beyond the ends count at the ends.
class Steps {
 public:
  Steps(const Histogram& histogram, double unit, int first, std::size_t count)
      : first_(first), weights_(count + 1), sums_(count + 1), squares_(count + 1) {
    for (std::size_t bin = 0; bin < histogram.bins(); ++bin) {
      const double value = histogram.centre(bin) / unit;  // in steps
      const double step =
          std::clamp(std::nearbyint(value) - first, 0.0, static_cast<double>(count) - 1.0);
      const std::size_t at = static_cast<std::size_t>(step) + 1;
      weights_[at] += histogram.weight(bin);
      sums_[at] += histogram.weight(bin) * value;
      squares_[at] += histogram.weight(bin) * value * value;
    }
    std::partial_sum(weights_.begin(), weights_.end(), weights_.begin());
    std::partial_sum(sums_.begin(), sums_.end(), sums_.begin());
    std::partial_sum(squares_.begin(), squares_.end(), squares_.begin());
  }

  std::size_t count() const { return weights_.size() - 1; }

  /// The squared error of [begin, end) as their mean, in squared steps.
  double error(std::size_t begin, std::size_t end) const {
    const double weight = weights_[end] - weights_[begin];
    const double sum = sums_[end] - sums_[begin];
    return squares_[end] - squares_[begin] - (weight > 0 ? sum * sum / weight : 0.0);
  }

  std::int16_t number(std::size_t step) const {
    return static_cast<std::int16_t>(first_ + static_cast<int>(step));
  }

  /// The number of the step of [begin, end) that is closest to their mean.
  std::int16_t level(std::size_t begin, std::size_t end) const {
    const double weight = weights_[end] - weights_[begin];
    if (weight <= 0) {
      return number(begin);
    }
    const double mean = std::nearbyint((sums_[end] - sums_[begin]) / weight);
    return static_cast<std::int16_t>(
        std::clamp(mean, static_cast<double>(number(begin)), static_cast<double>(number(end - 1))));
  }

  /// The squared error of [begin, end) as `level`, in squared steps.
  double error_as(double level, std::size_t begin, std::size_t end) const {
    return squares_[end] - squares_[begin] - 2 * level * (sums_[end] - sums_[begin]) +
           level * level * (weights_[end] - weights_[begin]);
  }

 private:
  // [i]: of all steps before the i-th
  int first_;
  std::vector<double> weights_;
  std::vector<double> sums_;
  std::vector<double> squares_;
};

/// Optimal one-dimensional k-means by divide-and-conquer dynamic programming: divides steps among
/// levels with the lowest squared error, one level after the other. The last level of the best
/// division begins later if more of the first steps are divided, so all divisions are found by
/// halving.
class Division {
 public:
  Division(const Steps& steps, std::size_t levels)
      : steps_(steps), errors_(steps.count() + 1), begins_(levels) {
    for (std::size_t end = 1; end <= steps.count(); ++end) {
      errors_[end] = steps.error(0, end);
    }
    begins_[0].resize(steps.count() + 1);
    for (std::size_t level = 1; level < levels; ++level) {
      before_ = errors_;
      begins_[level].resize(steps.count() + 1);
      // Every level has at least one step.
      extend(level, level + 1, steps.count(), level, steps.count() - 1);
    }
  }

  Codebook codebook(double scale) const {
    Codebook result = {static_cast<float>(scale), std::vector<std::int16_t>(begins_.size()),
                       std::vector<std::int16_t>(begins_.size())};
    for_each_level([&](std::size_t level, std::size_t begin, std::size_t end) {
      result.levels[level] = steps_.level(begin, end);
      result.begins[level] = steps_.number(begin);
    });
    return result;
  }

  /// Of levels that are whole, in squared steps.
  double error() const {
    double sum = 0;
    for_each_level([&](std::size_t, std::size_t begin, std::size_t end) {
      sum += steps_.error_as(steps_.level(begin, end), begin, end);
    });
    return sum;
  }

 private:
  template <class Use>
  void for_each_level(Use use) const {
    std::size_t end = steps_.count();
    for (std::size_t level = begins_.size(); level-- > 0;) {
      const std::size_t begin = begins_[level][end];
      use(level, begin, end);
      end = begin;
    }
  }

  /// Where `level` begins if the levels up to it have the first `end` steps, for all of [first_end,
  /// last_end], which is known to be in [first_begin, last_begin].
  void extend(std::size_t level, std::size_t first_end, std::size_t last_end,
              std::size_t first_begin, std::size_t last_begin) {
    if (first_end > last_end) {
      return;
    }
    const std::size_t end = (first_end + last_end) / 2;
    std::size_t best = first_begin;
    double lowest = std::numeric_limits<double>::infinity();
    for (std::size_t begin = first_begin; begin <= std::min(last_begin, end - 1); ++begin) {
      const double error = before_[begin] + steps_.error(begin, end);
      if (error < lowest) {
        lowest = error;
        best = begin;
      }
    }
    errors_[end] = lowest;
    begins_[level][end] = best;
    extend(level, first_end, end - 1, first_begin, best);
    extend(level, end + 1, last_end, best, last_begin);
  }

  const Steps& steps_;
  std::vector<double> before_;  // of the first steps, divided among the levels so far
  std::vector<double> errors_;
  std::vector<std::vector<std::size_t>> begins_;
};

std::vector<std::int16_t> consecutive(double first, std::size_t count) {
  std::vector<std::int16_t> levels(count);
  std::iota(levels.begin(), levels.end(), static_cast<std::int16_t>(first));
  return levels;
}

/// A codebook that represents `constant` exactly.
Codebook constant_codebook(float constant, std::size_t count) {
  const float scale = constant == 0.0F ? 1.0F : std::fabs(constant);
  const auto levels = consecutive(std::copysign(constant == 0.0F ? 0.0 : 1.0, constant), count);
  return {scale, levels, levels};
}

/// values <- found[rint(value * inverse) - first], the index within [0, last - first].
BITLOG2_TARGET_CLONES void look_up(const float* found, float inverse, float first, float last,
                                   std::span<float> values) {
  for (float& value : values) {
    const float step = std::min(std::max(std::rint(value * inverse), first), last);
    value = found[static_cast<std::int32_t>(step - first)];
  }
}

void fake_quantize_by_steps(const Codebook& codebook, std::span<float> values) {
  std::vector<float> found;  // of every step from the first level on
  for (const std::int16_t level : levels_of_steps(codebook)) {
    found.push_back(static_cast<float>(level) * codebook.scale);
  }
  look_up(found.data(), 1.0F / codebook.scale, codebook.levels.front(), codebook.levels.back(),
          values);
}

}  // namespace

std::vector<std::int16_t> levels_of_steps(const Codebook& codebook) {
  std::vector<std::int16_t> levels;
  std::size_t code = 0;
  for (int step = codebook.levels.front(); step <= codebook.levels.back(); ++step) {
    code += code + 1 < codebook.begins.size() && step >= codebook.begins[code + 1] ? 1 : 0;
    levels.push_back(codebook.levels[code]);
  }
  return levels;
}

void fake_quantize(const Codebook& codebook, std::span<float> values) {
  if (!codebook.begins.empty()) {
    return fake_quantize_by_steps(codebook, values);
  }
  // Cells of half a level: which of a cell's values round up is decided by one comparison.
  const float inverse = 1.0F / codebook.scale;
  const int first = codebook.levels.front();
  const int last = codebook.levels.back();
  std::vector<float> edges;  // middle between neighbours, in levels
  for (std::size_t i = 1; i < codebook.levels.size(); ++i) {
    edges.push_back(static_cast<float>(codebook.levels[i - 1] + codebook.levels[i]) / 2);
  }
  std::vector<std::uint8_t> code_of(static_cast<std::size_t>(last - first) + 1);  // of a floor
  for (std::size_t i = 0; i < code_of.size(); ++i) {
    const float floor = static_cast<float>(first) + static_cast<float>(i);
    code_of[i] = static_cast<std::uint8_t>(std::upper_bound(edges.begin(), edges.end(), floor) -
                                           edges.begin());
  }
  edges.push_back(std::numeric_limits<float>::infinity());
  for (float& value : values) {
    const float level =
        std::clamp(value * inverse, static_cast<float>(first), static_cast<float>(last));
    std::size_t code = code_of[static_cast<std::size_t>(level - static_cast<float>(first))];
    code += level > edges[code] ? 1 : 0;
    value = static_cast<float>(codebook.levels[code]) * codebook.scale;
  }
}

Codebook quant::fit_codebook(const Histogram& histogram, int bits, int span) {
  const std::size_t count = std::size_t{1} << bits;
  if (!std::isfinite(histogram.low()) || !std::isfinite(histogram.high()) ||
      !std::isfinite(histogram.total())) {
    throw Error("activations or weights are no finite numbers; the checkpoint may be damaged");
  }
  if (histogram.low() == histogram.high()) {
    return constant_codebook(histogram.low(), count);
  }
  // The error may be larger with levels that reach all outliers than with outliers cut off.
  constexpr std::array kCutShares = {0.0, 1e-6, 1e-5, 3e-5, 1e-4, 3e-4, 1e-3};
  Codebook best;
  double lowest = std::numeric_limits<double>::infinity();
  for (const double cut : kCutShares) {
    const double first = quantile_of(histogram, cut);
    const double last = quantile_of(histogram, 1 - cut);
    // Levels are 16-bit integers, however far from 0 the values lie.
    const double least_scale = std::max(std::fabs(first), std::fabs(last)) / kLargestLevel;
    const double scale = std::max((last - first) / span, std::max(least_scale, 1e-30));
    const Steps steps(histogram, scale, static_cast<int>(std::nearbyint(first / scale)),
                      static_cast<std::size_t>(span) + 1);
    const Division division(steps, count);
    const double error = division.error() * scale * scale;
    if (error < lowest) {
      lowest = error;
      best = division.codebook(scale);
    }
  }
  return best;
}

Codebook quant::fit_codebook_scale(const Histogram& histogram,
                                   std::span<const std::int16_t> levels) {
  constexpr int kSteps = 160;
  const double high = std::max(histogram.centre(histogram.bins() - 1), 1e-9);
  Codebook best = {1.0F, {levels.begin(), levels.end()}};
  double lowest = std::numeric_limits<double>::infinity();
  for (int i = 0; i < kSteps; ++i) {
    const double scale = high / levels.back() * elementary::exp2(-i / 40.0);
    const double error = error_of(histogram, scaled(levels, scale));
    if (error < lowest) {
      lowest = error;
      best.scale = static_cast<float>(scale);
    }
  }
  return best;
}

Codebook calibrate_codebook(std::span<const float> values, std::span<const float> channel_weights,
                            int bits, int span) {
  return quant::fit_codebook(histogram_of(values, channel_weights), bits, span);
}

Codebook calibrate_codebook_scale(std::span<const float> values,
                                  std::span<const float> channel_weights,
                                  std::span<const std::int16_t> levels) {
  return quant::fit_codebook_scale(histogram_of(values, channel_weights), levels);
}

}  // namespace bitlog2
