// The pipeline: transforms of the model, then the calibration that the recipe asks for.
#include "bitlog2/calibrate.h"

#include "calibrate/paired.h"
#include "calibrate/repq.h"
#include "calibrate/transforms/head_equalization.h"
#include "calibrate/transforms/pixel_folding.h"
#include "calibrate/transforms/residual_rotation.h"

namespace bitlog2 {

Calibration calibrate(Model model, const QuantizationSettings& settings,
                      std::span<const RgbImage> crops, ThreadPool& pool,
                      const CalibrationContext& context) {
  const Recipe& recipe = settings.recipe;
  model = in_recipe_coordinates(std::move(model), recipe);
  const Preprocessing preprocessing = model.config.preprocessing;
  const calibration::Images images = calibration::images_of(crops, preprocessing);
  if (recipe.is_repq()) {
    return calibration::calibrate_repq(std::move(model), settings, images, pool, context);
  }
  if (recipe.head_equalization_balanced) {
    std::size_t layers = 0;
    for_each_linear(model, [&](Linear&) { ++layers; });
    calibration::equalize_heads(model, images, pool, [&] {
      if (context.progress) {
        context.progress(0, layers);
      }
    });
  }
  return calibration::calibrate_paired(std::move(model), settings, images, pool, context);
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
