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

/// The result of a calibration.
struct Calibration {
  QuantizedModel quantized;
  /// Recipe `repq`: the quantizers before scale reparameterization. Other recipes: those before
  /// reconstruction.
  Quantizers after_initial_calibration;
};

/// Called often during a calibration with the units of work that are done, and their total. A unit
/// is a linear layer or a step of reconstruction.
using CalibrationProgress = std::function<void(std::size_t done, std::size_t total)>;

/// Options of a calibration that do not change its result.
struct CalibrationContext {
  CalibrationProgress progress = {};              ///< may be empty; if it throws, calibration ends
  std::span<const std::string> image_names = {};  ///< one for each crop, for messages; or empty
  /// The most memory, in bytes, for the tensors that are kept of every image, such as its residual
  /// streams. The rest goes to a nameless file in the folder for temporary files.
  std::size_t memory_bytes = std::numeric_limits<std::size_t>::max();
};

/// Makes a quantized model from `crops`, at least one, each [S, S, 3] as resize_and_crop gives
/// them.
///
/// The recipe `repq` is RepQ-ViT (Li et al., ICCV 2023, arXiv:2212.08254): one forward pass in
/// which every quantizer finds its parameters on data that the quantizers before it have quantized;
/// then scale reparameterization; then the quantizers of the weights that this changed. Any other
/// recipe first transforms the model, and then finds quantizers and weights layer by layer, beside
/// the float network's activations (docs/accuracy.md). Where it has steps of reconstruction, all
/// layers then learn by gradients, which needs the activations of four images at a time in memory.
///
/// Memory grows with the number of crops: for each, its residual streams and one layer's contexts
/// are kept. Throws Error where activations are not finite, naming the layer and the crop.
Calibration calibrate(Model model, const QuantizationSettings& settings,
                      std::span<const RgbImage> crops, ThreadPool& pool,
                      const CalibrationContext& context = {});

/// `model` in the coordinates in which `recipe` calibrates it: with a rotated residual stream, or
/// with normalisation moved from config.preprocessing into the weights. It computes the same
/// function of an image, and its layers can be compared with those of the calibrated model.
Model in_recipe_coordinates(Model model, const Recipe& recipe, ThreadPool& pool);

}  // namespace bitlog2
#pragma GCC visibility pop
