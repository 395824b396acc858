#include "calibrate/reconstruction/adam.h"

#include <cmath>
#include <limits>

#include "base/target_clones.h"

namespace bitlog2::calibration {
namespace {

// The share of the running means that is kept in a step.
constexpr float kKeepFirst = 0.9F;
constexpr float kKeepSecond = 0.99F;
constexpr std::size_t kGrain = 1 << 14;

/// The factors that are the same for all values in a step.
struct Step {
  float rate;
  float first_share;  // sum of the running means' weights so far
  float second_share;
  float relative;  // 1 or 0
};

BITLOG2_TARGET_CLONES void take_step(const Step& step, const float* gradient, float* first,
                                     float* second, float* values, std::size_t count) {
  for (std::size_t i = 0; i < count; ++i) {
    first[i] = kKeepFirst * first[i] + (1 - kKeepFirst) * gradient[i];
    second[i] = kKeepSecond * second[i] + (1 - kKeepSecond) * gradient[i] * gradient[i];
    const float size = std::sqrt(second[i] / step.second_share);
    const float direction =
        first[i] / step.first_share / (size + std::numeric_limits<float>::min());
    values[i] -= step.rate * direction * (step.relative * values[i] + (1.0F - step.relative));
  }
}

}  // namespace

Adam::Adam(std::span<float> values, std::span<const float> gradient)
    : values_(values), gradient_(gradient), first_(values.size()), second_(values.size()) {}

void Adam::step(float rate, bool relative, ThreadPool& pool) {
  first_rest_ *= kKeepFirst;
  second_rest_ *= kKeepSecond;
  const Step step = {rate, 1.0F - first_rest_, 1.0F - second_rest_, relative ? 1.0F : 0.0F};
  pool.parallel_for(values_.size(), kGrain, [&](std::size_t begin, std::size_t end) {
    take_step(step, gradient_.data() + begin, first_.data() + begin, second_.data() + begin,
              values_.data() + begin, end - begin);
  });
}

}  // namespace bitlog2::calibration
