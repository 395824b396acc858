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

  /// Logits [crops, output_size(config())], row by row, of input crops, each [S, S, 3] as
  /// resize_and_crop gives them. Of an encoder these are embeddings.
  virtual std::vector<float> logits(std::span<const RgbImage> crops) const = 0;

  /// The same, computed by all threads of `pool` together by engines that can do so.
  virtual std::vector<float> logits(std::span<const RgbImage> crops, ThreadPool& pool) const;

  /// How many values of the residual stream and of the logits were too large for the arithmetic and
  /// were cut off, in all runs so far. 0 for float engines.
  virtual std::uint64_t saturations() const { return 0; }
};

/// The float32 engine.
std::unique_ptr<Engine> make_fp32_engine(Model model);

/// The same for a model that is shared with other users.
std::unique_ptr<Engine> make_fp32_engine(std::shared_ptr<const Model> model);

/// Quantization simulated in float32, as the published system does it.
std::unique_ptr<Engine> make_simulated_engine(const QuantizedModel& quantized);

/// The instruction set of the float engines' matrix products: "avx512", "avx2", "neon" or "scalar".
/// The environment variable BITLOG2_ISA can ask for less than the machine has. Results do not
/// depend on it.
std::string float_isa();

/// Crops as one tensor [crops, 3, S, S], (pixel / 255 - mean) / std, which run_fp32 and
/// run_simulated take.
std::vector<float> normalised_batch(std::span<const RgbImage> crops,
                                    const Preprocessing& preprocessing);

/// Called after each layer with the layer's name ("blocks.0.attn.proj") and its output, or the
/// residual stream where the output is added to it. If the same name comes twice, the last call
/// counts.
using LayerObserver = std::function<void(const std::string& layer, std::span<const float> values)>;

/// Logits [batch, output_size(config)] of normalised images [batch, 3, S, S], in float32.
std::vector<float> run_fp32(const Model& model, std::span<const float> images, ThreadPool& pool,
                            const LayerObserver& observer = {});

/// Called at each place of an activation that has a quantizer, with the values before they are
/// quantized: a layer's input [rows, in_features], or an operand of attention [.., heads, tokens,
/// ..].
using ActivationObserver =
    std::function<void(const QuantizerKey& place, std::span<const float> values)>;

/// The same with simulated quantization. `weights_quantized` is with_quantized_weights of
/// the quantized model that `quantizers` belong to.
std::vector<float> run_simulated(const Model& weights_quantized, const Quantizers& quantizers,
                                 std::span<const float> images, ThreadPool& pool,
                                 const LayerObserver& observer = {},
                                 const ActivationObserver& activations = {});

}  // namespace bitlog2
#pragma GCC visibility pop
