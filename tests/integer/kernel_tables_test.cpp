// Every instruction set's kernels, compared with the portable ones bit for bit: also with sizes
// that are no multiples of a vector, and with numbers at the ends of their ranges.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <iostream>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "integer/runtime/kernels/code_runs.h"
#include "integer/runtime/kernels/portable.h"
#include "integer/runtime/kernels/select.h"
#include "scalar_kernels.h"

namespace bitlog2::runtime {
namespace {

constexpr std::int32_t kLowest = std::numeric_limits<std::int32_t>::min();
constexpr std::int32_t kHighest = std::numeric_limits<std::int32_t>::max();

class KernelTable : public ::testing::TestWithParam<const Kernels*> {
 protected:
  const Kernels& kernels_ = *GetParam();
  std::mt19937 random_{7};

  std::int32_t number(std::int32_t low, std::int32_t high) {
    return std::uniform_int_distribution<std::int32_t>(low, high)(random_);
  }

  template <class T>
  std::vector<T> numbers(std::size_t count, std::int32_t low, std::int32_t high) {
    std::vector<T> values(count);
    std::generate(values.begin(), values.end(), [&] { return static_cast<T>(number(low, high)); });
    return values;
  }

  /// Random numbers, many of them at the ends of the range.
  std::vector<std::int32_t> extremes(std::size_t count) {
    std::vector<std::int32_t> values = numbers<std::int32_t>(count, kLowest, kHighest);
    for (std::size_t i = 0; i < count; ++i) {
      const int pick = number(0, 7);
      values[i] = pick == 0 ? kLowest : pick == 1 ? kHighest : pick == 2 ? 0 : values[i];
    }
    return values;
  }
};

/// A panel with its own memory, filled with values that must be overwritten.
struct OwnPanel {
  OwnPanel(std::size_t depth, std::size_t channels, std::int32_t largest)
      : memory(kPanelWidth * round_up(depth, kDepthStep), 99),
        panel{memory.data(), depth, round_up(channels, kLane), largest} {
    memory.resize(panel.width * round_up(depth, kDepthStep));
    panel.values = memory.data();
  }

