// A network that is ready to run.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "bitlog2/image.h"
#include "bitlog2/model.h"
#include "bitlog2/parallel.h"
#include "bitlog2/quantized_model.h"

#pragma GCC visibility push(default)
namespace bitlog2 {

/// Runs batches of images, from any number of threads at once.
class Engine {
 public:
  virtual ~Engine() = default;

  virtual const ModelConfig& config() const = 0;

  /// Logits [crops, num_classes] of input crops, each [S, S, 3] as resize_and_crop gives them.
  virtual std::vector<float> logits(std::span<const RgbImage> crops) const = 0;

  /// The same from all of a pool's threads together, sooner, by engines that can.
  virtual std::vector<float> logits(std::span<const RgbImage> crops, ThreadPool& pool) const;

  /// Values of the residual stream that were too large for the arithmetic and were cut off, in all
  /// runs so far. Floats have no such values.
  virtual std::uint64_t saturations() const { return 0; }
};

std::unique_ptr<Engine> make_fp32_engine(Model model);

/// The same of a model that others have, too.
std::unique_ptr<Engine> make_fp32_engine(std::shared_ptr<const Model> model);

/// Quantization simulated in float32, as the published system does it.
std::unique_ptr<Engine> make_simulated_engine(const QuantizedModel& quantized);

/// The instruction set of the float engines' matrix products: "avx512", "avx2", "neon" or "scalar".
/// The environment's BITLOG2_ISA can ask for less than the machine has. Results do not depend on
/// it.
std::string float_isa();

/// Crops as one normalised tensor [crops, 3, S, S], which the float engines take.
std::vector<float> normalised_batch(std::span<const RgbImage> crops,
                                    const Preprocessing& preprocessing);

/// Called with what a layer leaves behind, by the layer's name ("blocks.0.attn.proj"): its
/// output, or the residual stream where the output is added to it; the same name may come
/// twice, the last call counts.
using LayerObserver = std::function<void(const std::string& layer, std::span<const float> values)>;

/// Logits [batch, num_classes] of normalised images [batch, 3, S, S], in float32.
std::vector<float> run_fp32(const Model& model, std::span<const float> images, ThreadPool& pool,
                            const LayerObserver& observer = {});

/// The same with simulated quantization. `weights_quantized` is with_quantized_weights of
/// the quantized model that `quantizers` belong to.
std::vector<float> run_simulated(const Model& weights_quantized, const Quantizers& quantizers,
                                 std::span<const float> images, ThreadPool& pool,
                                 const LayerObserver& observer = {});

}  // namespace bitlog2
#pragma GCC visibility pop
