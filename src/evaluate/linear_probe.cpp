// A linear layer on embeddings. The weights that are fitted are those of standardized channels.
// Standardized channels are never stored: weights are converted to those of the original channels,
// and gradients back.
#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

#include "base/elementary.h"
#include "base/target_clones.h"
#include "bitlog2/probe.h"
#include "evaluate/lbfgs.h"

namespace bitlog2 {
namespace {

/// The number of parts into which images are split. It does not depend on the threads, so that sums
/// have one order.
constexpr std::size_t kParts = 32;
constexpr std::size_t kFolds = 5;

/// logits <- bias + x W, of weights [size + 1, classes].
BITLOG2_TARGET_CLONES
void multiply(const float* x, std::size_t size, const double* weights, std::size_t classes,
              double* logits) {
  std::copy_n(weights + size * classes, classes, logits);
  for (std::size_t i = 0; i < size; ++i) {
    const double value = x[i];
    for (std::size_t c = 0; c < classes; ++c) {
      logits[c] += value * weights[i * classes + c];
    }
  }
}

/// gradient <- gradient + (x, 1)^T residual, the transpose of that.
BITLOG2_TARGET_CLONES
void add_products(const float* x, std::size_t size, const double* residual, std::size_t classes,
                  double* gradient) {
  for (std::size_t i = 0; i <= size; ++i) {
    const double value = i < size ? x[i] : 1;
    for (std::size_t c = 0; c < classes; ++c) {
      gradient[i * classes + c] += value * residual[c];
    }
  }
}

/// Replaces logits by the gradient of the cross entropy with respect to them; returns the cross
/// entropy.
double residual_of(std::span<double> logits, int label) {
  const double most = *std::ranges::max_element(logits);
  double sum = 0;
  for (const double logit : logits) {
    sum += elementary::exp(logit - most);
  }
  const auto target = static_cast<std::size_t>(label);
  const double loss = elementary::log(sum) - (logits[target] - most);
  for (double& logit : logits) {
    logit = elementary::exp(logit - most) / sum;
  }
  logits[target] -= 1;
  return loss;
}

/// Mean and standard deviation of each channel; 1 for the latter of a constant.
struct Standardization {
  std::vector<double> mean;
  std::vector<double> deviation;
};

using Indices = std::vector<std::size_t>;

Standardization standardization_of(const Embeddings& embeddings, const Indices& images) {
  const std::size_t size = embeddings.size;
  const auto count = static_cast<double>(images.size());
  Standardization result = {std::vector<double>(size), std::vector<double>(size)};
  for (const std::size_t image : images) {
    for (std::size_t i = 0; i < size; ++i) {
      result.mean[i] += embeddings.row(image)[i] / count;
    }
  }
  for (const std::size_t image : images) {
    for (std::size_t i = 0; i < size; ++i) {
      const double difference = embeddings.row(image)[i] - result.mean[i];
      result.deviation[i] += difference * difference / count;
    }
  }
  for (std::size_t i = 0; i < size; ++i) {
    const double deviation = std::sqrt(result.deviation[i]);
    result.deviation[i] = deviation > 1e-7 * std::fabs(result.mean[i]) ? deviation : 1;
  }
  return result;
}

/// Penalized cross entropy of some images, as a function of standardized channels' weights
/// [size + 1, classes].
class ProbeObjective {
 public:
  ProbeObjective(const Embeddings& embeddings, const Indices& images, std::size_t classes,
                 ThreadPool& pool)
      : embeddings_(embeddings),
        images_(images),
        classes_(classes),
        pool_(pool),
        standard_(standardization_of(embeddings, images)),
        parts_(std::min(kParts, std::max<std::size_t>(images.size(), 1))) {}

  std::size_t weights() const { return (embeddings_.size + 1) * classes_; }

  /// The weights of the original channels.
  std::vector<double> unstandardized(std::span<const double> weights) const {
    std::vector<double> result(weights.begin(), weights.end());
    for (std::size_t i = 0; i < embeddings_.size; ++i) {
      for (std::size_t c = 0; c < classes_; ++c) {
        double& weight = result[i * classes_ + c];
        weight /= standard_.deviation[i];
        result[embeddings_.size * classes_ + c] -= standard_.mean[i] * weight;
      }
    }
    return result;
  }

  double operator()(double penalty, std::span<const double> weights, std::span<double> gradient) {
    const std::vector<double> plain = unstandardized(weights);
    pool_.parallel_for(parts_.size(), 1,
                       [&](std::size_t part, std::size_t) { run_part(part, plain); });
    double loss = 0;
    std::ranges::fill(gradient, 0.0);
    for (const Part& part : parts_) {
      loss += part.loss;
      for (std::size_t i = 0; i < gradient.size(); ++i) {
        gradient[i] += part.gradient[i];
      }
    }
    return finish(loss, penalty, weights, gradient);
  }

 private:
  struct Part {
    double loss = 0;
    std::vector<double> gradient;  // with respect to the weights of the original channels
  };

  void run_part(std::size_t index, const std::vector<double>& weights) {
    Part& part = parts_[index];
    part.loss = 0;
    part.gradient.assign(weights.size(), 0.0);
    std::vector<double> logits(classes_);
    for (std::size_t i = index; i < images_.size(); i += parts_.size()) {
      const float* row = embeddings_.row(images_[i]).data();
      multiply(row, embeddings_.size, weights.data(), classes_, logits.data());
      part.loss += residual_of(logits, embeddings_.labels[images_[i]]);
      add_products(row, embeddings_.size, logits.data(), classes_, part.gradient.data());
    }
  }

