// Results do not depend on the number of threads.
#include "quant/affine_search.h"

#include <algorithm>
#include <limits>

#include "base/target_clones.h"
#include "quant/loops.h"

namespace bitlog2::quant {
namespace {

constexpr double kShare = 1.0 - kRangeQuantiles[0];

BITLOG2_TARGET_CLONES double squared_error(const AffineStep<>& step,
                                           std::span<const float> values) {
  return sum_squared_errors(step, values);
}

/// The quantile ranges, in the order in which they are tried.
std::vector<AffineStep<>> candidates_of(const Tails& tails, int bits) {
  const float low = tails.minimum();
  const float high = tails.maximum();
  if (low == high) {
    return {step_between(high, high, bits)};
  }
  std::vector<AffineStep<>> candidates;
  const auto consider = [&](float from, float to) {
    // Else the values are nearly constant between these quantiles.
    if ((to - from) / qmax_of(bits) > std::numeric_limits<float>::min()) {
      candidates.push_back(step_between(from, to, bits));
    }
  };
  for (const double p : kRangeQuantiles) {
    consider(tails.quantile(1.0 - p), tails.quantile(p));
  }
  if (candidates.empty()) {  // a few outliers on a constant
    consider(low, high);
  }
  if (candidates.empty()) {
    candidates.push_back(step_between(high, high, bits));
  }
  return candidates;
}

}  // namespace

AffineSearch::AffineSearch(std::size_t count, int bits) : bits_(bits), tails_(count, kShare) {}

void AffineSearch::add(std::span<const float> values, ThreadPool& pool) {
  if (candidates_.empty()) {
    tails_.add(values, pool);
    return;
  }
  for (std::size_t i = 0; i < candidates_.size(); ++i) {
    const AffineStep<> step = candidates_[i];
    errors_[i] += sum_over_chunks(
        values, pool, [&](std::span<const float> chunk) { return squared_error(step, chunk); });
  }
}

bool AffineSearch::next_pass() {
  if (!candidates_.empty()) {
    return false;
  }
  tails_.finish();
  candidates_ = candidates_of(tails_, bits_);
  errors_.assign(candidates_.size(), 0.0);
  tails_ = Tails(0, kShare);
  return candidates_.size() > 1;
}

AffineStep<> AffineSearch::step() const {
  return candidates_[static_cast<std::size_t>(std::ranges::min_element(errors_) - errors_.begin())];
}

Affine AffineSearch::found() const {
  const AffineStep<> found = step();
  return affine_of(std::span(&found, 1), bits_);
}

ColumnSearch::ColumnSearch(std::size_t rows, std::size_t columns, int bits)
    : bits_(bits), columns_(columns, AffineSearch(rows, bits)) {}

void ColumnSearch::add(std::span<const float> values, ThreadPool& pool) {
  const std::size_t columns = columns_.size();
  const std::size_t rows = values.size() / columns;
  pool.parallel_for(columns, kColumnsPerTask, [&](std::size_t begin, std::size_t end) {
    ThreadPool serial(1);
    const std::size_t width = end - begin;
    std::vector<float> transposed(width * rows);
    for (std::size_t row = 0; row < rows; ++row) {
      for (std::size_t i = 0; i < width; ++i) {
        transposed[i * rows + row] = values[row * columns + begin + i];
      }
    }
    for (std::size_t i = 0; i < width; ++i) {
      columns_[begin + i].add(std::span(transposed).subspan(i * rows, rows), serial);
    }
  });
}

bool ColumnSearch::next_pass() {
  bool wanted = false;
  for (AffineSearch& column : columns_) {
    wanted = column.next_pass() || wanted;
  }
  return wanted;
}

Affine ColumnSearch::found() const {
  std::vector<AffineStep<>> steps;
  for (const AffineSearch& column : columns_) {
    steps.push_back(column.step());
  }
  return affine_of(steps, bits_);
}

}  // namespace bitlog2::quant

namespace bitlog2 {
namespace {

/// All passes over values that are there at once.
template <class Search>
Search search_all(Search search, std::span<const float> values, ThreadPool& pool) {
  do {
    search.add(values, pool);
  } while (search.next_pass());
  return search;
}

}  // namespace

Affine calibrate_affine(std::span<const float> values, int bits, ThreadPool& pool) {
  return search_all(quant::AffineSearch(values.size(), bits), values, pool).found();
}

Affine calibrate_rows(std::span<const float> values, std::size_t rows, int bits, ThreadPool& pool) {
  const std::size_t columns = values.size() / rows;
  std::vector<quant::AffineStep<>> steps(rows);
  pool.parallel_for(rows, 16, [&](std::size_t begin, std::size_t end) {
    ThreadPool serial(1);
    for (std::size_t row = begin; row < end; ++row) {
      const auto row_values = values.subspan(row * columns, columns);
      steps[row] = search_all(quant::AffineSearch(columns, bits), row_values, serial).step();
    }
  });
  return quant::affine_of(steps, bits);
}

Affine calibrate_columns(std::span<const float> values, std::size_t columns, int bits,
                         ThreadPool& pool) {
  return search_all(quant::ColumnSearch(values.size() / columns, columns, bits), values, pool)
      .found();
}

}  // namespace bitlog2
