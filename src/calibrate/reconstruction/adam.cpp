#include "calibrate/reconstruction/adam.h"

#include <cmath>
#include <limits>

#include "base/target_clones.h"

namespace bitlog2::calibration {
namespace {

constexpr float kKeepFirst = 0.9F;
constexpr float kKeepSecond = 0.99F;
constexpr std::size_t kGrain = 1 << 14;

/// What all values of a step share.
struct Step {
  float rate;
  float first_share;  // of the running means that is there yet
  float second_share;
  float relative;  // 1 or 0
};

BITLOG2_TARGET_CLONES void move(const Step& step, const float* gradient, float* first,
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
  ++steps_;
  const auto share = [&](float keep) {  // 1 - keep^steps
    float rest = 1.0F;
    for (std::size_t i = 0; i < steps_ && rest > 0; ++i) {
      rest *= keep;
    }
    return 1.0F - rest;
  };
  const Step step = {rate, share(kKeepFirst), share(kKeepSecond), relative ? 1.0F : 0.0F};
  pool.parallel_for(values_.size(), kGrain, [&](std::size_t begin, std::size_t end) {
    move(step, gradient_.data() + begin, first_.data() + begin, second_.data() + begin,
         values_.data() + begin, end - begin);
  });
}

}  // namespace bitlog2::calibration
