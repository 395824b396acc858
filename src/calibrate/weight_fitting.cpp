#include "calibrate/weight_fitting.h"

#include <algorithm>

#include "calibrate/least_squares.h"
#include "calibrate/matrix.h"
#include "calibrate/weight_rounding.h"

namespace bitlog2::calibration {
namespace {

/// The ridge's and GPTQ's damping, in the mean of the Hessian's diagonal: much, since 32 images
/// say little about most directions. From half of it to twice as much, results differ by less than
/// their noise.
constexpr double kDamping = 0.6;

/// As RepQ-ViT rounds: each row by its own error, each weight to its nearest code.
Affine round_by_rows(Linear& layer, int bits, ThreadPool& pool) {
  Affine quantizer = calibrate_rows(layer.weight, layer.out_features, bits, pool);
  fake_quantize_rows(quantizer, layer.weight);
  return quantizer;
}

}  // namespace

void fit_weights(const QuantizationSettings& settings, Linear& layer, const simulate::Tensor& x,
                 const simulate::Tensor& target, std::span<const float> row_weights,
                 Quantizers& quantizers, ThreadPool& pool) {
  const Recipe& recipe = settings.recipe;
  const bool rounds = settings.quantizes(group_of(Slot::weight, layer.role));
  const bool rounds_by_hessian =
      rounds && (recipe.weight_rounding_gptq || recipe.scale_search_output);
  const QuantizerKey key = {layer.name, Slot::weight};
  if (!recipe.compensation_ridge && !rounds_by_hessian) {
    if (rounds) {
      quantizers[key] = round_by_rows(layer, settings.weight_bits(layer.role), pool);
    }
    return;
  }
  const Moments moments = find_moments(x.values(), target.values(), x.rows(), row_weights, pool);
  const double mean_square = moments.gram.trace() / static_cast<double>(layer.in_features);
  const double damping = std::max(kDamping * mean_square, 1e-20);
  const Matrix original = to_matrix(layer.weight, layer.out_features);
  // Fewer rows than unknowns would fit themselves alone.
  const bool compensates = recipe.compensation_ridge && x.rows() > 2 * layer.in_features;
  const Matrix wanted = compensates ? ridge(moments, original, damping, pool) : original;
  copy_to(wanted, layer.weight);
  if (rounds_by_hessian) {
    Matrix hessian = moments.gram;
    hessian.diagonal().array() += damping;
    const RoundedWeights rounded = round_weights(
        wanted, hessian,
        {settings.weight_bits(layer.role), recipe.weight_rounding_gptq, recipe.scale_search_output},
        pool);
    quantizers[key] = rounded.quantizer;
    copy_to(rounded.weights, layer.weight);
  } else if (rounds) {
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