  std::vector<std::int8_t> memory;
  Panel panel;
};

TEST_P(KernelTable, PackRows) {
  for (const std::size_t depth : {1U, 3U, 4U, 31U, 32U, 33U, 63U, 64U, 65U, 96U, 130U, 200U}) {
    for (const std::size_t channels : {1U, 7U, 16U, 17U, 48U, 63U, 64U}) {
      for (const bool nibbles : {false, true}) {
        const std::size_t stride = nibbles ? (depth + 1) / 2 : depth;
        for (const std::int32_t offset : {0, 128}) {
          if (nibbles && offset != 0) {
            continue;
          }
          // The memory ends with the last row.
          const auto codes =
              numbers<std::uint8_t>(channels * stride, 0, nibbles || offset != 0 ? 255 : 127);
          OwnPanel expected(depth, channels, 128);
          OwnPanel found(depth, channels, 128);
          std::vector<std::int32_t> expected_sums(kPanelWidth, 5);
          std::vector<std::int32_t> found_sums(kPanelWidth, 5);
          const Codes source = {codes.data(), stride, nibbles};
          const auto offsets = numbers<std::int32_t>(channels, offset, nibbles ? 15 : offset);
          portable::pack_rows(source, channels, offsets.data(), expected.panel,
                              expected_sums.data());
          kernels_.pack_rows(source, channels, offsets.data(), found.panel, found_sums.data());
          ASSERT_EQ(found.memory, expected.memory) << depth << " deep, " << channels;
          ASSERT_EQ(found_sums, expected_sums);
        }
      }
    }
  }
}

TEST_P(KernelTable, PackColumns) {
  for (const std::size_t depth : {1U, 2U, 4U, 5U, 49U, 197U}) {
    for (const std::size_t channels : {1U, 15U, 16U, 32U, 33U, 64U}) {
      const std::size_t stride = channels + 3;
      const auto codes = numbers<std::uint8_t>((depth - 1) * stride + channels, 0, 255);
      OwnPanel expected(depth, channels, 128);
      OwnPanel found(depth, channels, 128);
      portable::pack_columns({codes.data(), stride, false}, channels, 128, expected.panel);
      kernels_.pack_columns({codes.data(), stride, false}, channels, 128, found.panel);
      ASSERT_EQ(found.memory, expected.memory) << depth << " deep, " << channels;
    }
  }
}

TEST_P(KernelTable, Multiply) {
  struct Bounds {
    std::int32_t input;
    std::int32_t value;
  };
  for (const Bounds bounds : {Bounds{15, 15}, Bounds{255, 15}, Bounds{255, 128}, Bounds{1, 1},
                              Bounds{128, 128}, Bounds{127, 128}, Bounds{0, 15}}) {
    for (const std::size_t depth : {1U, 3U, 4U, 63U, 64U, 192U, 300U, 1537U}) {
      for (const std::size_t channels : {1U, 16U, 32U, 48U, 64U}) {
        const auto rows = static_cast<std::size_t>(number(1, kRowChunk));
        const std::size_t stride = depth + static_cast<std::size_t>(number(0, 9));
        // Most inputs are at the ends of their range, where overflow would show first.
        auto inputs = numbers<std::uint8_t>(rows * stride + kInputSlack, 0, bounds.input);
        OwnPanel own(depth, channels, bounds.value);
        for (std::uint8_t& input : inputs) {
          input = number(0, 3) != 0 ? static_cast<std::uint8_t>(bounds.input) : input;
        }
        const std::int32_t top = std::min<std::int32_t>(bounds.value, 127);
        const bool negative = number(0, 1) != 0;
        for (std::size_t i = 0; i < own.memory.size(); ++i) {
          const std::size_t k = i / (own.panel.width * kDepthStep) * kDepthStep + i % kDepthStep;
          const std::int32_t end = negative ? -bounds.value : top;
          own.memory[i] =
              static_cast<std::int8_t>(k >= depth          ? 0
                                       : number(0, 3) != 0 ? end
                                                           : number(-bounds.value, top));
        }
        const std::size_t sum_stride = own.panel.width + 5;
        std::vector<std::int32_t> expected(kRowChunk * sum_stride, 3);
        std::vector<std::int32_t> found = expected;
        portable::multiply({inputs.data(), stride, bounds.input}, rows, own.panel, expected.data(),
                           sum_stride);
        kernels_.multiply({inputs.data(), stride, bounds.input}, rows, own.panel, found.data(),
                          sum_stride);
        ASSERT_EQ(found, expected) << rows << " rows, " << depth << " deep, " << channels
                                   << " channels, to " << bounds.input << " * " << bounds.value;
      }
    }
  }
}

TEST_P(KernelTable, SumRows) {
  for (const std::size_t count : {1U, 31U, 32U, 63U, 64U, 65U, 768U, 1000U}) {
    const auto inputs = numbers<std::uint8_t>(5 * (count + 2), 200, 255);
    std::vector<std::int32_t> expected(5);
    std::vector<std::int32_t> found(5);
    portable::sum_rows({inputs.data(), count + 2, 255}, 5, count, expected.data());
    kernels_.sum_rows({inputs.data(), count + 2, 255}, 5, count, found.data());
    ASSERT_EQ(found, expected) << count;
  }
}

/// A Rescale with its own memory.
struct OwnRescale {
  std::vector<std::int32_t> zeros;
  std::vector<std::int32_t> constants;
  std::vector<std::int32_t> multipliers;
  std::vector<std::int64_t> offsets;
  Rescale rescale = {};
};

class RescaleKernels : public KernelTable {
 protected:
  OwnRescale draw_rescale(std::size_t channels, unsigned shift) {
    const std::size_t width = round_up(channels, kLane);
    OwnRescale own = {
        numbers<std::int32_t>(width, -4224, 4096), extremes(width), extremes(width), {}, {}};
    const auto bias_shift = static_cast<unsigned>(number(0, 30));
    for (const std::int32_t bias : extremes(width)) {
      own.offsets.push_back((std::int64_t{bias} << bias_shift) + (std::int64_t{1} << (shift - 1)));
    }
    if (number(0, 1) == 0) {
      make_small(own, shift);
    }
    own.rescale = {number(0, 1) == 0 ? nullptr : own.zeros.data(),
                   own.constants.data(),
                   own.multipliers.data(),
                   own.offsets.data(),
                   shift,
                   kLowest,
                   kHighest,
                   false};
    return own;
  }

