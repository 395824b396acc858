#include "calibrate/reconstruction/reconstruction.h"

#include <algorithm>
#include <functional>
#include <random>
#include <utility>
#include <vector>

#include "base/elementary.h"
#include "bitlog2/engine.h"
#include "calibrate/reconstruction/gradient_ops.h"
#include "calibrate/reconstruction/learner.h"
#include "io/seeded.h"
#include "model/forward.h"
#include "simulate/gradients.h"
#include "simulate/loops.h"

namespace bitlog2::calibration {
namespace {

constexpr std::size_t kBatch = 16;        // images in a step
constexpr std::size_t kImagesAtOnce = 4;  // of them with activations in memory
constexpr std::size_t kWarmUp = 20;       // steps until the step size reaches its maximum
/// The weight of a block's relative squared error, relative to the divergence of the logits. It is
/// large, since the logits of a few hundred images are soon overfitted.
constexpr float kStreamWeight = 4.0F;

constexpr std::size_t kChecks = 8;  // evaluations on the held-out images
constexpr std::size_t kEnoughToKeepSomeBack = 64;
constexpr std::size_t kKeptBackShare = 8;  // one of so many images is held out
constexpr std::size_t kMostKeptBack = 32;

using FloatTensor = simulate::Tensor;

/// A network's residual stream behind every block, beside its output.
template <class Quantization>
class StreamOps : public simulate::FloatOps<Quantization> {
 public:
  using simulate::FloatOps<Quantization>::FloatOps;

  void end_block(const Block& /*block*/, const FloatTensor& x) { streams.push_back(copy(x)); }

  std::vector<FloatTensor> streams;
};

/// A network's results for a few images.
struct Outcome {
  std::vector<FloatTensor> streams;
  FloatTensor output;
};

template <class Quantization>
Outcome run(const Model& model, std::span<const float> images, Quantization quantization,
            ThreadPool& pool) {
  const LayerObserver nobody;
  StreamOps<Quantization> ops(model.config, images, quantization, pool, nobody);
  FloatTensor output = forward(model, ops);
  return {std::move(ops.streams), std::move(output)};
}

/// A loss, and its gradient with respect to its argument.
struct Loss {
  double value = 0;
  FloatTensor gradient;
};

/// share * sum over images of |x - wanted|^2 / |wanted|^2.
Loss relative_error(const FloatTensor& x, const FloatTensor& wanted, float share) {
  Loss loss = {0, copy(x)};
  const std::size_t size = x.tokens() * x.channels();
  for (std::size_t image = 0; image < x.batch(); ++image) {
    const auto target = wanted.values().subspan(image * size, size);
    const auto difference = loss.gradient.values().subspan(image * size, size);
    std::ranges::transform(difference, target, difference.begin(), std::minus<>());
    const float factor = share / std::max(simulate::dot(target, target), 1e-20F);
    loss.value += static_cast<double>(simulate::dot(difference, difference) * factor);
    simulate::scale(difference, 2 * factor);
  }
  return loss;
}

/// share * sum over images of KL(softmax(wanted) || softmax(logits)).
Loss divergence(const FloatTensor& logits, const FloatTensor& wanted, float share) {
  constexpr float kSmallest = 1e-30F;  // the least argument of a logarithm
  Loss loss = {0, copy(logits)};
  for (std::size_t image = 0; image < logits.rows(); ++image) {
    const std::span<float> found = loss.gradient.row(image);
    std::vector<float> target(wanted.row(image).begin(), wanted.row(image).end());
    simulate::softmax(found);
    simulate::softmax(target);
    for (std::size_t c = 0; c < target.size(); ++c) {
      if (target[c] > kSmallest) {
        const double ratio =
            static_cast<double>(target[c]) / static_cast<double>(std::max(found[c], kSmallest));
        loss.value += static_cast<double>(share * target[c]) * elementary::log(ratio);
      }
      found[c] = share * (found[c] - target[c]);
    }
  }
  return loss;
}

Loss stream_loss(const FloatTensor& x, const FloatTensor& wanted, float share) {
  return relative_error(x, wanted, kStreamWeight * share);
}

/// Embeddings are compared by their relative error, logits by the divergence of their softmax.
Loss output_loss(const ModelConfig& config, const FloatTensor& x, const FloatTensor& wanted,
                 float share) {
  return config.num_classes > 0 ? divergence(x, wanted, share) : relative_error(x, wanted, share);
}

RgbImage mirrored(const RgbImage& image) {
  RgbImage result = image;
  const auto width = static_cast<std::size_t>(image.width);
  constexpr std::size_t kChannels = 3;
  for (std::size_t i = 0; i < image.pixels.size(); ++i) {
    const std::size_t pixel = i / kChannels;
    const std::size_t opposite = pixel - pixel % width + (width - 1 - pixel % width);
    result.pixels[i] = image.pixels[opposite * kChannels + i % kChannels];
  }
  return result;
}

/// Batches without end: all images in random order, again and again, every other one mirrored.
class Batches {
 public:
  explicit Batches(std::span<const RgbImage> crops) : crops_(crops) {}

