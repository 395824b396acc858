#include "base/products/product.h"

#include <algorithm>

namespace bitlog2::products {
namespace {

// How much of the matrices is packed at a time. A panel of the right one, of depth kDepth, stays in
// a first-level cache while the left panels are multiplied by it; the left panels, the block of
// right panels and their products stay in a second-level cache.
constexpr std::size_t kDepth = 256;
constexpr std::size_t kColumns = 256;
constexpr std::size_t kLeftDepth = 4096;  // only bounds memory

/// Packs `lines`, each a row of a left or a column of a right matrix, as panels side by side:
/// `panels` says where panel p begins, p = 0, 1, .., and how wide it is.
template <class Real, class Panels>
void pack_panels(const ProductKernels<Real>& kernels, const MatrixView<Real>& lines,
                 std::size_t first_panel, std::size_t last_panel, const Panels& panels,
                 std::size_t k, std::size_t depth, Real* target) {
  // Elements that are neighbours in memory are read together: one panel after the other along k, or
  // a few k of all panels.
  const std::size_t chunk = lines.column_step == 1 ? depth : 16;
  for (std::size_t done = 0; done < depth; done += chunk) {
    const std::size_t here = std::min(chunk, depth - done);
    Real* panel_values = target;
    for (std::size_t p = first_panel; p < last_panel; ++p) {
      const auto [line, count, width] = panels(p);
      kernels.pack(lines.values + line * lines.row_step + (k + done) * lines.column_step,
                   lines.row_step, lines.column_step, count, here, width,
                   panel_values + done * width);
      panel_values += depth * width;
    }
  }
}

/// The lines of a matrix that a panel holds.
struct PanelPlace {
  std::size_t line;
  std::size_t count;  // number of lines in it
  std::size_t width;  // width, empty lines included
};

/// How many panels of the left matrix are packed together.
template <class Real>
std::size_t panels_packed(const ProductKernels<Real>& kernels) {
  return kRowsPacked / kernels.rows;
}

/// All panels have the same number of rows or one less: none is nearly empty.
PanelPlace panel_of_left(std::size_t rows, std::size_t panels, std::size_t panel) {
  const std::size_t line = rows * panel / panels;
  const std::size_t count = rows * (panel + 1) / panels - line;
  return {line, count, count};
}

template <class Real>
PanelPlace panel_of_right(const ProductKernels<Real>& kernels, std::size_t columns,
                          std::size_t panel) {
  const std::size_t size = kernels.width * kernels.vectors;
  const std::size_t line = panel * size;
  const std::size_t count = std::min(size, columns - line);
  return {line, count, divide_up(count, kernels.width) * kernels.width};
}

/// One product, block by block.
template <class Real>
class Product {
 public:
  Product(const ProductKernels<Real>& kernels, const MatrixView<Real>& a, const MatrixView<Real>& b,
          Real* c, std::size_t c_step, const Packed<Real>& packed)
      : kernels_(kernels),
        packed_(packed),
        left_(a),
        right_(b.transposed()),
        c_(c),
        c_step_(c_step),
        depth_(std::min(kDepth, a.columns)),
        row_panels_(divide_up(a.rows, kernels_.rows)),
        left_panels_(packed.left == nullptr ? std::min(left_.rows, kRowsPacked + kernels_.rows) *
                                                      std::min(left_.columns, kLeftDepth) +
                                                  kernels_.width
                                            : 0),
        right_panels_(packed.right == nullptr
                          ? padded_columns(std::min(right_.rows, kColumns)) * depth_ +
                                kernels_.width
                          : 0) {}

  void run(bool adds) {
    const std::size_t row_step = panels_packed(kernels_);
    for (std::size_t k = 0; k < left_.columns; k += kLeftDepth) {
      for (std::size_t row = 0; row < row_panels_; row += row_step) {
        multiply_rows(row, std::min(row + row_step, row_panels_), k, adds || k > 0);
      }
    }
  }

 private:
  std::size_t panel_columns() const { return kernels_.width * kernels_.vectors; }

  std::size_t padded_columns(std::size_t columns) const {
    return divide_up(columns, kernels_.width) * kernels_.width;
  }

