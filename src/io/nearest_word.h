// Which known word a misspelled one may mean.
#pragma once

#include <span>
#include <string_view>

namespace bitlog2 {

/// The one of `known` that the fewest letters inserted, removed or changed make of `word`; empty if
/// none is near enough to be meant.
std::string_view nearest_word(std::string_view word, std::span<const std::string_view> known);

}  // namespace bitlog2