  /// Makes the numbers small, so that results fit in 32 bits also with short shifts; some are near
  /// the ends of the range.
  void make_small(OwnRescale& own, unsigned shift) {
    const std::int32_t largest = number(0, 1) == 0 ? 1 << 16 : 15 << std::min(shift, 20U);
    own.zeros = numbers<std::int32_t>(own.zeros.size(), -16, 16);
    own.constants = numbers<std::int32_t>(own.constants.size(), -5000, 5000);
    own.multipliers = numbers<std::int32_t>(own.multipliers.size(), -largest, largest);
    for (std::int64_t& offset : own.offsets) {
      offset = (std::int64_t{number(-5000, 5000)} << shift) + (std::int64_t{1} << (shift - 1));
    }
  }

  /// Whether all rescaled values of these sums fit in 32 bits.
  static bool all_fit(const Rescale& rescale, const Sums& sums) {
    for (std::size_t r = 0; r < sums.rows; ++r) {
      for (std::size_t c = 0; c < sums.channels; ++c) {
        const std::int32_t sum = sums.values[r * sums.stride + c];
        const std::int32_t zero = rescale.zeros == nullptr ? 0 : rescale.zeros[c];
        const auto corrected = static_cast<std::int32_t>(
            static_cast<std::uint32_t>(sum) -
            static_cast<std::uint32_t>(zero) * static_cast<std::uint32_t>(sums.row_sums[r]) +
            static_cast<std::uint32_t>(rescale.constants[c]));
        const std::int64_t value =
            (std::int64_t{corrected} * rescale.multipliers[c] + rescale.offsets[c]) >>
            rescale.shift;
        if (value <= kLowest || value >= kHighest) {
          return false;
        }
      }
    }
    return true;
  }

  /// Calls check(rescale, sums, a copy of the sums) for all shifts.
  template <class Check>
  void with_sums(Check check) {
    for (unsigned shift = 1; shift <= 62; ++shift) {
      const auto channels = static_cast<std::size_t>(number(1, 85));
      const auto rows = static_cast<std::size_t>(number(1, 7));
      const std::size_t stride = round_up(channels, kLane) + static_cast<std::size_t>(number(0, 3));
      const OwnRescale own = draw_rescale(channels, shift);
      const auto row_sums =
          number(0, 1) == 0 ? extremes(rows) : numbers<std::int32_t>(rows, 0, 5000);
      // Some sums are small, because products of large ones mostly exceed all limits.
      auto first = number(0, 1) == 0 ? extremes(rows * stride)
                                     : numbers<std::int32_t>(rows * stride, -5000, 5000);
      auto second = first;
      Rescale rescale = own.rescale;
      rescale.fits = all_fit(rescale, {first.data(), stride, row_sums.data(), rows, channels});
      fitting_ += rescale.fits && shift < 32 ? 1 : 0;
      check(rescale, Sums{first.data(), stride, row_sums.data(), rows, channels},
            Sums{second.data(), stride, row_sums.data(), rows, channels});
      if (HasFatalFailure()) {
        FAIL() << "shift " << shift << ", " << rows << " rows of " << channels;
      }
    }
    EXPECT_GT(fitting_, 3) << "too few short shifts of what fits";
  }

