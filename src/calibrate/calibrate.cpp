// The pipeline: transforms of the model, then the calibration that the recipe asks for.
#include "bitlog2/calibrate.h"

#include "calibrate/chunked_ops.h"
#include "calibrate/paired.h"
#include "calibrate/reconstruction/reconstruction.h"
#include "calibrate/repq.h"
#include "calibrate/transforms/head_equalization.h"
#include "calibrate/transforms/pixel_folding.h"
#include "calibrate/transforms/residual_rotation.h"

namespace bitlog2 {
namespace {

/// Layer by layer, as the recipe says, of a model in its coordinates.
Calibration calibrate_layers(Model model, const QuantizationSettings& settings,
                             const calibration::Images& images, ThreadPool& pool,
                             const CalibrationContext& context) {
  if (settings.recipe.is_repq()) {
    return calibration::calibrate_repq(std::move(model), settings, images, pool, context);
  }
  if (settings.recipe.head_equalization_balanced) {
    const std::size_t layers = calibration::count_layers(model);
    calibration::equalize_heads(model, images, pool, [&] {
      if (context.progress) {
        context.progress(0, layers);
      }
    });
  }
  return calibration::calibrate_paired(std::move(model), settings, images, pool, context);
}

}  // namespace

Calibration calibrate(Model model, const QuantizationSettings& settings,
                      std::span<const RgbImage> crops, ThreadPool& pool,
                      const CalibrationContext& context) {
  model = in_recipe_coordinates(std::move(model), settings.recipe, pool);
  const Preprocessing preprocessing = model.config.preprocessing;
  const calibration::Images images = calibration::images_of(crops, preprocessing);
  const std::size_t steps = settings.recipe.reconstruction_steps;
  if (steps == 0) {
    return calibrate_layers(std::move(model), settings, images, pool, context);
  }
  const std::size_t layers = calibration::count_layers(model);
  CalibrationContext beginning = context;
  if (context.progress) {
    beginning.progress = [&](std::size_t done, std::size_t /*total*/) {
      context.progress(done, layers + steps);
    };
  }
  Calibration result = calibrate_layers(model, settings, images, pool, beginning);
  calibration::reconstruct(result.quantized, model, crops, steps, pool, [&](std::size_t done) {
    if (context.progress) {
      context.progress(layers + done, layers + steps);
    }
  });
  return result;
}

Model in_recipe_coordinates(Model model, const Recipe& recipe, ThreadPool& pool) {
  if (recipe.pixel_codes_exact) {
    calibration::fold_normalisation(model);
  }
  if (recipe.residual_rotation_hadamard) {
    calibration::rotate_residual_stream(model, pool);
  }
  return model;
}

}  // namespace bitlog2
