#include "bitlog2/calibrate.h"

#include "calibrate/pixel_codes.h"
#include "calibrate/repq.h"
#include "calibrate/residual_transform.h"
#include "calibrate/sequential.h"

namespace bitlog2 {

Calibration calibrate(Model model, const QuantizationSettings& settings,
                      std::span<const float> images, ThreadPool& pool,
                      const CalibrationProgress& progress) {
  return settings.recipe.is_repq()
             ? calibrate_repq(std::move(model), settings, images, pool, progress)
             : calibrate_sequentially(model, settings, images, pool, progress);
}

Model in_recipe_coordinates(Model model, const Recipe& recipe) {
  if (recipe.exact_pixels) {
    fitting::absorb_normalisation(model);
  }
  if (recipe.residual_transform) {
    fitting::spread_residual_stream(model);
  }
  return model;
}

}  // namespace bitlog2