  int fitting_ = 0;
};

TEST_P(RescaleKernels, Rescale) {
  with_sums([&](Rescale rescale, const Sums& expected, const Sums& found) {
    if (number(0, 1) == 0) {
      rescale.low = 0;
      rescale.high = 15;
    }
    portable::rescale(rescale, expected);
    kernels_.rescale(rescale, found);
    for (std::size_t i = 0; i < expected.rows * expected.stride; ++i) {
      if (i % expected.stride < expected.channels) {
        ASSERT_EQ(found.values[i], expected.values[i]) << i;
      }
    }
  });
}

TEST_P(RescaleKernels, ToCodes) {
  with_sums([&](Rescale rescale, const Sums& expected, const Sums& found) {
    rescale.low = 0;
    rescale.high = number(0, 1) == 0 ? 255 : number(1, 254);
    const std::size_t stride = expected.channels + 3;
    std::vector<std::uint8_t> expected_codes(expected.rows * stride, 77);
    std::vector<std::uint8_t> codes = expected_codes;
    portable::rescale_to_codes(rescale, expected, {}, expected_codes.data(), stride);
    kernels_.rescale_to_codes(rescale, found, {}, codes.data(), stride);
    ASSERT_EQ(codes, expected_codes);
  });
}

/// A table in which the code changes about every `run` entries.
std::vector<std::uint8_t> draw_table(std::mt19937& random, std::size_t size, std::size_t run) {
  std::vector<std::uint8_t> table(size);
  std::uint8_t code = 0;
  for (std::uint8_t& entry : table) {
    code = random() % run == 0 ? static_cast<std::uint8_t>(random()) : code;
    entry = code;
  }
  return table;
}

/// A table like GELU's at 8 bits: constant, falling a little, then rising, by one at a time.
std::vector<std::uint8_t> draw_curve(std::mt19937& random, std::size_t size) {
  const std::size_t turn = random() % size;
  const std::size_t start = turn / (1 + random() % 4);
  const std::size_t spacing = 1 + size / (200 + random() % 200);
  std::vector<std::uint8_t> table(size);
  int code = static_cast<int>(random() % 20);
  std::size_t next = start + 1;
  for (std::size_t v = 0; v < size; ++v) {
    if (v == next) {
      code = v < turn ? std::max(code - 1, 0) : std::min(code + 1, 255);
      next += spacing + random() % (spacing / 4 + 1);
      next = v < turn && next > turn ? next + 4 * spacing : next;  // flat about the turn
    }
    table[v] = static_cast<std::uint8_t>(code);
  }
  return table;
}

/// GELU's own curve.
std::vector<std::uint8_t> gelu_codes(std::size_t size, double reach) {
  std::vector<std::uint8_t> table(size);
  for (std::size_t v = 0; v < size; ++v) {
    const double x = reach * (2.0 * static_cast<double>(v) / static_cast<double>(size) - 1.0);
    const double y = 0.5 * x * (1.0 + std::erf(x / std::sqrt(2.0)));
    table[v] = static_cast<std::uint8_t>(
        std::clamp(std::nearbyint((y + 0.17) / (reach + 0.17) * 255.0), 0.0, 255.0));
  }
  return table;
}

TEST(CodeRuns, HoldGeluAtEightBits) {
  for (const double reach : {3.0, 5.0, 8.0, 12.0, 30.0}) {
    for (const std::size_t size : {2048U, 4096U, 16384U, 32768U}) {
      const auto table = gelu_codes(size, reach);
      CodeRuns runs;
      EXPECT_TRUE(make_code_runs(table.data(), size, runs)) << size << ", " << reach;
    }
  }
}

std::vector<std::uint8_t> draw_any_table(std::mt19937& random, std::size_t size) {
  switch (random() % 4) {
    case 0:
      return draw_table(random, size, 2);
    case 1:
      return draw_table(random, size, size);
    case 2:
      return draw_curve(random, size);
    default:
      return gelu_codes(size, 3.0 + static_cast<double>(random() % 9));
  }
}

TEST_P(RescaleKernels, ToCodesByTable) {
  std::size_t with_runs = 0;
  std::size_t by_one = 0;
  for (const std::size_t size : {1U, 5U, 256U, 257U, 1000U, 4096U, 32768U, 65536U}) {
    with_sums([&](Rescale rescale, const Sums& expected, const Sums& found) {
      rescale.low = 0;
      rescale.high = static_cast<std::int32_t>(size) - 1;
      const auto table = draw_any_table(random_, size);
      CodeRuns runs;
      const bool has_runs = make_code_runs(table.data(), size, runs);
      with_runs += has_runs ? 1 : 0;
      by_one += has_runs && runs.by_one ? 1 : 0;
      const std::size_t stride = expected.channels;
      std::vector<std::uint8_t> expected_codes(expected.rows * stride, 77);
      std::vector<std::uint8_t> codes = expected_codes;
      portable::rescale_to_codes(rescale, expected, {table.data(), size, nullptr},
                                 expected_codes.data(), stride);
      kernels_.rescale_to_codes(rescale, found, {table.data(), size, has_runs ? &runs : nullptr},
                                codes.data(), stride);
      ASSERT_EQ(codes, expected_codes) << "a table of " << size;
    });
  }
  EXPECT_GT(with_runs, 100U);
  EXPECT_GT(by_one, 20U);
}

TEST_P(RescaleKernels, AndAdd) {
  std::uint64_t saturations = 0;
  with_sums([&](const Rescale& rescale, const Sums& expected, const Sums& found) {
    const std::size_t stride = expected.channels + 1;
    std::vector<std::int32_t> expected_totals = extremes(expected.rows * stride);
    std::vector<std::int32_t> totals = expected_totals;
    const std::uint64_t cut =
        portable::rescale_and_add(rescale, expected, expected_totals.data(), stride);
    ASSERT_EQ(kernels_.rescale_and_add(rescale, found, totals.data(), stride), cut);
    ASSERT_EQ(totals, expected_totals);
    saturations += cut;
  });
  EXPECT_GT(saturations, 0U);
}

/// The code of entry v, as CodeRuns says.
int code_by_runs(const CodeRuns& runs, std::size_t v) {
  const std::size_t at = v > runs.base ? (v - runs.base) * runs.multiplier : 0;
  const std::size_t run = at >> 16;
  const std::size_t place = (at & 0xFFFF) >> 9;
  const bool changed = place >= runs.change[run];
  if (!runs.by_one) {
    return changed ? runs.second[run] : runs.first[run];
  }
  const int changes = (changed ? 1 : 0) + (place >= runs.second[run] ? 1 : 0);
  return runs.first[run] + (run < runs.falling ? -changes : changes);
}

TEST(CodeRuns, HoldTheTable) {
  std::mt19937 random(3);
  std::size_t held = 0;
  std::size_t by_one = 0;
  for (int i = 0; i < 2000; ++i) {
    const std::size_t size = 1 + random() % 33000;
    const auto table =
        i % 2 == 0 ? draw_table(random, size, 1 + random() % size) : draw_curve(random, size);
    CodeRuns runs;
    if (!make_code_runs(table.data(), size, runs)) {
      continue;
    }
    ++held;
    by_one += runs.by_one ? 1 : 0;
    for (std::size_t v = 0; v < size; ++v) {
      ASSERT_EQ(code_by_runs(runs, v), table[v]) << v;
    }
  }
  EXPECT_GT(held, 1000U);
  EXPECT_GT(by_one, 150U);
}

TEST_P(KernelTable, SplitChannels) {
  for (const std::size_t count : {1U, 2U, 4U, 7U, 16U, 21U, 22U, 32U, 100U}) {
    const auto rgb = numbers<std::uint8_t>(3 * count, 0, 255);  // ends with the last pixel
    std::uint8_t tables[3][256];
    for (auto& table : tables) {
      for (std::uint8_t& entry : table) {
        entry = static_cast<std::uint8_t>(number(0, 255));
      }
    }
    const std::size_t stride = count + 5;
    std::vector<std::uint8_t> expected(3 * stride, 77);
    std::vector<std::uint8_t> found = expected;
    portable::split_channels(rgb.data(), count, tables, expected.data(), stride);
    kernels_.split_channels(rgb.data(), count, tables, found.data(), stride);
    ASSERT_EQ(found, expected) << count;
  }
}

TEST_P(KernelTable, Decode) {
  for (const std::size_t count : {0U, 1U, 7U, 8U, 15U, 16U, 31U, 33U, 64U, 100U}) {
    for (const std::size_t size : {1U, 5U, 15U, 16U, 17U, 65U, 240U, 256U}) {
      const auto table = numbers<std::uint8_t>(size, 0, 255);
      const auto codes = numbers<std::uint8_t>(count, 0, static_cast<int>(size) - 1);
      std::vector<std::uint8_t> expected(count + 1, 77);
      std::vector<std::uint8_t> found = expected;
      portable::decode(codes.data(), count, table.data(), size, expected.data());
      kernels_.decode(codes.data(), count, table.data(), size, found.data());
      ASSERT_EQ(found, expected) << count << " of " << size;
      found = codes;  // in place
      kernels_.decode(found.data(), count, table.data(), size, found.data());
      found.push_back(77);
      ASSERT_EQ(found, expected) << count << " of " << size;
    }
  }
}

TEST_P(KernelTable, Normalise) {
  for (const std::size_t count : {1U, 2U, 7U, 15U, 16U, 17U, 96U, 100U, 192U, 384U}) {
    for (unsigned width = 0; width < 32; ++width) {
      for (const std::uint64_t epsilon :
           {std::uint64_t{0}, std::uint64_t{1} << 34, std::uint64_t{1} << 60}) {
        const auto rows = static_cast<std::size_t>(number(1, 5));
        std::vector<std::int32_t> x = extremes(rows * count);
        for (std::int32_t& value : x) {
          value >>= width;
        }
        const std::size_t stride = count + static_cast<std::size_t>(number(0, 3));
        std::vector<std::int32_t> expected(rows * stride + 1, 9);
        std::vector<std::int32_t> found = expected;
        portable::normalise(x.data(), rows, count, epsilon, expected.data(), stride);
        kernels_.normalise(x.data(), rows, count, epsilon, found.data(), stride);
        ASSERT_EQ(found, expected) << count << " values of " << 32 - width << " bits";
      }
    }
  }
}

std::vector<AttentionRule> all_rules() {
  std::vector<AttentionRule> rules = {{AttentionKind::sqrt2, 16, 14, 0, false},
                                      {AttentionKind::sqrt2, 256, 255, 0, false}};
  for (const std::uint32_t multiplier : {2U, 16U, 256U, 384U, 32768U, 65536U}) {
    for (std::uint32_t fraction = 0; fraction <= 7; ++fraction) {
      for (const bool nearest : {false, true}) {
        rules.push_back({AttentionKind::bitlog2, multiplier, 0, fraction, nearest});
        rules.push_back({AttentionKind::relative_bitlog2, multiplier, 0, fraction, nearest});
      }
    }
  }
  return rules;
}

/// The context of rows of scores: their weights times V.
std::vector<std::int32_t> attend(const Kernels& kernels, const AttentionRule& rule,
                                 std::vector<std::int32_t> scores, std::size_t rows,
                                 std::size_t stride, const Panel& values, std::int32_t zero) {
  std::vector<std::byte> memory(weights_bytes(values.depth), std::byte{0x5A});
  const Weights weights = {memory.data(), rows, values.depth};
  std::vector<std::int32_t> context(kRowChunk * kPanelWidth, 8);
  kernels.softmax_codes(rule, -12345, scores.data(), stride, weights);
  kernels.attend_values(rule, weights, values, zero, context.data());
  return context;
}

TEST_P(KernelTable, SoftmaxCodesAndAttendValues) {
  for (const AttentionRule& rule : all_rules()) {
    for (const std::size_t tokens : {1U, 2U, 7U, 16U, 17U, 49U, 64U, 65U, 197U}) {
      constexpr std::size_t kFarthest = 640;  // a value from its zero point
      if (rule.kind == AttentionKind::relative_bitlog2 &&
          tokens * kFarthest * rule.multiplier >= 1U << 30) {
        continue;  // open() refuses it
      }
      for (const std::int32_t largest : {15, 128}) {
        const auto channels = static_cast<std::size_t>(number(1, 64));
        const auto rows = static_cast<std::size_t>(number(1, 6));
        const std::size_t stride = round_up(tokens, kLane);
        const std::int32_t spread = 1 << number(8, 29);
        auto scores = numbers<std::int32_t>(rows * stride, -spread, spread);
        if (number(0, 3) == 0) {
          scores[0] = 1 << 30;  // one token gets all the attention
        }
        OwnPanel values(tokens, channels, largest);
        const auto codes = numbers<std::uint8_t>(tokens * channels, 0, largest == 15 ? 15 : 255);
        portable::pack_columns({codes.data(), channels, false}, channels, largest == 15 ? 0 : 128,
                               values.panel);
        const std::int32_t zero = number(-512, 512);
        ASSERT_EQ(attend(kernels_, rule, scores, rows, stride, values.panel, zero),
                  attend(portable_kernels(), rule, scores, rows, stride, values.panel, zero))
            << tokens << " tokens, M " << rule.multiplier << ", fraction " << rule.fraction_bits;
      }
    }
  }
}

std::vector<const Kernels*> tables_here() {
  const auto available = available_kernels();
  std::vector<const Kernels*> tables(available.begin(), available.end());
  tables.push_back(&scalar_4_kernels());
  tables.push_back(&scalar_16_kernels());
  return tables;
}

/// Prints which tables the tests run; scripts/test_kernels reads it.
class TablesEnvironment : public ::testing::Environment {
 public:
  void SetUp() override {
    const auto unavailable = unavailable_kernels();
    say("kernel tables that run here:", tables_here());
    say("kernel tables that do not:", {unavailable.begin(), unavailable.end()});
  }

