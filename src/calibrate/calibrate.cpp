// The pipeline: transforms of the model, then the calibration that the recipe asks for.
#include "bitlog2/calibrate.h"

#include "bitlog2/engine.h"
#include "calibrate/paired.h"
#include "calibrate/repq.h"
#include "calibrate/transforms/head_equalization.h"
#include "calibrate/transforms/pixel_folding.h"
#include "calibrate/transforms/residual_rotation.h"

namespace bitlog2 {

Calibration calibrate(Model model, const QuantizationSettings& settings,
                      std::span<const RgbImage> crops, ThreadPool& pool,
                      const CalibrationProgress& progress) {
  const Recipe& recipe = settings.recipe;
  std::vector<float> images = normalised_batch(crops, model.config.preprocessing);
  if (recipe.is_repq()) {
    return calibration::calibrate_repq(std::move(model), settings, images, pool, progress);
  }
  if (recipe.pixel_codes_exact) {
    // Pixels / 255 taken from the crops differ in float32's last bit, and weights with them: files
    // would no longer be those that the same images gave before.
    calibration::undo_normalisation(model.config.preprocessing, images);
  }
  model = in_recipe_coordinates(std::move(model), recipe);
  if (recipe.head_equalization_balanced) {
    calibration::equalize_heads(model, images, pool);
  }
  return calibration::calibrate_paired(model, settings, images, pool, progress);
}

Model in_recipe_coordinates(Model model, const Recipe& recipe) {
  if (recipe.pixel_codes_exact) {
    calibration::fold_normalisation(model);
  }
  if (recipe.residual_rotation_hadamard) {
    calibration::rotate_residual_stream(model);
  }
  return model;
}

}  // namespace bitlog2
