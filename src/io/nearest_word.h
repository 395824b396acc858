// Which known word a misspelled one may mean.
#pragma once

#include <span>
#include <string_view>

namespace bitlog2 {

/// The word of `known` with the smallest edit distance from `word`; empty if none is near.
std::string_view nearest_word(std::string_view word, std::span<const std::string_view> known);

}  // namespace bitlog2
