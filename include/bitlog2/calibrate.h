// Calibration: from a model and a few images to a quantized model, as a recipe says
// (bitlog2/recipe.h).
#pragma once

#include <cstddef>
#include <functional>
#include <limits>
#include <span>
#include <string>

#include "bitlog2/image.h"
#include "bitlog2/parallel.h"
#include "bitlog2/quantized_model.h"

#pragma GCC visibility push(default)
namespace bitlog2 {

struct Calibration {
  QuantizedModel quantized;
  Quantizers after_initial_calibration;  ///< RepQ-ViT's before scale reparameterization
};

/// Called as calibration goes on, often: layers and steps of reconstruction done, of how
/// many.
using CalibrationProgress = std::function<void(std::size_t done, std::size_t total)>;

/// What a calibration needs of its surroundings.
struct CalibrationContext {
  CalibrationProgress progress = {};              ///< an exception of it ends calibration
  std::span<const std::string> image_names = {};  ///< of the crops, for messages; or none
  /// The residual streams of all images, and what else is kept of each of them, take at most this
  /// much memory; a file without a name in the folder for temporary files has the rest. The result
  /// is the same.
  std::size_t memory_bytes = std::numeric_limits<std::size_t>::max();
};

/// A quantized model from `crops`, at least one, each [S, S, 3] as resize_and_crop gives them.
/// The recipe `repq` is RepQ-ViT: one forward pass in which every quantizer calibrates itself on
/// data already quantized upstream; then scale reparameterization; then the weights behind it
/// again. Any other recipe transforms the model first and then finds quantizers and weights layer
/// by layer, beside a float stream; where it has steps of reconstruction, all layers then learn by
/// gradients, with what four images leave behind in every layer in memory. Memory grows with the
/// number of crops by what is kept of each: its residual streams and one layer's contexts. Throws
/// Error where activations are not finite numbers, naming the layer and the crop.
Calibration calibrate(Model model, const QuantizationSettings& settings,
                      std::span<const RgbImage> crops, ThreadPool& pool,
                      const CalibrationContext& context = {});

/// `model` in the coordinates in which `recipe` calibrates it, of its residual stream and of its
/// pixels (config.preprocessing): the same function of an image, and the float network whose layers
/// a calibrated one's can be compared with.
Model in_recipe_coordinates(Model model, const Recipe& recipe);

}  // namespace bitlog2
#pragma GCC visibility pop