  /// Row panels [row, last_row) of the product over kLeftDepth of k.
  void multiply_rows(std::size_t row, std::size_t last_row, std::size_t k, bool adds) {
    const std::size_t end = std::min(k + kLeftDepth, left_.columns);
    const std::size_t first_line = left_panel(row).line;
    const std::size_t lines =
        left_panel(last_row - 1).line + left_panel(last_row - 1).count - first_line;
    for (std::size_t at = k; at < end && packed_.left == nullptr; at += kDepth) {
      pack_panels(
          kernels_, left_, row, last_row, [this](std::size_t p) { return left_panel(p); }, at,
          std::min(kDepth, end - at), left_panels_.get() + lines * (at - k));
    }
    const std::size_t column_step = kColumns / panel_columns();
    const std::size_t column_panels = divide_up(right_.rows, panel_columns());
    for (std::size_t column = 0; column < column_panels; column += column_step) {
      const std::size_t last_column = std::min(column + column_step, column_panels);
      for (std::size_t at = k; at < end; at += kDepth) {
        const std::size_t depth = std::min(kDepth, end - at);
        const Real* left = packed_.left != nullptr ? packed_.left->panels(at)
                                                   : left_panels_.get() + lines * (at - k);
        const Real* right = packed_.right != nullptr
                                ? packed_.right->panels(packed_.first_panel + column, at)
                                : pack_right(column, last_column, at, depth);
        multiply_block(left, right, row, last_row, column, last_column, depth, adds || at > k);
      }
    }
  }

  const Real* pack_right(std::size_t column, std::size_t last_column, std::size_t k,
                         std::size_t depth) {
    pack_panels(
        kernels_, right_, column, last_column, [this](std::size_t p) { return right_panel(p); }, k,
        depth, right_panels_.get());
    return right_panels_.get();
  }

  PanelPlace left_panel(std::size_t panel) const {
    return panel_of_left(left_.rows, row_panels_, panel);
  }

  PanelPlace right_panel(std::size_t panel) const {
    return panel_of_right(kernels_, right_.rows, panel);
  }

  void multiply_block(const Real* left_block, const Real* right, std::size_t row,
                      std::size_t last_row, std::size_t column, std::size_t last_column,
                      std::size_t depth, bool adds) {
    for (; column < last_column; ++column) {
      const PanelPlace columns = right_panel(column);
      const Real* left = left_block;
      for (std::size_t p = row; p < last_row; ++p) {
        const PanelPlace rows = left_panel(p);
        multiply_panels(left, right, rows.count, columns.count, depth,
                        c_ + rows.line * c_step_ + columns.line, adds);
        left += rows.width * depth;
      }
      right += columns.width * depth;
    }
  }

  void multiply_panels(const Real* left, const Real* right, std::size_t rows, std::size_t columns,
                       std::size_t depth, Real* c, bool adds) {
    const std::size_t vectors = divide_up(columns, kernels_.width);
    const auto tile = kernels_.tiles[(rows - 1) * kernels_.vectors + vectors - 1];
    const std::size_t padded = vectors * kernels_.width;
    if (columns == padded) {
      tile(left, right, depth, c, c_step_, adds);
      return;
    }
    Real edge[kLargestTile];
    for (std::size_t i = 0; adds && i < rows; ++i) {
      std::copy_n(c + i * c_step_, columns, edge + i * padded);
      std::fill_n(edge + i * padded + columns, padded - columns, Real{0});
    }
    tile(left, right, depth, edge, padded, adds);
    for (std::size_t i = 0; i < rows; ++i) {
      std::copy_n(edge + i * padded, columns, c + i * c_step_);
    }
  }

