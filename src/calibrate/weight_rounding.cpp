#include "calibrate/weight_rounding.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <utility>
#include <vector>

#include "base/target_clones.h"
#include "calibrate/factorization.h"
#include "quant/affine.h"

namespace bitlog2::calibration {
namespace {

constexpr std::size_t kRowsPerTask = 8;

using Step = quant::AffineStep<>;

/// values <- values - factor * others.
BITLOG2_TARGET_CLONES void subtract(float factor, const float* others, float* values,
                                    std::size_t count) {
  for (std::size_t i = 0; i < count; ++i) {
    values[i] -= factor * others[i];
  }
}

/// What GPTQ needs of the Hessian: an order of columns and, in that order, the Hessian itself and
/// the upper triangular U with H^-1 = U^T U.
struct Elimination {
  std::vector<std::size_t> order;
  std::vector<float> upper;    // [in, in]
  std::vector<float> hessian;  // [in, in], in that order
};

Elimination eliminate(const Matrix& hessian, ThreadPool& pool) {
  const auto size = static_cast<std::size_t>(hessian.rows());
  Elimination result;
  result.order.resize(size);
  std::iota(result.order.begin(), result.order.end(), std::size_t{0});
  std::stable_sort(result.order.begin(), result.order.end(), [&](std::size_t a, std::size_t b) {
    return hessian(index(a), index(a)) > hessian(index(b), index(b));
  });
  Matrix permuted(hessian.rows(), hessian.cols());
  for (std::size_t i = 0; i < size; ++i) {
    for (std::size_t j = 0; j < size; ++j) {
      permuted(index(i), index(j)) = hessian(index(result.order[i]), index(result.order[j]));
    }
  }
  result.hessian.resize(size * size);
  copy_to(permuted, result.hessian);
  const Matrix upper = cholesky_of_inverse(std::move(permuted), pool);
  result.upper.resize(size * size);
  copy_to(upper, result.upper);
  return result;
}

/// Rounds one row in place, in elimination order; later columns compensate for the error of each
/// column. The result is the error (w - w^)^T H (w - w^).
double round_row(const Elimination& elimination, const Step& codes, std::span<float> row) {
  const std::size_t size = row.size();
  double error = 0;
  for (std::size_t j = 0; j < size; ++j) {
    const float* upper = elimination.upper.data() + j * size;
    const float rounded = codes(row[j]);
    const float lost = (row[j] - rounded) / upper[j];
    error += static_cast<double>(lost) * lost;
    row[j] = rounded;
    subtract(lost, upper + j + 1, row.data() + j + 1, size - j - 1);
  }
  return error;
}

/// Coordinate descent. GPTQ does not return to a column, so with all other columns known, some
/// weights have a better code. `row` holds weights on `codes`, in elimination order; each in turn
/// goes to its best code, then the scale to its best value, until nothing moves.
void descend(const Elimination& elimination, std::span<const float> wanted, Step& codes,
             std::span<float> row) {
  constexpr int kRounds = 5;
  const std::size_t size = row.size();
  const auto hessian_row = [&](std::size_t j) { return elimination.hessian.data() + j * size; };
  std::vector<float> goal(size);      // H wanted
  std::vector<float> gradient(size);  // H (wanted - row)
  for (std::size_t j = 0; j < size; ++j) {
    subtract(-wanted[j], hessian_row(j), goal.data(), size);
    subtract(row[j] - wanted[j], hessian_row(j), gradient.data(), size);
  }
  bool moved = true;
  for (int round = 0; round < kRounds && moved; ++round) {
    moved = false;
    for (std::size_t j = 0; j < size; ++j) {
      const float best = codes(row[j] + gradient[j] / hessian_row(j)[j]);
      const float step = best - row[j];
      if (std::fabs(step) > 0.5F * codes.scale) {
        subtract(step, hessian_row(j), gradient.data(), size);
        row[j] = best;
        moved = true;
      }
    }
    // (wanted - f row)^T H (wanted - f row) is lowest at f = 1 + row^T g / row^T H row.
    double slope = 0;
    double curvature = 0;
    for (std::size_t j = 0; j < size; ++j) {
      slope += static_cast<double>(row[j]) * gradient[j];
      curvature += static_cast<double>(row[j]) * (goal[j] - gradient[j]);
    }
    const double factor = curvature > 0 ? 1 + slope / curvature : 1.0;
    if (factor < 0.5 || factor > 2) {
      return;
    }
    const Step before = codes;
    codes.scale *= static_cast<float>(factor);
    for (std::size_t j = 0; j < size; ++j) {
      row[j] = codes.decode(before.encode(row[j]));
      gradient[j] = goal[j] - static_cast<float>(factor) * (goal[j] - gradient[j]);
    }
  }
}

/// Rounds one row, each weight to its nearest code. The result is the same kind of error.
double round_row_to_nearest(const Matrix& hessian, const Step& codes, std::span<float> row) {
  Vector lost(index(row.size()));
  for (std::size_t j = 0; j < row.size(); ++j) {
    const float rounded = codes(row[j]);
    lost[index(j)] = static_cast<double>(row[j]) - rounded;
    row[j] = rounded;
  }
  return lost.dot(hessian * lost);
}

/// The shares of a row's range that are tried.
std::vector<float> range_shares(const RoundingOptions& options) {
  std::vector<float> shares = {1.0F};
  const float smallest = options.bits >= 4 ? 0.6F : 0.3F;
  while (options.search && options.bits < 8 && shares.back() - 0.04F > smallest) {
    shares.push_back(shares.back() - 0.04F);
  }
  return shares;
}

}  // namespace

RoundedWeights round_weights(const Matrix& weights, const Matrix& hessian,
                             const RoundingOptions& options, ThreadPool& pool) {
  const auto rows = static_cast<std::size_t>(weights.rows());
  const auto columns = static_cast<std::size_t>(weights.cols());
  const Elimination elimination = options.second_order ? eliminate(hessian, pool) : Elimination{};
  const std::vector<float> shares = range_shares(options);
  RoundedWeights result;
  result.weights.resize(weights.rows(), weights.cols());
  result.quantizer.bits = options.bits;
  result.quantizer.scale.resize(rows);
  result.quantizer.zero_point.resize(rows);
  pool.parallel_for(rows, kRowsPerTask, [&](std::size_t begin, std::size_t end) {
    std::vector<float> row(columns);
    std::vector<float> rounded(columns);
    std::vector<float> best(columns);
    for (std::size_t r = begin; r < end; ++r) {
      for (std::size_t j = 0; j < columns; ++j) {
        const std::size_t column = options.second_order ? elimination.order[j] : j;
        row[j] = static_cast<float>(weights(index(r), index(column)));
      }
      const auto [low, high] = std::minmax_element(row.begin(), row.end());
      double lowest = std::numeric_limits<double>::infinity();
      Step best_codes;
      for (const float share : shares) {
        const Step codes = quant::step_between(*low * share, *high * share, options.bits);
        rounded = row;
        const double error = options.second_order ? round_row(elimination, codes, rounded)
                                                  : round_row_to_nearest(hessian, codes, rounded);
        if (error < lowest) {
          lowest = error;
          best_codes = codes;
          best = rounded;
        }
      }
      if (options.second_order) {
        descend(elimination, row, best_codes, best);
      }
      result.quantizer.scale[r] = best_codes.scale;
      result.quantizer.zero_point[r] = best_codes.zero_point;
      for (std::size_t j = 0; j < columns; ++j) {
        const std::size_t column = options.second_order ? elimination.order[j] : j;
        result.weights(index(r), index(column)) = best[j];
      }
    }
  });
  return result;
}

}  // namespace bitlog2::calibration
