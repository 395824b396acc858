#include "quant/tails.h"

#include <algorithm>
#include <cmath>
#include <functional>

#include "bitlog2/quantizers.h"

namespace bitlog2::quant {
namespace {

constexpr std::size_t kTorchQuantileLimit = 16'000'000;
constexpr std::size_t kBlock = 1 << 20;  // of values between two cuts
constexpr std::size_t kPart = 1 << 16;   // of a block, for one thread

std::size_t tail_length(std::size_t count, double share) {
  const auto reach = static_cast<std::size_t>(static_cast<double>(count) * share) + 3;
  return 2 * reach >= count ? count : reach;
}

}  // namespace

Tails::Tails(std::size_t count, double share) : count_(count), length_(tail_length(count, share)) {}

void Tails::add(std::span<const float> values, ThreadPool& pool) {
  add_to(low_, values, std::less<>(), pool);
  add_to(high_, values, std::greater<>(), pool);
}

template <class Before>
void Tails::add_to(End& end, std::span<const float> values, Before before, ThreadPool& pool) const {
  for (std::size_t start = 0; start < values.size(); start += kBlock) {
    const auto block = values.subspan(start, std::min(kBlock, values.size() - start));
    std::vector<std::vector<float>> parts((block.size() + kPart - 1) / kPart);
    // Before the first cut the limit is infinite, and infinities, which do not come before it,
    // would be lost.
    const bool takes_all = end.kept.size() < length_;
    pool.parallel_for(block.size(), kPart, [&](std::size_t first, std::size_t last) {
      std::vector<float>& part = parts[first / kPart];
      for (const float value : block.subspan(first, last - first)) {
        if (takes_all || before(value, end.limit)) {
          part.push_back(value);
        }
      }
    });
    for (const std::vector<float>& part : parts) {
      end.kept.insert(end.kept.end(), part.begin(), part.end());
    }
    if (end.kept.size() >= 2 * length_) {
      cut(end, before);
    }
  }
}

template <class Before>
void Tails::cut(End& end, Before before) const {
  if (end.kept.size() <= length_) {
    return;
  }
  const auto last = end.kept.begin() + static_cast<std::ptrdiff_t>(length_ - 1);
  std::nth_element(end.kept.begin(), last, end.kept.end(), before);
  end.limit = *last;
  end.kept.resize(length_);
}

void Tails::finish() {
  cut(low_, std::less<>());
  cut(high_, std::greater<>());
  std::ranges::sort(low_.kept, std::less<>());
  std::ranges::sort(high_.kept, std::greater<>());
}

float Tails::at(std::size_t rank) const {
  return rank < low_.kept.size() ? low_.kept[rank] : high_.kept[count_ - 1 - rank];
}

float Tails::quantile(double p) const {
  if (count_ > kTorchQuantileLimit) {
    const double rank = p * static_cast<double>(count_ - 1);
    const auto below = static_cast<std::size_t>(rank);
    const std::size_t above = std::min(below + 1, count_ - 1);
    const double weight = rank - std::floor(rank);
    return static_cast<float>(at(below) * (1 - weight) + at(above) * weight);
  }
  const float rank = static_cast<float>(p) * static_cast<float>(count_ - 1);
  const auto below = static_cast<std::size_t>(rank);
  const auto above = static_cast<std::size_t>(std::ceil(rank));
  const float weight = rank - std::floor(rank);
  const float a = at(below);
  const float b = at(above);
  // torch's lerp, which starts from the nearer end
  return weight < 0.5F ? a + weight * (b - a) : b - (b - a) * (1.0F - weight);
}

}  // namespace bitlog2::quant

namespace bitlog2 {

float quantile(std::span<const float> values, double p) {
  ThreadPool serial(1);
  quant::Tails tails(values.size(), std::min(p, 1.0 - p));
  tails.add(values, serial);
  tails.finish();
  return tails.quantile(p);
}

}  // namespace bitlog2
