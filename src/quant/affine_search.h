// Finds affine quantizers on values that come in parts: the quantile range with the lowest squared
// error, as RepQ-ViT chooses it. A search needs all values once for the quantiles, and usually once
// more for the errors.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "bitlog2/quantizers.h"
#include "quant/affine.h"
#include "quant/tails.h"

namespace bitlog2::quant {

/// One scale and zero point for all values. In every pass add() gets all of them, in the same
/// parts.
class AffineSearch {
 public:
  AffineSearch(std::size_t count, int bits);

  void add(std::span<const float> values, ThreadPool& pool);

  /// Ends a pass. Returns whether another one is needed.
  bool next_pass();

  AffineStep<> step() const;
  Affine found() const;

 private:
  int bits_;
  Tails tails_;
  std::vector<AffineStep<>> candidates_;  // empty in the first pass
  std::vector<double> errors_;
};

/// One scale and zero point for each column.
class ColumnSearch {
 public:
  ColumnSearch(std::size_t rows, std::size_t columns, int bits);

  /// `values` [.., columns].
  void add(std::span<const float> values, ThreadPool& pool);
  bool next_pass();
  Affine found() const;

 private:
  int bits_;
  std::vector<AffineSearch> columns_;
};

}  // namespace bitlog2::quant
