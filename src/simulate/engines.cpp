// The float engines: plain, and with quantization simulated.
#include <atomic>
#include <memory>
#include <unordered_map>

#include "base/matrix_product.h"
#include "bitlog2/engine.h"
#include "model/forward.h"
#include "simulate/float_ops.h"
#include "simulate/simulated.h"

namespace bitlog2 {
namespace {

template <class Quantization>
std::vector<float> run(const Model& model, std::span<const float> images, Quantization quantization,
                       ThreadPool& pool, const LayerObserver& observer) {
  simulate::FloatOps<Quantization> ops(model.config, images, quantization, pool, observer);
  const simulate::Tensor logits = forward(model, ops);
  return {logits.values().begin(), logits.values().end()};
}

/// The weights of a model's linear layers, packed when they are needed first. They take as much
/// memory as the weights. There is no lock, which a fork could copy while it is held: of threads
/// that pack the same layer at the same time, one keeps its work.
class PackedWeights {
 public:
  explicit PackedWeights(const Model& model) {
    for_each_linear(model, [&](const Linear& layer) { layers_.try_emplace(&layer); });
  }

  const PackedMatrix<float>& of(const Linear& layer, const MatrixView<float>& weights,
                                ThreadPool& pool) {
    return layers_.at(&layer).get(weights, pool);
  }

 private:
  class Slot {
   public:
    Slot() = default;
    ~Slot() { const std::unique_ptr<const PackedMatrix<float>> last(packed_.load()); }
    Slot(const Slot&) = delete;
    Slot& operator=(const Slot&) = delete;

    const PackedMatrix<float>& get(const MatrixView<float>& weights, ThreadPool& pool) {
      const PackedMatrix<float>* found = packed_.load(std::memory_order_acquire);
      if (found == nullptr) {
        auto made = std::make_unique<const PackedMatrix<float>>(weights, pool);
        if (packed_.compare_exchange_strong(found, made.get(), std::memory_order_acq_rel)) {
          found = made.release();
        }
      }
      return *found;
    }

   private:
    std::atomic<const PackedMatrix<float>*> packed_ = nullptr;  // owned
  };

  std::unordered_map<const Linear*, Slot> layers_;
};

/// A policy that takes weights from PackedWeights.
template <class Quantization>
class WithPackedWeights : public Quantization {
 public:
  static constexpr bool kKeepsPackedWeights = true;

  WithPackedWeights(Quantization quantization, PackedWeights& weights)
      : Quantization(std::move(quantization)), weights_(weights) {}

  const PackedMatrix<float>& packed(const Linear& layer, const MatrixView<float>& weights,
                                    ThreadPool& pool) {
    return weights_.of(layer, weights, pool);
  }

 private:
  PackedWeights& weights_;
};

class Fp32Engine final : public Engine {
 public:
  explicit Fp32Engine(std::shared_ptr<const Model> model)
      : model_(std::move(model)), weights_(*model_) {}

  const ModelConfig& config() const override { return model_->config; }

  std::vector<float> logits(std::span<const RgbImage> crops) const override {
    ThreadPool serial(1);
    return logits(crops, serial);
  }

  std::vector<float> logits(std::span<const RgbImage> crops, ThreadPool& pool) const override {
    const auto images = normalised_batch(crops, model_->config.preprocessing);
    return run(*model_, images, WithPackedWeights(simulate::NoQuantization(), weights_), pool, {});
  }

 private:
  std::shared_ptr<const Model> model_;
  mutable PackedWeights weights_;
};

class SimulatedEngine final : public Engine {
 public:
  explicit SimulatedEngine(const QuantizedModel& quantized)
      : model_(with_quantized_weights(quantized)),
        quantizers_(quantized.quantizers),
        weights_(model_) {}

  const ModelConfig& config() const override { return model_.config; }

  std::vector<float> logits(std::span<const RgbImage> crops) const override {
    ThreadPool serial(1);
    return logits(crops, serial);
  }

  std::vector<float> logits(std::span<const RgbImage> crops, ThreadPool& pool) const override {
    const auto images = normalised_batch(crops, model_.config.preprocessing);
    return run(model_, images,
               WithPackedWeights(simulate::Simulated(quantizers_, pool, {}), weights_), pool, {});
  }

 private:
  Model model_;
  Quantizers quantizers_;
  mutable PackedWeights weights_;
};

}  // namespace

std::vector<float> Engine::logits(std::span<const RgbImage> crops, ThreadPool& /*pool*/) const {
  return logits(crops);
}

std::vector<float> normalised_batch(std::span<const RgbImage> crops,
                                    const Preprocessing& preprocessing) {
  const auto side = static_cast<std::size_t>(preprocessing.crop);
  const std::size_t size = 3 * side * side;
  std::vector<float> images(crops.size() * size);
  for (std::size_t i = 0; i < crops.size(); ++i) {
    normalise(crops[i], preprocessing, std::span(images).subspan(i * size, size));
  }
  return images;
}

std::vector<float> run_fp32(const Model& model, std::span<const float> images, ThreadPool& pool,
                            const LayerObserver& observer) {
  return run(model, images, simulate::NoQuantization(), pool, observer);
}

std::vector<float> run_simulated(const Model& weights_quantized, const Quantizers& quantizers,
                                 std::span<const float> images, ThreadPool& pool,
                                 const LayerObserver& observer,
                                 const ActivationObserver& activations) {
  return run(weights_quantized, images, simulate::Simulated(quantizers, pool, activations), pool,
             observer);
}

std::string float_isa() {
  return product_isa();
}

std::unique_ptr<Engine> make_fp32_engine(Model model) {
  return make_fp32_engine(std::make_shared<const Model>(std::move(model)));
}

std::unique_ptr<Engine> make_fp32_engine(std::shared_ptr<const Model> model) {
  return std::make_unique<Fp32Engine>(std::move(model));
}

std::unique_ptr<Engine> make_simulated_engine(const QuantizedModel& quantized) {
  return std::make_unique<SimulatedEngine>(quantized);
}

}  // namespace bitlog2
