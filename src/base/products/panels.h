// Panels and tiles of matrix products, written once over the vectors of an instruction set. To be
// included within a target region, in a namespace of its own.
//
// A panel holds a few rows of the left matrix, or a few vectors of columns of the right one; the
// elements of one k lie side by side. A tile is the product of a left panel and a right panel.
//
// A vector class V has
//   Real, Vector, kWidth                          Vector: a GCC vector of kWidth Reals
//   load(const Real*), store(Real*, Vector)       unaligned
//   broadcast(Real), multiply_add(a, b, c)        a * b + c, rounded once
//   kRows, kVectors                               the largest tile that its registers hold

/// One stage of a transposition: swaps the elements whose row and column differ in bit `kBit`.
template <class V, std::size_t kBit, std::size_t... kLane>
inline void swap_blocks(typename V::Vector& a, typename V::Vector& b,
                        std::index_sequence<kLane...> /*lanes*/) {
  constexpr std::size_t kOther = V::kWidth - kBit;
  const auto low = __builtin_shufflevector(
      a, b, static_cast<int>((kLane & kBit) == 0 ? kLane : kLane + kOther)...);
  b = __builtin_shufflevector(
      a, b, static_cast<int>((kLane & kBit) == 0 ? kLane + kBit : kLane + V::kWidth)...);
  a = low;
}

template <class V, std::size_t kBit = 1>
inline void transpose(typename V::Vector (&rows)[V::kWidth]) {
  if constexpr (kBit < V::kWidth) {
#pragma GCC unroll 16
    for (std::size_t i = 0; i < V::kWidth; ++i) {
      if ((i & kBit) == 0) {
        swap_blocks<V, kBit>(rows[i], rows[i + kBit], std::make_index_sequence<V::kWidth>());
      }
    }
    transpose<V, 2 * kBit>(rows);
  }
}

/// Packs `width` lines that stand side by side. What is too much of a line's last vector is written
/// over by the next line, but stays within the panel.
template <class V>
inline void copy_lines(const typename V::Real* lines, std::size_t step, std::size_t depth,
                       std::size_t width, typename V::Real* panel) {
  const std::size_t written = (width + V::kWidth - 1) / V::kWidth * V::kWidth;
  std::size_t k = 0;
  for (; k * width + written <= depth * width; ++k) {
    for (std::size_t i = 0; i < written; i += V::kWidth) {
      V::store(panel + k * width + i, V::load(lines + k * step + i));
    }
  }
  for (; k < depth; ++k) {
    std::memcpy(panel + k * width, lines + k * step, width * sizeof(typename V::Real));
  }
}

/// Packs `count` lines of a matrix, whose elements along k stand `step` apart and which stand
/// `line_step` apart: panel[k * width + i] is element k of line i, 0 where i >= count. Up to one
/// vector of memory behind the panel may be overwritten.
template <class V>
inline void pack(const typename V::Real* lines, std::size_t line_step, std::size_t step,
                 std::size_t count, std::size_t depth, std::size_t width, typename V::Real* panel) {
  using Real = typename V::Real;
  if (line_step == 1 && count == width && step >= V::kWidth) {
    copy_lines<V>(lines, step, depth, width, panel);
    return;
  }
  if (step != 1 || V::kWidth == 1) {
    for (std::size_t k = 0; k < depth; ++k) {
      for (std::size_t i = 0; i < width; ++i) {
        panel[k * width + i] = i < count ? lines[k * step + i * line_step] : Real{0};
      }
    }
    return;
  }
  const std::size_t whole = depth / V::kWidth * V::kWidth;
  for (std::size_t first = 0; first < width; first += V::kWidth) {
    const Real* block = lines + first * line_step;
    const std::size_t here = count > first ? count - first : 0;
    for (std::size_t k = 0; k < whole; k += V::kWidth) {
      typename V::Vector rows[V::kWidth];
#pragma GCC unroll 16
      for (std::size_t i = 0; i < V::kWidth; ++i) {
        rows[i] = i < here ? V::load(block + i * line_step + k) : V::broadcast(0);
      }
      transpose<V>(rows);
#pragma GCC unroll 16
      for (std::size_t i = 0; i < V::kWidth; ++i) {
        Real* target = panel + (k + i) * width + first;
        if (width <= V::kWidth || first + V::kWidth <= width) {
          V::store(target, rows[i]);  // a narrow panel's next line comes over what is too much
        } else {
          std::memcpy(target, &rows[i], (width - first) * sizeof(Real));
        }
      }
    }
    for (std::size_t k = whole; k < depth; ++k) {
      for (std::size_t i = first; i < width && i < first + V::kWidth; ++i) {
        panel[k * width + i] = i < count ? lines[i * line_step + k] : Real{0};
      }
    }
  }
}