  const ProductKernels<Real>& kernels_;
  Packed<Real> packed_;
  MatrixView<Real> left_;
  MatrixView<Real> right_;  // transposed
  Real* c_;
  std::size_t c_step_;
  std::size_t depth_;
  std::size_t row_panels_;
  Buffer<Real> left_panels_;
  Buffer<Real> right_panels_;
};

}  // namespace

template <class Real>
PackedRight<Real>::PackedRight(const ProductKernels<Real>& kernels, const MatrixView<Real>& b,
                               ThreadPool& pool)
    : panel_columns_(kernels.width * kernels.vectors),
      // Packing may overwrite up to a vector of memory behind a block.
      block_(divide_up(b.columns, kernels.width) * kernels.width * std::min(kDepth, b.rows) +
             kernels.width),
      rows_(b.rows),
      values_(block_ * divide_up(b.rows, kDepth)) {
  const MatrixView<Real> lines = b.transposed();
  const std::size_t panels = divide_up(b.columns, panel_columns_);
  const auto place = [&](std::size_t p) { return panel_of_right(kernels, b.columns, p); };
  const std::size_t parts = divide_up(panels, kColumns / panel_columns_);  // of a block
  pool.parallel_for(divide_up(rows_, kDepth) * parts, 1, [&](std::size_t begin, std::size_t end) {
    for (std::size_t task = begin; task < end; ++task) {
      const std::size_t k = task / parts * kDepth;
      const std::size_t first = panels * (task % parts) / parts;
      const std::size_t depth = std::min(kDepth, rows_ - k);
      // The panels before are whole: as wide as a panel can be.
      pack_panels(kernels, lines, first, panels * (task % parts + 1) / parts, place, k, depth,
                  values_.get() + block_ * (k / kDepth) + first * panel_columns_ * depth);
    }
  });
}

template <class Real>
const Real* PackedRight<Real>::panels(std::size_t panel, std::size_t k) const {
  return values_.get() + k / kDepth * block_ + panel * panel_columns_ * std::min(kDepth, rows_ - k);
}

template <class Real>
bool PackedLeft<Real>::holds(const ProductKernels<Real>& kernels, const MatrixView<Real>& a) {
  return a.rows > 1 && divide_up(a.rows, kernels.rows) <= panels_packed(kernels) &&
         a.columns <= kLeftDepth;
}

template <class Real>
PackedLeft<Real>::PackedLeft(const ProductKernels<Real>& kernels, const MatrixView<Real>& a,
                             ThreadPool& pool)
    // Packing may overwrite up to a vector of memory behind a block.
    : block_(a.rows * std::min(kDepth, a.columns) + kernels.width),
      values_(block_ * divide_up(a.columns, kDepth)) {
  const std::size_t panels = divide_up(a.rows, kernels.rows);
  const auto place = [&](std::size_t p) { return panel_of_left(a.rows, panels, p); };
  pool.parallel_for(divide_up(a.columns, kDepth), 1, [&](std::size_t begin, std::size_t end) {
    for (std::size_t block = begin; block < end; ++block) {
      const std::size_t k = block * kDepth;
      pack_panels(kernels, a, 0, panels, place, k, std::min(kDepth, a.columns - k),
                  values_.get() + block_ * block);
    }
  });
}

template <class Real>
const Real* PackedLeft<Real>::panels(std::size_t k) const {
  return values_.get() + k / kDepth * block_;
}

template class PackedLeft<float>;
template class PackedLeft<double>;
template class PackedRight<float>;
template class PackedRight<double>;

namespace {

/// One row times the transpose of a matrix in memory, without packing, as far as there are whole
/// vectors. Returns the number of columns that are done.
template <class Real>
std::size_t multiply_whole_vectors(const ProductKernels<Real>& kernels, const MatrixView<Real>& a,
                                   const MatrixView<Real>& b, Real* c, bool adds) {
  const std::size_t width = kernels.width;
  const std::size_t depth = a.columns / width * width;
  const std::size_t columns = b.columns / width * width;
  if (a.rows != 1 || b.row_step != 1 || depth == 0 || columns == 0) {
    return 0;
  }
  kernels.multiply_row(a.values, a.column_step, b.values, b.column_step, columns, depth, c, adds);
  if (depth < a.columns) {
    Product<Real>(kernels, a.middle_columns(depth, a.columns - depth),
                  b.middle_rows(depth, a.columns - depth).middle_columns(0, columns), c, columns,
                  {})
        .run(true);
  }
  return columns;
}

}  // namespace

template <class Real>
void multiply_with(const ProductKernels<Real>& kernels, const MatrixView<Real>& a,
                   const MatrixView<Real>& b, Real* c, std::size_t c_step, Onto onto,
                   const Packed<Real>& packed) {
  if (a.columns == 0) {
    for (std::size_t i = 0; onto == Onto::nothing && i < a.rows; ++i) {
      std::fill_n(c + i * c_step, b.columns, Real{0});
    }
  } else if (a.rows > 0 && b.columns > 0) {
    const bool adds = onto == Onto::sums;
    const std::size_t done = multiply_whole_vectors(kernels, a, b, c, adds);
    if (done == 0) {
      Product<Real>(kernels, a, b, c, c_step, packed).run(adds);
    } else if (done < b.columns) {
      Product<Real>(kernels, a, b.middle_columns(done, b.columns - done), c + done, c_step, {})
          .run(adds);
    }
  }
}

template void multiply_with(const ProductKernels<float>&, const MatrixView<float>&,
                            const MatrixView<float>&, float*, std::size_t, Onto,
                            const Packed<float>&);
template void multiply_with(const ProductKernels<double>&, const MatrixView<double>&,
                            const MatrixView<double>&, double*, std::size_t, Onto,
                            const Packed<double>&);

}  // namespace bitlog2::products
