// Classes by nearest neighbours. Sums have a fixed number of lanes, so that they do not depend on
// the processor.
#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "base/elementary.h"
#include "base/target_clones.h"
#include "bitlog2/probe.h"

namespace bitlog2 {
namespace {

constexpr std::size_t kLanes = 16;
/// Training embeddings that are compared with several queries in turn, while they are in a cache.
constexpr std::size_t kBlockValues = std::size_t{1} << 15;
constexpr std::size_t kQueriesAtOnce = 16;

BITLOG2_TARGET_CLONES
float dot(const float* a, const float* b, std::size_t count) {
  std::array<float, kLanes> sums = {};
  std::size_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    for (std::size_t lane = 0; lane < kLanes; ++lane) {
      sums[lane] += a[i + lane] * b[i + lane];
    }
  }
  for (std::size_t lane = 0; i + lane < count; ++lane) {
    sums[lane] += a[i + lane] * b[i + lane];
  }
  for (std::size_t width = kLanes / 2; width > 0; width /= 2) {
    for (std::size_t lane = 0; lane < width; ++lane) {
      sums[lane] += sums[lane + width];
    }
  }
  return sums[0];
}

/// 1 / |x|, and 0 for 0, which is similar to nothing.
float inverse_norm(std::span<const float> x) {
  const float square = dot(x.data(), x.data(), x.size());
  return square > 0 ? 1 / std::sqrt(square) : 0;
}

struct Neighbour {
  float cosine;
  std::size_t index;
};

bool nearer(const Neighbour& a, const Neighbour& b) {
  return a.cosine != b.cosine ? a.cosine > b.cosine : a.index < b.index;
}

/// The nearest of those that were offered: a heap, the farthest of them first.
class Nearest {
 public:
  explicit Nearest(std::size_t most) : most_(most) {}

  void offer(const Neighbour& neighbour) {
    if (found_.size() == most_) {
      if (most_ == 0 || !nearer(neighbour, found_.front())) {
        return;
      }
      std::ranges::pop_heap(found_, nearer);
      found_.pop_back();
    }
    found_.push_back(neighbour);
    std::ranges::push_heap(found_, nearer);
  }

  /// Nearest first, so that sums have one order.
  std::vector<float> votes(const Embeddings& training, std::size_t classes) {
    std::ranges::sort(found_, nearer);
    std::vector<double> votes(classes);
    for (const Neighbour& neighbour : found_) {
      votes[static_cast<std::size_t>(training.labels[neighbour.index])] +=
          elementary::exp(neighbour.cosine / kVoteTemperature);
    }
    return {votes.begin(), votes.end()};
  }

 private:
  std::size_t most_;
  std::vector<Neighbour> found_;
};

Accuracy count_votes(std::span<const float> votes, int label) {
  Accuracy accuracy;
  accuracy.count(votes, label);
  if (votes[static_cast<std::size_t>(label)] == 0) {
    accuracy.top1_correct = 0;
    accuracy.top5_correct = 0;
  }
  accuracy.loss_sum = std::numeric_limits<double>::quiet_NaN();
  return accuracy;
}

}  // namespace

NearestNeighbours::NearestNeighbours(const Embeddings& training, std::size_t classes,
                                     std::size_t neighbours)
    : training_(training), classes_(classes), neighbours_(neighbours) {
  inverse_norms_.reserve(training.count());
  for (std::size_t i = 0; i < training.count(); ++i) {
    inverse_norms_.push_back(inverse_norm(training.row(i)));
  }
}

std::vector<std::vector<float>> NearestNeighbours::votes_of(
    std::span<const std::span<const float>> queries) const {
  std::vector<Nearest> nearest(queries.size(), Nearest(neighbours_));
  std::vector<float> norms;
  norms.reserve(queries.size());
  for (const std::span<const float> query : queries) {
    norms.push_back(inverse_norm(query));
  }
  const std::size_t size = training_.size;
  const std::size_t block = std::max<std::size_t>(1, kBlockValues / std::max<std::size_t>(size, 1));
  for (std::size_t first = 0; first < training_.count(); first += block) {
    const std::size_t end = std::min(first + block, training_.count());
    for (std::size_t q = 0; q < queries.size(); ++q) {
      for (std::size_t i = first; i < end; ++i) {
        const float product = dot(queries[q].data(), training_.row(i).data(), size);
        nearest[q].offer({product * inverse_norms_[i] * norms[q], i});
      }
    }
  }
  std::vector<std::vector<float>> votes;
  votes.reserve(nearest.size());
  for (Nearest& found : nearest) {
    votes.push_back(found.votes(training_, classes_));
  }
  return votes;
}

std::vector<float> NearestNeighbours::votes(std::span<const float> query) const {
  return votes_of(std::span(&query, 1)).front();
}

Accuracy NearestNeighbours::accuracy(const Embeddings& queries, ThreadPool& pool) const {
  const std::size_t groups = (queries.count() + kQueriesAtOnce - 1) / kQueriesAtOnce;
  std::vector<Accuracy> accuracies(groups);
  pool.parallel_for(groups, 1, [&](std::size_t group, std::size_t) {
    std::vector<std::span<const float>> rows;
    const std::size_t first = group * kQueriesAtOnce;
    for (std::size_t i = first; i < std::min(first + kQueriesAtOnce, queries.count()); ++i) {
      rows.push_back(queries.row(i));
    }
    const std::vector<std::vector<float>> votes = votes_of(rows);
    for (std::size_t i = 0; i < rows.size(); ++i) {
      accuracies[group].add(count_votes(votes[i], queries.labels[first + i]));
    }
  });
  Accuracy total;
  for (const Accuracy& accuracy : accuracies) {
    total.add(accuracy);
  }
  return total;
}

}  // namespace bitlog2