 private:
  static void say(const char* what, const std::vector<const Kernels*>& tables) {
    std::cout << what;
    for (const Kernels* kernels : tables) {
      std::cout << ' ' << kernels->name;
    }
    std::cout << '\n';
  }
};

const auto* const kTablesEnvironment = ::testing::AddGlobalTestEnvironment(new TablesEnvironment);

std::string name_of(const ::testing::TestParamInfo<const Kernels*>& test) {
  return test.param->name;
}

INSTANTIATE_TEST_SUITE_P(Isa, RescaleKernels, ::testing::ValuesIn(tables_here()), name_of);
INSTANTIATE_TEST_SUITE_P(Isa, KernelTable, ::testing::ValuesIn(tables_here()), name_of);

TEST(KernelTables, AreAllNamedOnceAndPortableIsTheLast) {
  std::vector<std::string> names;
  for (const auto tables : {available_kernels(), unavailable_kernels()}) {
    for (const Kernels* kernels : tables) {
      names.emplace_back(kernels->name);
    }
  }
  std::sort(names.begin(), names.end());
  EXPECT_EQ(std::adjacent_find(names.begin(), names.end()), names.end());
  EXPECT_STREQ(available_kernels().back()->name, "portable");
#if defined(__x86_64__)
  EXPECT_EQ(names, (std::vector<std::string>{"avx2", "avx512_vbmi", "avx512_vnni", "avx_vnni",
                                             "portable"}));
#endif
}

}  // namespace
}  // namespace bitlog2::runtime
