#include "evaluate/lbfgs.h"

#include <algorithm>
#include <cmath>
#include <deque>
#include <numeric>
#include <utility>

namespace bitlog2 {
namespace {

using Vector = std::vector<double>;

constexpr std::size_t kMemory = 10;
constexpr double kSufficientDecrease = 1e-4;
constexpr int kMostHalvings = 40;

double dot(const Vector& a, const Vector& b) {
  return std::inner_product(a.begin(), a.end(), b.begin(), 0.0);
}

/// y <- y + factor x.
void add(double factor, const Vector& x, Vector& y) {
  for (std::size_t i = 0; i < y.size(); ++i) {
    y[i] += factor * x[i];
  }
}

double largest(const Vector& values) {
  return std::accumulate(values.begin(), values.end(), 0.0, [](double most, double value) {
    return std::max(most, std::fabs(value));
  });
}

/// A step that was taken, and how the gradient changed.
struct Step {
  Vector move;
  Vector change;
  double curvature = 0;  ///< move . change
};

/// The steps that approximate the second derivative.
class Memory {
 public:
  /// Steps along which the gradient does not grow, which rounding may cause, are ignored.
  void add_step(Step step) {
    step.curvature = dot(step.move, step.change);
    if (step.curvature <= 1e-12 * dot(step.change, step.change)) {
      return;
    }
    if (steps_.size() == kMemory) {
      steps_.pop_front();
    }
    steps_.push_back(std::move(step));
  }

  void forget() { steps_.clear(); }
  bool empty() const { return steps_.empty(); }

  /// The direction of the next step from a point with this gradient.
  Vector direction(const Vector& gradient) const {
    Vector result(gradient.size());
    add(-1, gradient, result);
    if (steps_.empty()) {
      const double length = std::sqrt(dot(result, result));
      std::ranges::for_each(result, [&](double& value) { value /= std::max(length, 1.0); });
      return result;
    }
    Vector factors;
    for (std::size_t i = steps_.size(); i-- > 0;) {
      const Step& step = steps_[i];
      factors.push_back(dot(step.move, result) / step.curvature);
      add(-factors.back(), step.change, result);
    }
    const Step& last = steps_.back();
    const double scale = last.curvature / dot(last.change, last.change);
    std::ranges::for_each(result, [&](double& value) { value *= scale; });
    for (const Step& step : steps_) {
      add(factors.back() - dot(step.change, result) / step.curvature, step.move, result);
      factors.pop_back();
    }
    return result;
  }

 private:
  std::deque<Step> steps_;
};

/// A point, with the objective's value and gradient.
struct Place {
  Vector point;
  Vector gradient;
  double value = 0;
};

Place look(const Objective& objective, Vector point) {
  Place place = {std::move(point), {}, 0};
  place.gradient.resize(place.point.size());
  place.value = objective(place.point, place.gradient);
  return place;
}

/// Moves along `direction`, and halves the step until the value falls. Returns whether it fell.
bool descend(const Objective& objective, const Vector& direction, Place& place, Memory& memory) {
  const double slope = dot(place.gradient, direction);
  if (!(slope < 0)) {
    return false;
  }
  double length = 1;
  for (int halvings = 0; halvings < kMostHalvings; ++halvings, length /= 2) {
    Vector point = place.point;
    add(length, direction, point);
    Place next = look(objective, std::move(point));
    if (next.value <= place.value + kSufficientDecrease * length * slope) {
      Step step = {next.point, next.gradient};
      add(-1, place.point, step.move);
      add(-1, place.gradient, step.change);
      memory.add_step(std::move(step));
      place = std::move(next);
      return true;
    }
  }
  return false;
}

}  // namespace

bool minimize(const Objective& objective, std::vector<double>& point,
              const MinimizeOptions& options) {
  Place place = look(objective, std::move(point));
  Memory memory;
  for (std::size_t i = 0; i < options.max_iterations; ++i) {
    if (largest(place.gradient) <= options.tolerance || (options.stop && options.stop())) {
      break;
    }
    if (descend(objective, memory.direction(place.gradient), place, memory)) {
      continue;
    }
    if (memory.empty()) {
      break;  // rounding allows no lower value
    }
    memory.forget();
  }
  point = std::move(place.point);
  return largest(place.gradient) <= options.tolerance;
}

}  // namespace bitlog2
