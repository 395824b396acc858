#include "quant/loops.h"

#include <array>

#include "io/target_clones.h"

namespace bitlog2::quant {
namespace {

constexpr std::size_t kLanes = 8;  // partial sums; fixed, so that the order of adding is

template <class Step>
void apply_each(const Step step, std::span<float> values) {
  for (float& value : values) {
    value = step(value);
  }
}

template <class Step>
double sum_squared_errors(const Step step, std::span<const float> values) {
  std::array<double, kLanes> lanes = {};
  const std::size_t whole = values.size() / kLanes * kLanes;
  for (std::size_t i = 0; i < whole; i += kLanes) {
    for (std::size_t lane = 0; lane < kLanes; ++lane) {
      const double error = values[i + lane] - step(values[i + lane]);
      lanes[lane] += error * error;
    }
  }
  for (std::size_t i = whole; i < values.size(); ++i) {
    const double error = values[i] - step(values[i]);
    lanes[i - whole] += error * error;
  }
  double sum = 0;
  for (const double lane : lanes) {
    sum += lane;
  }
  return sum;
}

}  // namespace

BITLOG2_TARGET_CLONES void apply(const UniformStep& step, std::span<float> values) {
  apply_each(step, values);
}

BITLOG2_TARGET_CLONES void apply(const Sqrt2Step& step, std::span<float> values) {
  apply_each(step, values);
}

BITLOG2_TARGET_CLONES void apply(const BitLog2Step& step, std::span<float> values) {
  apply_each(step, values);
}

BITLOG2_TARGET_CLONES void apply_columns(std::span<const float> scales,
                                         std::span<const float> zero_points, float top,
                                         std::span<float> values) {
  const std::size_t columns = scales.size();
  for (std::size_t start = 0; start + columns <= values.size(); start += columns) {
    for (std::size_t c = 0; c < columns; ++c) {
      const UniformStep step = {scales[c], zero_points[c], top};
      values[start + c] = step(values[start + c]);
    }
  }
}

BITLOG2_TARGET_CLONES double squared_error(const UniformStep& step, std::span<const float> values) {
  return sum_squared_errors(step, values);
}

BITLOG2_TARGET_CLONES double squared_error(const Sqrt2Step& step, std::span<const float> values) {
  return sum_squared_errors(step, values);
}

BITLOG2_TARGET_CLONES BitLog2Sums bitlog2_sums(const BitLog2Step& step,
                                               std::span<const float> values) {
  BitLog2Sums sums;
  for (const float value : values) {
    const float level = step.level(value);
    sums.levels_squared += static_cast<double>(level) * level;
    sums.value_times_level += static_cast<double>(value) * level;
    sums.largest_level = std::max(sums.largest_level, level);
  }
  return sums;
}

}  // namespace bitlog2::quant
