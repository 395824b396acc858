#include "base/matrix_product.h"

#include <algorithm>
#include <cstdlib>
#include <optional>
#include <string_view>
#include <type_traits>

#include "base/products/product.h"

namespace bitlog2 {
namespace {

using products::divide_up;
using products::ProductKernels;
using products::Table;

/// The number of multiply-adds for which a further task is worth its cost.
constexpr std::size_t kWorkPerTask = 1 << 20;

/// BITLOG2_ISA names a table of integer kernels (--isa); float products use no larger instruction
/// set.
bool is_allowed(const Table& table, std::string_view wanted) {
  const std::string_view name = table.name;
  if (name == "scalar" || wanted.empty()) {
    return true;
  }
  if (name == "avx512") {
    return wanted.starts_with("avx512");
  }
  if (name == "avx2") {
    return wanted.starts_with("avx");
  }
  return wanted == name;
}

const Table& choose_table() {
  const char* wanted = std::getenv("BITLOG2_ISA");  // NOLINT(concurrency-mt-unsafe)
  const auto tables = products::tables();
  return *std::ranges::find_if(tables, [&](const Table& table) {
    return table.runs_here() && is_allowed(table, wanted == nullptr ? "" : wanted);
  });
}

const Table& table_in_use() {
  static const Table& table = choose_table();
  return table;
}

template <class Real>
const ProductKernels<Real>& kernels() {
  if constexpr (std::is_same_v<Real, float>) {
    return table_in_use().floats;
  } else {
    return table_in_use().doubles;
  }
}

}  // namespace

template <class Real>
void multiply(const MatrixView<Real>& a, const MatrixView<Real>& b, Real* c, std::size_t c_step,
              Onto onto) {
  products::multiply_with(kernels<Real>(), a, b, c, c_step, onto);
}

namespace {

/// `packed` is b, or null.
template <class Real>
void multiply_on_pool(const MatrixView<Real>& a, const MatrixView<Real>& b,
                      const products::PackedRight<Real>* packed, Real* c, std::size_t c_step,
                      Onto onto, ThreadPool& pool) {
  if (a.rows == 0 || b.columns == 0) {
    return;
  }
  const auto& table = kernels<Real>();
  // Several tasks for each thread, so that the threads finish at about the same time. Each task
  // packs its own share of both matrices. A matrix of which all tasks read the whole is packed once
  // for all: the right one if only rows are divided, the left one if only columns are.
  const std::size_t worthwhile = divide_up(a.rows * b.columns * (a.columns + 1), kWorkPerTask);
  const std::size_t wanted = pool.size() == 1 ? 1 : std::min(4 * pool.size(), worthwhile);
  const std::size_t row_tasks = std::clamp<std::size_t>(a.rows / products::kRowsPacked, 1, wanted);
  const std::size_t rows = divide_up(a.rows, row_tasks);
  const std::size_t panel = table.width * table.vectors;
  const std::size_t columns =
      divide_up(divide_up(b.columns, divide_up(wanted, row_tasks)), panel) * panel;
  const std::size_t across = divide_up(b.columns, columns);
  if (packed == nullptr && row_tasks > 1 && across == 1) {
    const products::PackedRight<Real> made(table, b, pool);
    return multiply_on_pool(a, b, &made, c, c_step, onto, pool);
  }
  std::optional<products::PackedLeft<Real>> left;
  if (row_tasks == 1 && across > 1 && products::PackedLeft<Real>::holds(table, a)) {
    left.emplace(table, a, pool);
  }
  pool.parallel_for(row_tasks * across, 1, [&](std::size_t begin, std::size_t end) {
    for (std::size_t task = begin; task < end; ++task) {
      const std::size_t row = task / across * rows;
      const std::size_t column = task % across * columns;
      if (row < a.rows) {
        products::multiply_with(table, a.middle_rows(row, std::min(rows, a.rows - row)),
                                b.middle_columns(column, std::min(columns, b.columns - column)),
                                c + row * c_step + column, c_step, onto,
                                {left ? &*left : nullptr, packed, column / panel});
      }
    }
  });
}

}  // namespace

template <class Real>
void multiply(const MatrixView<Real>& a, const MatrixView<Real>& b, Real* c, std::size_t c_step,
              Onto onto, ThreadPool& pool) {
  multiply_on_pool<Real>(a, b, nullptr, c, c_step, onto, pool);
}

template <class Real>
PackedMatrix<Real>::PackedMatrix(const MatrixView<Real>& matrix, ThreadPool& pool)
    : view_(matrix),
      packed_(std::make_shared<const products::PackedRight<Real>>(kernels<Real>(), matrix, pool)) {}

template <class Real>
void multiply(const MatrixView<Real>& a, const PackedMatrix<Real>& b, Real* c, std::size_t c_step,
              Onto onto, ThreadPool& pool) {
  multiply_on_pool(a, b.view(), &b.packed(), c, c_step, onto, pool);
}

template void multiply(const MatrixView<float>&, const MatrixView<float>&, float*, std::size_t,
                       Onto);
template void multiply(const MatrixView<double>&, const MatrixView<double>&, double*, std::size_t,
                       Onto);
template void multiply(const MatrixView<float>&, const MatrixView<float>&, float*, std::size_t,
                       Onto, ThreadPool&);
template void multiply(const MatrixView<double>&, const MatrixView<double>&, double*, std::size_t,
                       Onto, ThreadPool&);
template class PackedMatrix<float>;
template class PackedMatrix<double>;
template void multiply(const MatrixView<float>&, const PackedMatrix<float>&, float*, std::size_t,
                       Onto, ThreadPool&);
template void multiply(const MatrixView<double>&, const PackedMatrix<double>&, double*, std::size_t,
                       Onto, ThreadPool&);

std::vector<std::string> available_product_isas() {
  std::vector<std::string> names;
  for (const Table& table : products::tables()) {
    if (table.runs_here()) {
      names.emplace_back(table.name);
    }
  }
  return names;
}

std::string product_isa() {
  return table_in_use().name;
}

}  // namespace bitlog2
