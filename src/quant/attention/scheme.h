// What an attention scheme is: one object that calibration, simulation and lowering ask. A new
// scheme is a file beside this one and a line in scheme.cpp's list.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "bitlog2/quantizers.h"

namespace bitlog2 {

/// How the integer runtime turns probabilities into weights: the fields of a quantized file's
/// header that begin with attention_ (docs/format.md).
struct IntegerAttention {
  enum class Kind : std::uint32_t { sqrt2 = 0, bitlog2 = 1, relative_bitlog2 = 2 };
  Kind kind = Kind::bitlog2;
  std::uint32_t multiplier = 256;
  std::uint32_t qmax = 0;
  std::uint32_t fraction_bits = 0;
  bool nearest = false;
};

/// Finds a delta with a low squared error on probabilities that come in parts.
class AttentionSearch {
 public:
  AttentionSearch() = default;
  AttentionSearch(const AttentionSearch&) = delete;
  AttentionSearch& operator=(const AttentionSearch&) = delete;
  virtual ~AttentionSearch() = default;

  /// Called with all probabilities in every pass, in the same parts.
  virtual void add(std::span<const float> probabilities, ThreadPool& pool) = 0;

  /// Ends a pass. Returns whether another one is needed.
  virtual bool next_pass() { return false; }

  virtual float delta() const = 0;
};

/// The arithmetic of a scheme. Objects are constants.
class AttentionMethod {
 public:
  /// Whether delta is to be found on probabilities; else it is 1.
  virtual bool has_delta(int bits, const AttentionOptions& options) const = 0;

  /// A search on `count` probabilities in total; quantizer.delta is not read.
  virtual std::unique_ptr<AttentionSearch> search(const AttentionQuantizer& quantizer,
                                                  std::size_t count) const = 0;

  /// probabilities, a row of the map, <- x^.
  virtual void fake_quantize(const AttentionQuantizer& quantizer,
                             std::span<float> probabilities) const = 0;

  virtual IntegerAttention in_integers(int bits, const AttentionOptions& options) const = 0;

  /// The value that a weight of 1 in the integer runtime stands for.
  virtual double unit(float delta) const = 0;

 protected:
  ~AttentionMethod() = default;
};

}  // namespace bitlog2
