#include "calibrate/weight_fitting.h"

#include <algorithm>
#include <utility>

#include "calibrate/matrix.h"
#include "calibrate/weight_rounding.h"

namespace bitlog2::calibration {
namespace {

/// The damping of ridge and GPTQ, relative to the mean of the Hessian's diagonal. It is large,
/// since 32 images say little about most directions. From half of it to twice as much, results
/// differ by less than their noise.
constexpr double kDamping = 0.6;

bool rounds(const QuantizationSettings& settings, Role role) {
  return settings.quantizes(group_of(Slot::weight, role));
}

bool rounds_by_hessian(const QuantizationSettings& settings, Role role) {
  return rounds(settings, role) &&
         (settings.recipe.weight_rounding_gptq || settings.recipe.scale_search_output);
}

}  // namespace

Affine round_by_rows(Linear& layer, int bits, ThreadPool& pool) {
  Affine quantizer = calibrate_rows(layer.weight, layer.out_features, bits, pool);
  fake_quantize_rows(quantizer, layer.weight);
  return quantizer;
}

bool wants_moments(const QuantizationSettings& settings, Role role) {
  return settings.recipe.compensation_ridge || rounds_by_hessian(settings, role);
}

void fit_weights(const QuantizationSettings& settings, Linear& layer, Moments moments,
                 std::size_t rows, Quantizers& quantizers, ThreadPool& pool) {
  const Recipe& recipe = settings.recipe;
  const QuantizerKey key = {layer.name, Slot::weight};
  if (!wants_moments(settings, layer.role)) {
    if (rounds(settings, layer.role)) {
      quantizers[key] = round_by_rows(layer, settings.weight_bits(layer.role), pool);
    }
    return;
  }
  const double mean_square = moments.gram.trace() / static_cast<double>(layer.in_features);
  const double damping = std::max(kDamping * mean_square, 1e-20);
  const Matrix original = to_matrix(layer.weight, layer.out_features);
  // With fewer rows than unknowns the weights would overfit.
  const bool compensates = recipe.compensation_ridge && rows > 2 * layer.in_features;
  const Matrix wanted = compensates ? ridge(moments, original, damping, pool) : original;
  copy_to(wanted, layer.weight);
  moments.cross = Matrix();  // large, and not needed any more
  if (rounds_by_hessian(settings, layer.role)) {
    Matrix hessian = std::move(moments.gram);
    hessian.diagonal().array() += damping;
    const RoundedWeights rounded = round_weights(
        wanted, hessian,
        {settings.weight_bits(layer.role), recipe.weight_rounding_gptq, recipe.scale_search_output},
        pool);
    quantizers[key] = rounded.quantizer;
    copy_to(rounded.weights, layer.weight);
  } else if (rounds(settings, layer.role)) {
    quantizers[key] = round_by_rows(layer, settings.weight_bits(layer.role), pool);
  }
  // The bias keeps the mean of the outputs where it was.
  const Matrix found = to_matrix(layer.weight, layer.out_features);
  layer.has_bias = true;
  layer.bias.resize(layer.out_features);
  const Vector bias = to_vector(layer.bias) + (original - found) * moments.input_mean;
  copy_to(compensates ? moments.target_mean - found * moments.input_mean : bias, layer.bias);
}

}  // namespace bitlog2::calibration
