#include "integer/lower/activation_codes.h"

#include <cmath>
#include <limits>
#include <set>

#include "quant/affine.h"

namespace bitlog2::integer {
namespace {

/// Codes of a uniform quantizer whose zero point is not whole, as scale reparameterization
/// leaves it. Its inner values are whole steps; its two ends lie between steps. So it has
/// 2^bits + 1 values. A level is a part of a step: `levels_per_step` of them make one.
ActivationCodes codes_with_ends(double scale, double zero_point, std::uint32_t qmax,
                                std::uint32_t levels_per_step) {
  ActivationCodes codes = {scale, std::ceil(zero_point), qmax + 1, {}, scale / levels_per_step};
  const auto lowest = static_cast<std::int16_t>(std::rint(-zero_point * levels_per_step));
  for (std::uint32_t code = 0; code <= codes.qmax; ++code) {
    const double steps = static_cast<double>(code) - codes.zero_point;
    codes.levels.push_back(static_cast<std::int16_t>(steps * levels_per_step));
  }
  codes.levels.front() = lowest;
  codes.levels.back() =
      static_cast<std::int16_t>(lowest + static_cast<std::int32_t>(levels_per_step * qmax));
  return codes;
}

ActivationCodes codes_of(const Affine& quantizer, std::size_t head) {
  const std::size_t i = quantizer.scale.size() > 1 ? head : 0;
  const double scale = quantizer.scale[i];
  const double zero_point = quantizer.zero_point[i];
  const std::uint32_t qmax = (1U << quantizer.bits) - 1U;
  constexpr std::uint32_t kSpan = 255;  // the largest span of levels in the runtime
  const std::uint32_t levels_per_step = kSpan / qmax;
  // Codes of 8 bits leave no room for finer levels.
  const bool has_ends =
      zero_point != std::rint(zero_point) && levels_per_step > 1 &&
      (std::fabs(zero_point) + qmax) * levels_per_step < std::numeric_limits<std::int16_t>::max();
  return has_ends ? codes_with_ends(scale, zero_point, qmax, levels_per_step)
                  : ActivationCodes{scale, std::rint(zero_point), qmax};
}

ActivationCodes codes_of(const Codebook& quantizer) {
  if (quantizer.begins.empty()) {
    return {quantizer.scale, 0, static_cast<std::uint32_t>(quantizer.levels.size() - 1),
            quantizer.levels, quantizer.scale};
  }
  // Codes are the bytes by which weights are multiplied: steps counted from the first level.
  const std::int16_t first = quantizer.levels.front();
  const std::vector<std::int16_t> levels = levels_of_steps(quantizer);
  ActivationCodes codes = {quantizer.scale, -static_cast<double>(first),
                           static_cast<std::uint32_t>(levels.size() - 1)};
  for (const std::int16_t level : levels) {
    codes.table.push_back(static_cast<std::uint8_t>(level - first));
  }
  return codes;
}

}  // namespace

double ActivationCodes::smallest() const {
  return has_levels() ? levels.front() * level_scale : -zero_point * scale;
}

double ActivationCodes::largest() const {
  return has_levels() ? levels.back() * level_scale
                      : (static_cast<double>(qmax) - zero_point) * scale;
}

std::size_t ActivationCodes::count() const {
  return table.empty() ? std::size_t{qmax} + 1
                       : std::set<std::uint8_t>(table.begin(), table.end()).size();
}

std::uint8_t ActivationCodes::encode(double x) const {
  if (!has_levels()) {
    const auto code = static_cast<std::uint8_t>(
        quant::AffineStep<double>{scale, zero_point, static_cast<double>(qmax)}.encode(x));
    return table.empty() ? code : table[code];
  }
  std::uint8_t code = 0;
  while (code < qmax && 2 * x / level_scale > levels[code] + levels[code + 1U]) {
    ++code;
  }
  return code;
}

ActivationCodes codes_of(const Quantizer& quantizer, std::size_t head) {
  const auto* codebook = std::get_if<Codebook>(&quantizer);
  return codebook != nullptr ? codes_of(*codebook) : codes_of(std::get<Affine>(quantizer), head);
}

}  // namespace bitlog2::integer
