// bench_products: prints a table that compares float matrix products (base/matrix_product.h) with
// OpenBLAS's, on one thread, in the shapes of DeiT-Tiny and ViT-B. `./dev bench products` runs it
// for each instruction set and gives OpenBLAS the kernels of that set (OPENBLAS_CORETYPE).
#include <cblas.h>
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <limits>
#include <random>
#include <string_view>
#include <vector>

#include "base/matrix_product.h"

namespace {

using bitlog2::MatrixView;

constexpr int kRounds = 25;  // the best round counts
constexpr double kOperationsARound = 2e8;
constexpr double kLeastRatio = 0.95;  // of ours to OpenBLAS's

enum class Kind { weights, values, gram };  // a b^T, a b, a^T b

struct Shape {
  std::string_view name;
  std::size_t rows;
  std::size_t columns;
  std::size_t depth;
  Kind kind;
};

constexpr Shape kShapes[] = {
    {"DeiT-Tiny patch_embed", 196, 192, 768, Kind::weights},
    {"DeiT-Tiny qkv", 197, 576, 192, Kind::weights},
    {"DeiT-Tiny q k^T", 197, 197, 64, Kind::weights},
    {"DeiT-Tiny map v", 197, 64, 197, Kind::values},
    {"DeiT-Tiny proj", 197, 192, 192, Kind::weights},
    {"DeiT-Tiny fc1", 197, 768, 192, Kind::weights},
    {"DeiT-Tiny fc2", 197, 192, 768, Kind::weights},
    {"DeiT-Tiny head", 1, 1000, 192, Kind::weights},
    {"DeiT-Tiny moments", 192, 192, 1024, Kind::gram},
    {"ViT-B qkv", 197, 2304, 768, Kind::weights},
    {"ViT-B proj", 197, 768, 768, Kind::weights},
    {"ViT-B fc1", 197, 3072, 768, Kind::weights},
    {"ViT-B fc2", 197, 768, 3072, Kind::weights},
    {"ViT-B moments", 768, 768, 1024, Kind::gram},
};

std::vector<float> normal_values(std::size_t count) {
  std::mt19937 random(1);
  std::normal_distribution<float> normal;
  std::vector<float> values(count);
  std::ranges::generate(values, [&] { return normal(random); });
  return values;
}

/// The mean seconds of one call, over `calls` calls.
template <class Body>
double time_calls(int calls, Body body) {
  const auto start = std::chrono::steady_clock::now();
  for (int i = 0; i < calls; ++i) {
    body();
  }
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count() / calls;
}

void measure(const Shape& shape) {
  const auto [name, rows, columns, depth, kind] = shape;
  const std::vector<float> left = normal_values(rows * depth);
  const std::vector<float> right = normal_values(columns * depth);
  std::vector<float> result(rows * columns);
  MatrixView<float> a = {left.data(), rows, depth, depth};
  MatrixView<float> b = {right.data(), depth, columns, columns};
  if (kind == Kind::gram) {
    a = {left.data(), rows, depth, 1, rows};
  }
  if (kind == Kind::weights) {
    b = {right.data(), depth, columns, 1, depth};
  }
  const auto ours = [&] { bitlog2::multiply(a, b, result.data(), columns); };
  const auto blas = [&] {
    const auto size = [](std::size_t value) { return static_cast<blasint>(value); };
    cblas_sgemm(CblasRowMajor, kind == Kind::gram ? CblasTrans : CblasNoTrans,
                kind == Kind::weights ? CblasTrans : CblasNoTrans, size(rows), size(columns),
                size(depth), 1.0F, left.data(), size(kind == Kind::gram ? rows : depth),
                right.data(), size(kind == Kind::weights ? depth : columns), 0.0F, result.data(),
                size(columns));
  };
  const double operations = 2.0 * static_cast<double>(rows * columns * depth);
  const int calls = std::max(1, static_cast<int>(kOperationsARound / operations));
  double best_ours = std::numeric_limits<double>::infinity();
  double best_blas = best_ours;
  for (int round = 0; round < kRounds; ++round) {  // in turns, so that noise affects both alike
    best_ours = std::min(best_ours, time_calls(calls, ours));
    best_blas = std::min(best_blas, time_calls(calls, blas));
  }
  const double ratio = best_blas / best_ours;
  fmt::print("{:<22} {:>4} x {:>4} x {:>4} {:>8.1f} {:>9.1f} {:>7.2f}  {}\n", name, rows, columns,
             depth, operations / best_ours / 1e9, operations / best_blas / 1e9, ratio,
             ratio >= kLeastRatio ? "ok" : "MISSED");
}

}  // namespace

int main() {
  openblas_set_num_threads(1);
  fmt::print("{} beside OpenBLAS's {}, Gflop/s, best of {}; the ratio must be at least {}\n",
             bitlog2::product_isa(), openblas_get_corename(), kRounds, kLeastRatio);
  fmt::print("{:<22} {:>18} {:>8} {:>9} {:>7}\n", "product", "rows, columns, k", "ours", "OpenBLAS",
             "ratio");
  for (const Shape& shape : kShapes) {
    measure(shape);
  }
  return 0;
}