  /// Sums become means, the gradient that of standardized channels, and the penalty is added.
  double finish(double loss, double penalty, std::span<const double> weights,
                std::span<double> gradient) const {
    const double share = 1 / static_cast<double>(images_.size());
    const auto bias = gradient.subspan(embeddings_.size * classes_);
    double squares = 0;
    for (std::size_t i = 0; i < embeddings_.size; ++i) {
      for (std::size_t c = 0; c < classes_; ++c) {
        const std::size_t at = i * classes_ + c;
        gradient[at] =
            share * (gradient[at] - standard_.mean[i] * bias[c]) / standard_.deviation[i] +
            penalty * weights[at];
        squares += weights[at] * weights[at];
      }
    }
    for (double& value : bias) {
      value *= share;
    }
    return share * loss + penalty / 2 * squares;
  }

  const Embeddings& embeddings_;
  const Indices& images_;
  std::size_t classes_;
  ThreadPool& pool_;
  Standardization standard_;
  std::vector<Part> parts_;
};

/// Images to choose the penalty by, and the others.
struct HeldOut {
  Indices others;
  Indices images;
};

HeldOut hold_out(const Embeddings& training, std::size_t classes) {
  std::vector<std::size_t> counts(classes);
  for (const int label : training.labels) {
    ++counts[static_cast<std::size_t>(label)];
  }
  std::vector<std::size_t> seen(classes);
  HeldOut result;
  for (std::size_t i = 0; i < training.count(); ++i) {
    const auto label = static_cast<std::size_t>(training.labels[i]);
    const std::size_t place = ++seen[label];
    const bool last_of_few = counts[label] < kFolds && counts[label] > 1 && place == counts[label];
    (place % kFolds == 0 || last_of_few ? result.images : result.others).push_back(i);
  }
  return result;
}

/// Fits, starting from `weights`, and writes the result there.
LinearProbe fit(ProbeObjective& objective, const Embeddings& training, std::size_t classes,
                double penalty, const ProbeOptions& options, std::vector<double>& weights) {
  LinearProbe probe = {
      .size = training.size, .classes = classes, .weights = {}, .penalty = penalty};
  const auto stop = [&] { return options.stop != nullptr && options.stop->load(); };
  probe.converged =
      minimize([&](std::span<const double> at,
                   std::span<double> gradient) { return objective(penalty, at, gradient); },
               weights, {.max_iterations = options.max_iterations, .stop = stop});
  probe.weights = objective.unstandardized(weights);
  return probe;
}

Embeddings rows_of(const Embeddings& embeddings, const Indices& images) {
  Embeddings rows = {.size = embeddings.size, .values = {}, .labels = {}};
  for (const std::size_t image : images) {
    const std::span<const float> row = embeddings.row(image);
    rows.values.insert(rows.values.end(), row.begin(), row.end());
    rows.labels.push_back(embeddings.labels[image]);
  }
  return rows;
}

double choose_penalty(const Embeddings& training, std::size_t classes, ThreadPool& pool,
                      const ProbeOptions& options) {
  const HeldOut held_out = hold_out(training, classes);
  if (held_out.images.empty() || options.penalties.size() == 1) {
    return options.penalties.front();
  }
  const Embeddings queries = rows_of(training, held_out.images);
  ProbeObjective objective(training, held_out.others, classes, pool);
  std::vector<double> weights(objective.weights());
  double best = options.penalties.front();
  double least = 0;
  for (const double penalty : options.penalties) {
    const LinearProbe probe = fit(objective, training, classes, penalty, options, weights);
    const double loss = linear_probe_accuracy(probe, queries, pool).loss();
    if (penalty == options.penalties.front() || loss < least) {
      best = penalty;
      least = loss;
    }
  }
  return best;
}

}  // namespace

std::vector<float> LinearProbe::logits(std::span<const float> embedding) const {
  std::vector<double> logits(classes);
  multiply(embedding.data(), size, weights.data(), classes, logits.data());
  return {logits.begin(), logits.end()};
}

LinearProbe fit_linear_probe(const Embeddings& training, std::size_t classes, ThreadPool& pool,
                             const ProbeOptions& options) {
  const double penalty = choose_penalty(training, classes, pool, options);
  Indices all(training.count());
  std::iota(all.begin(), all.end(), std::size_t{0});
  ProbeObjective objective(training, all, classes, pool);
  std::vector<double> weights(objective.weights());
  return fit(objective, training, classes, penalty, options, weights);
}

Accuracy linear_probe_accuracy(const LinearProbe& probe, const Embeddings& queries,
                               ThreadPool& pool) {
  std::vector<Accuracy> accuracies(queries.count());
  pool.parallel_for(queries.count(), 1, [&](std::size_t i, std::size_t) {
    accuracies[i].count(probe.logits(queries.row(i)), queries.labels[i]);
  });
  Accuracy total;
  for (const Accuracy& accuracy : accuracies) {
    total.add(accuracy);
  }
  return total;
}

}  // namespace bitlog2
