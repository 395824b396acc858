// What an attention scheme is: one object that calibration, simulation and lowering ask. A new
// scheme is a file beside this one and a line in scheme.cpp's list.
#pragma once

#include <cstdint>
#include <span>

#include "bitlog2/quantizers.h"

namespace bitlog2 {

/// How the integer runtime weighs values by probabilities: the fields of a quantized file's header
/// that begin with attention_ (docs/format.md).
struct IntegerAttention {
  enum class Kind : std::uint32_t { sqrt2 = 0, bitlog2 = 1 };
  Kind kind = Kind::bitlog2;
  std::uint32_t multiplier = 256;
  std::uint32_t qmax = 0;
  std::uint32_t fraction_bits = 0;
  bool nearest = false;
};

/// The arithmetic of a scheme. Objects are constants.
class AttentionMethod {
 public:
  /// The delta with a low squared error on `probabilities`; quantizer.delta is not read.
  virtual float calibrate(const AttentionQuantizer& quantizer, std::span<const float> probabilities,
                          ThreadPool& pool) const = 0;

  /// probabilities <- x^.
  virtual void fake_quantize(const AttentionQuantizer& quantizer,
                             std::span<float> probabilities) const = 0;

  virtual IntegerAttention in_integers(int bits, const AttentionOptions& options) const = 0;

  /// What a weight of 1 in the integer runtime stands for.
  virtual double unit(float delta) const = 0;

 protected:
  ~AttentionMethod() = default;
};

}  // namespace bitlog2
