// Affine fake quantization.
#include "quant/affine.h"

#include "base/target_clones.h"
#include "bitlog2/quantizers.h"
#include "quant/loops.h"

namespace bitlog2 {
namespace {

using quant::AffineStep;
using quant::qmax_of;

BITLOG2_TARGET_CLONES void apply_affine(const AffineStep<>& step, std::span<float> values) {
  quant::apply_step(step, values);
}

/// values [rows, columns] <- the step of each column.
BITLOG2_TARGET_CLONES void apply_columns(std::span<const float> scales,
                                         std::span<const float> zero_points, float qmax,
                                         std::span<float> values) {
  const std::size_t columns = scales.size();
  for (std::size_t start = 0; start + columns <= values.size(); start += columns) {
    for (std::size_t c = 0; c < columns; ++c) {
      const AffineStep<> step = {scales[c], zero_points[c], qmax};
      values[start + c] = step(values[start + c]);
    }
  }
}

AffineStep<> step_of(const Affine& quantizer, std::size_t channel) {
  return {quantizer.scale[channel], quantizer.zero_point[channel], qmax_of(quantizer.bits)};
}

}  // namespace

void fake_quantize(const Affine& quantizer, std::span<float> values, std::size_t channel) {
  apply_affine(step_of(quantizer, channel), values);
}

void fake_quantize_rows(const Affine& quantizer, std::span<float> values) {
  const std::size_t columns = values.size() / quantizer.scale.size();
  for (std::size_t row = 0; row < quantizer.scale.size(); ++row) {
    fake_quantize(quantizer, values.subspan(row * columns, columns), row);
  }
}

void fake_quantize_columns(const Affine& quantizer, std::span<float> values) {
  apply_columns(quantizer.scale, quantizer.zero_point, qmax_of(quantizer.bits), values);
}

}  // namespace bitlog2
