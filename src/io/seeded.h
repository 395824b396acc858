// Seeded choices that are the same on every machine: std's distributions and shuffles differ
// between libraries.
#pragma once

#include <cstddef>
#include <cstdint>
#include <numeric>
#include <random>
#include <utility>
#include <vector>

namespace bitlog2 {

/// A uniform number below `bound`.
inline std::uint64_t number_below(std::uint64_t bound, std::mt19937_64& engine) {
  const std::uint64_t accepted = std::mt19937_64::max() - std::mt19937_64::max() % bound;
  std::uint64_t number = engine();
  while (number >= accepted) {
    number = engine();
  }
  return number % bound;
}

/// Puts a random choice of `values`, in random order, at the first `count` places: the first steps
/// of Fisher and Yates' shuffle. A larger `count` does not change the first values.
template <class Value>
void shuffle_first(std::vector<Value>& values, std::size_t count, std::mt19937_64& engine) {
  for (std::size_t i = 0; i < count; ++i) {
    std::swap(values[i], values[i + number_below(values.size() - i, engine)]);
  }
}

/// 0, 1, ..., count - 1.
inline std::vector<std::size_t> numbers_below(std::size_t count) {
  std::vector<std::size_t> numbers(count);
  std::iota(numbers.begin(), numbers.end(), std::size_t{0});
  return numbers;
}

}  // namespace bitlog2
