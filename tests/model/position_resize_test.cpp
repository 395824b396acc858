// Relative position biases for another image size; tests/simulate/architectures_test.cpp compares
// with the libraries' own outputs.
#include "model/names/position_resize.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <cmath>

namespace bitlog2 {
namespace {

std::size_t rows_of(std::size_t side) {
  return (2 * side - 1) * (2 * side - 1) + 3;
}

std::vector<float> random_table(std::size_t side, std::size_t heads) {
  const auto values =
      *rc::gen::container<std::vector<int>>(rows_of(side) * heads, rc::gen::inRange(-1000, 1000));
  return {values.begin(), values.end()};
}

TEST(RelativePositions, SideFollowsFromRows) {
  for (std::size_t side = 1; side < 40; ++side) {
    EXPECT_EQ(side_of_relative_positions(rows_of(side)), side);
    EXPECT_EQ(side_of_relative_positions(rows_of(side) + 1), 0U);
  }
  EXPECT_EQ(side_of_relative_positions(0), 0U);
  EXPECT_EQ(side_of_relative_positions(4 * 4 + 3), 0U);
}

RC_GTEST_PROP(RelativePositions, OfTheSameSizeStayAsTheyAre, ()) {
  const auto side = *rc::gen::inRange<std::size_t>(1, 9);
  const auto heads = *rc::gen::inRange<std::size_t>(1, 4);
  const std::vector<float> table = random_table(side, heads);
  RC_ASSERT(resize_relative_positions(table, heads, side, side, PositionResize::plain) == table);
}

RC_GTEST_PROP(RelativePositions, LieBetweenTheLearnedOnes, ()) {
  const auto from = *rc::gen::inRange<std::size_t>(1, 9);
  const auto to = *rc::gen::inRange<std::size_t>(1, 20);
  const auto rule = *rc::gen::element(PositionResize::plain, PositionResize::antialias);
  const std::vector<float> table = random_table(from, 1);
  const std::vector<float> resized = resize_relative_positions(table, 1, from, to, rule);
  RC_ASSERT(resized.size() == rows_of(to));
  RC_ASSERT(std::equal(table.end() - 3, table.end(), resized.end() - 3));
  const auto [low, high] = std::minmax_element(table.begin(), table.end() - 3);
  for (auto value = resized.begin(); value != resized.end() - 3; ++value) {
    RC_ASSERT(*value >= *low - 1e-3F && *value <= *high + 1e-3F);
  }
}

RC_GTEST_PROP(RelativePositions, OfTheMiddleStayThere, ()) {
  const auto from = *rc::gen::inRange<std::size_t>(1, 9);
  const auto to = *rc::gen::inRange<std::size_t>(1, 20);
  const auto rule = *rc::gen::element(PositionResize::plain, PositionResize::antialias);
  const std::vector<float> table = random_table(from, 1);
  const std::vector<float> resized = resize_relative_positions(table, 1, from, to, rule);
  const auto middle = [](std::size_t side) { return 2 * side * (side - 1); };
  RC_ASSERT(std::abs(resized[middle(to)] - table[middle(from)]) < 1e-3F);
}

}  // namespace
}  // namespace bitlog2
