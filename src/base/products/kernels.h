// The kernels of matrix products for one instruction set, as a table.
#pragma once

#include <array>
#include <cstddef>
#include <span>
#include <utility>

namespace bitlog2::products {

template <class Real>
using TileFunction = void (*)(const Real* left, const Real* right, std::size_t depth, Real* c,
                              std::size_t c_step, bool adds);

/// The functions and tile sizes of one instruction set; panels.h explains them.
template <class Real>
struct ProductKernels {
  std::size_t width;    ///< of a vector
  std::size_t rows;     ///< of the largest tile
  std::size_t vectors;  ///< of the largest tile
  void (*pack)(const Real* lines, std::size_t line_step, std::size_t step, std::size_t count,
               std::size_t depth, std::size_t panel_width, Real* panel);
  void (*multiply_row)(const Real* left, std::size_t left_step, const Real* lines,
                       std::size_t line_step, std::size_t columns, std::size_t depth, Real* c,
                       bool adds);
  /// The tile of r rows and v vectors is at (r - 1) * vectors + v - 1.
  std::span<const TileFunction<Real>> tiles;
};

/// The most elements of any tile.
inline constexpr std::size_t kLargestTile = 448;  // 14 rows by 32

// One table for each instruction set that the build has.
extern const ProductKernels<float> kAvx512Floats;
extern const ProductKernels<double> kAvx512Doubles;
extern const ProductKernels<float> kAvx2Floats;
extern const ProductKernels<double> kAvx2Doubles;
extern const ProductKernels<float> kNeonFloats;
extern const ProductKernels<double> kNeonDoubles;
extern const ProductKernels<float> kScalarFloats;
extern const ProductKernels<double> kScalarDoubles;

struct Table {
  const char* name;
  bool (*runs_here)();
  ProductKernels<float> floats;
  ProductKernels<double> doubles;
};

/// Every table of this build, the fastest first; the last one runs everywhere.
std::span<const Table> tables();

}  // namespace bitlog2::products