/// c [kRows, kVectors * kWidth] = or += a left panel of kRows times a right panel.
template <class V, std::size_t kRows, std::size_t kVectors>
void multiply_tile(const typename V::Real* left, const typename V::Real* right, std::size_t depth,
                   typename V::Real* c, std::size_t c_step, bool adds) {
  typename V::Vector sums[kRows][kVectors];
#pragma GCC unroll 16
  for (std::size_t i = 0; i < kRows; ++i) {
#pragma GCC unroll 4
    for (std::size_t v = 0; v < kVectors; ++v) {
      sums[i][v] = adds ? V::load(c + i * c_step + v * V::kWidth) : V::broadcast(0);
    }
  }
  for (std::size_t k = 0; k < depth; ++k) {
    typename V::Vector columns[kVectors];
#pragma GCC unroll 4
    for (std::size_t v = 0; v < kVectors; ++v) {
      columns[v] = V::load(right + v * V::kWidth);
    }
#pragma GCC unroll 16
    for (std::size_t i = 0; i < kRows; ++i) {
      const typename V::Vector row = V::broadcast(left[i]);
#pragma GCC unroll 4
      for (std::size_t v = 0; v < kVectors; ++v) {
        sums[i][v] = V::multiply_add(row, columns[v], sums[i][v]);
      }
    }
    left += kRows;
    right += kVectors * V::kWidth;
  }
#pragma GCC unroll 16
  for (std::size_t i = 0; i < kRows; ++i) {
#pragma GCC unroll 4
    for (std::size_t v = 0; v < kVectors; ++v) {
      V::store(c + i * c_step + v * V::kWidth, sums[i][v]);
    }
  }
}

/// c [columns] = or += one row, whose elements stand `left_step` apart, times `columns` lines of
/// the right matrix, each with its elements along k side by side. Nothing is packed: every line is
/// read once. `columns` and `depth` are whole numbers of vectors.
template <class V>
void multiply_row(const typename V::Real* left, std::size_t left_step,
                  const typename V::Real* lines, std::size_t line_step, std::size_t columns,
                  std::size_t depth, typename V::Real* c, bool adds) {
  // Several chains of multiply-adds at a time hide their latency.
  constexpr std::size_t kChains = 4;
  for (std::size_t first = 0; first < columns; first += kChains * V::kWidth) {
    const std::size_t chains = std::min(kChains, (columns - first) / V::kWidth);
    typename V::Vector sums[kChains];
    for (std::size_t n = 0; n < chains; ++n) {
      sums[n] = adds ? V::load(c + first + n * V::kWidth) : V::broadcast(0);
    }
    for (std::size_t k = 0; k < depth; k += V::kWidth) {
      for (std::size_t n = 0; n < chains; ++n) {
        const typename V::Real* block = lines + (first + n * V::kWidth) * line_step + k;
        typename V::Vector rows[V::kWidth];
#pragma GCC unroll 16
        for (std::size_t i = 0; i < V::kWidth; ++i) {
          rows[i] = V::load(block + i * line_step);
        }
        transpose<V>(rows);
#pragma GCC unroll 16
        for (std::size_t i = 0; i < V::kWidth; ++i) {
          sums[n] = V::multiply_add(V::broadcast(left[(k + i) * left_step]), rows[i], sums[n]);
        }
      }
    }
    for (std::size_t n = 0; n < chains; ++n) {
      V::store(c + first + n * V::kWidth, sums[n]);
    }
  }
}

template <class V, std::size_t... kTile>
constexpr std::array<TileFunction<typename V::Real>, sizeof...(kTile)> make_tiles(
    std::index_sequence<kTile...> /*tiles*/) {
  return {multiply_tile<V, kTile / V::kVectors + 1, kTile % V::kVectors + 1>...};
}

template <class V>
inline constexpr auto kTiles = make_tiles<V>(std::make_index_sequence<V::kRows * V::kVectors>());

template <class V>
constexpr ProductKernels<typename V::Real> make_kernels() {
  static_assert(V::kRows * V::kVectors * V::kWidth <= kLargestTile);
  return {V::kWidth, V::kRows, V::kVectors, pack<V>, multiply_row<V>, kTiles<V>};
}
