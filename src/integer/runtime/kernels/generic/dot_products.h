// Products of bytes, for instruction sets that have a dot product of four: rows by channels, all
// sums in registers.
#pragma once

#include <cstddef>
#include <cstdint>

#include "../kernels.h"

namespace bitlog2::runtime {
namespace {

/// Rows by Columns registers of channels from c on; dot(sums, four bytes of a row, values) adds
/// products. During a step, either the columns or the rows are held in registers: HoldsColumns
/// chooses.
template <std::size_t Rows, std::size_t Columns, bool HoldsColumns, class Dot>
inline void multiply_tile(const Inputs& inputs, std::size_t r, const Panel& panel, std::size_t c,
                          const Dot& dot, std::int32_t* sums, std::size_t stride) {
  const std::uint8_t* first = inputs.row(r);
  // Every loop over `totals` is unrolled, or it would not stay in registers.
  I32 totals[Rows][Columns];
#pragma GCC unroll 8
  for (std::size_t i = 0; i < Rows; ++i) {
#pragma GCC unroll 8
    for (std::size_t j = 0; j < Columns; ++j) {
      totals[i][j] = I32::all(0);
    }
  }
  const std::int8_t* values = panel.values + c * kDepthStep;
  const std::size_t steps = panel.steps();
  for (std::size_t step = 0; step < steps; ++step) {
    const auto row = [&](std::size_t i) {
      std::int32_t four = 0;
      __builtin_memcpy(&four, first + i * inputs.stride + step * kDepthStep, sizeof(four));
      return I32::all(four);
    };
    const auto column = [&](std::size_t j) { return U8::load(values + j * kBytes); };
    if constexpr (HoldsColumns) {
      U8 columns[Columns];
#pragma GCC unroll 8
      for (std::size_t j = 0; j < Columns; ++j) {
        columns[j] = column(j);
      }
#pragma GCC unroll 8
      for (std::size_t i = 0; i < Rows; ++i) {
        const I32 four = row(i);
#pragma GCC unroll 8
        for (std::size_t j = 0; j < Columns; ++j) {
          totals[i][j] = dot(totals[i][j], four, columns[j]);
        }
      }
    } else {
      I32 rows[Rows];
#pragma GCC unroll 8
      for (std::size_t i = 0; i < Rows; ++i) {
        rows[i] = row(i);
      }
#pragma GCC unroll 8
      for (std::size_t j = 0; j < Columns; ++j) {
        const U8 four = column(j);
#pragma GCC unroll 8
        for (std::size_t i = 0; i < Rows; ++i) {
          totals[i][j] = dot(totals[i][j], rows[i], four);
        }
      }
    }
    values += panel.width * kDepthStep;
  }
#pragma GCC unroll 8
  for (std::size_t i = 0; i < Rows; ++i) {
#pragma GCC unroll 8
    for (std::size_t j = 0; j < Columns; ++j) {
      totals[i][j].store(sums + (r + i) * stride + c + j * kValues);
    }
  }
}

/// All rows from r on, Rows at a time, and then the rest together.
template <std::size_t Rows, std::size_t Columns, bool HoldsColumns, class Dot>
inline void multiply_rows(const Inputs& inputs, std::size_t r, std::size_t rows, const Panel& panel,
                          std::size_t c, const Dot& dot, std::int32_t* sums, std::size_t stride) {
  for (; r + Rows <= rows; r += Rows) {
    multiply_tile<Rows, Columns, HoldsColumns>(inputs, r, panel, c, dot, sums, stride);
  }
  if constexpr (Rows > 1) {
    if (r < rows) {
      multiply_rows<Rows - 1, Columns, HoldsColumns>(inputs, r, rows, panel, c, dot, sums, stride);
    }
  }
}

}  // namespace
}  // namespace bitlog2::runtime
