#include "io/nearest_word.h"

#include <algorithm>
#include <cstddef>
#include <numeric>
#include <vector>

namespace bitlog2 {
namespace {

/// Levenshtein's distance.
std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 0; i < a.size(); ++i) {
    std::size_t diagonal = row[0];
    row[0] = i + 1;
    for (std::size_t j = 0; j < b.size(); ++j) {
      const std::size_t changed = diagonal + (a[i] == b[j] ? 0 : 1);
      diagonal = row[j + 1];
      row[j + 1] = std::min({changed, diagonal + 1, row[j] + 1});
    }
  }
  return row.back();
}

}  // namespace

std::string_view nearest_word(std::string_view word, std::span<const std::string_view> known) {
  constexpr std::size_t kLongest = 32;  // longer ones take long, and are no misspellings
  if (word.size() > kLongest || known.empty()) {
    return "";
  }
  const auto distance = [&](std::string_view other) { return edit_distance(word, other); };
  const std::string_view nearest = *std::ranges::min_element(known, {}, distance);
  return distance(nearest) <= std::max<std::size_t>(1, nearest.size() / 3) ? nearest : "";
}

}  // namespace bitlog2