  std::vector<RgbImage> next() {
    std::vector<RgbImage> batch;
    for (std::size_t i = 0; i < kBatch; ++i) {
      if (order_.empty()) {
        order_ = numbers_below(crops_.size());
        shuffle_first(order_, order_.size(), random_);
      }
      const RgbImage& crop = crops_[order_.back()];
      order_.pop_back();
      batch.push_back(number_below(2, random_) == 1 ? mirrored(crop) : crop);
    }
    return batch;
  }

 private:
  std::span<const RgbImage> crops_;
  std::vector<std::size_t> order_;  // order of the next images
  std::mt19937_64 random_;          // default seed: the same in every run
};

/// Calls visit(some, share) for a few images at a time; `share` is 1 / the number of all images.
template <class Visit>
void for_each_part(std::span<const RgbImage> crops, Visit visit) {
  const float share = 1.0F / static_cast<float>(crops.size());
  for (std::size_t i = 0; i < crops.size(); i += kImagesAtOnce) {
    visit(crops.subspan(i, std::min(kImagesAtOnce, crops.size() - i)), share);
  }
}

/// Adds the gradients of the loss of a few images.
void add_gradients(const QuantizedModel& quantized, const Model& exact,
                   std::span<const RgbImage> crops, float share, Gradients& gradients,
                   ThreadPool& pool) {
  const std::vector<float> images = normalised_batch(crops, exact.config.preprocessing);
  const Outcome wanted = run(exact, images, simulate::NoQuantization(), pool);
  GradientOps ops(
      exact.config, quantized.quantizers, images, gradients,
      [&](std::size_t block, Variable& stream) {
        add_gradient(stream, stream_loss(stream.value, wanted.streams.at(block), share).gradient);
      },
      pool);
  const GradientOps::Tensor output = forward(quantized.model, ops);
  add_gradient(*output, output_loss(exact.config, output->value, wanted.output, share).gradient);
  ops.go_back();
}

/// The mean loss of images.
double loss_of(const QuantizedModel& quantized, const Model& exact, std::span<const RgbImage> crops,
               ThreadPool& pool) {
  double loss = 0;
  for_each_part(crops, [&](std::span<const RgbImage> part, float share) {
    const std::vector<float> images = normalised_batch(part, exact.config.preprocessing);
    const Outcome wanted = run(exact, images, simulate::NoQuantization(), pool);
    const Outcome found =
        run(quantized.model, images, simulate::Simulated(quantized.quantizers, pool), pool);
    loss += output_loss(exact.config, found.output, wanted.output, share).value;
    for (std::size_t block = 0; block < wanted.streams.size(); ++block) {
      loss += stream_loss(found.streams[block], wanted.streams[block], share).value;
    }
  });
  return loss;
}

/// Steps grow to their full size and become smaller along half a cosine (Loshchilov and Hutter,
/// arXiv:1608.03983).
float share_of_step(std::size_t step, std::size_t steps) {
  const double rising = static_cast<double>(step + 1) / static_cast<double>(kWarmUp);
  const double falling = (1 + elementary::turn(step, 2 * steps).cosine) / 2;
  return static_cast<float>(std::min(1.0, rising) * falling);
}

}  // namespace

void reconstruct(QuantizedModel& quantized, const Model& exact, std::span<const RgbImage> crops,
                 std::size_t steps, ThreadPool& pool, const ReconstructionProgress& progress) {
  const std::size_t count = crops.size() < kEnoughToKeepSomeBack
                                ? 0
                                : std::min(crops.size() / kKeptBackShare, kMostKeptBack);
  const auto kept_back = crops.last(count);
  Learner learner(quantized, pool);
  QuantizedModel best = quantized;
  double best_loss = loss_of(quantized, exact, kept_back, pool);
  Batches batches(crops.first(crops.size() - count));
  for (std::size_t step = 0; step < steps; ++step) {
    for_each_part(batches.next(), [&](std::span<const RgbImage> part, float share) {
      progress(step);
      add_gradients(quantized, exact, part, share, learner.gradients(), pool);
    });
    learner.step(share_of_step(step, steps));
    const std::size_t every = std::max<std::size_t>(1, steps / kChecks);
    if ((step + 1) % every == 0 || step + 1 == steps) {
      const double loss = loss_of(quantized, exact, kept_back, pool);
      if (loss <= best_loss) {
        best_loss = loss;
        best = quantized;
      }
    }
    progress(step + 1);
  }
  quantized = std::move(best);
}

}  // namespace bitlog2::calibration
