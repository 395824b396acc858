#include "io/pixel_filter.h"

#include <algorithm>
#include <array>

#include "base/cpu.h"
#include "base/target_clones.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace bitlog2::resize {
namespace {

constexpr std::int32_t kHalf = 1 << (kWeightBits - 1);

void filter_row_anywhere(const std::uint8_t* input, const SideFilter& filter,
                         std::uint8_t* output) {
  const auto rounded = [](std::int32_t sum) {
    return static_cast<std::uint8_t>(std::clamp(sum >> kWeightBits, 0, 255));
  };
  for (std::size_t x = 0; x < filter.inputs.size(); ++x) {
    const std::uint8_t* pixel =
        input + static_cast<std::size_t>(filter.inputs[x].first) * kChannels;
    std::int32_t red = kHalf;
    std::int32_t green = kHalf;
    std::int32_t blue = kHalf;
    for (const std::int32_t weight : filter.weights_of(x)) {
      red += pixel[0] * weight;
      green += pixel[1] * weight;
      blue += pixel[2] * weight;
      pixel += kChannels;
    }
    output[0] = rounded(red);
    output[1] = rounded(green);
    output[2] = rounded(blue);
    output += kChannels;
  }
}

BITLOG2_TARGET_CLONES void filter_rows_by_clones(const std::uint8_t* input,
                                                 std::span<const std::int32_t> weights,
                                                 std::span<std::int32_t> sums,
                                                 std::uint8_t* output) {
  std::fill(sums.begin(), sums.end(), kHalf);
  for (const std::int32_t weight : weights) {
    for (std::size_t i = 0; i < sums.size(); ++i) {
      sums[i] += input[i] * weight;
    }
    input += sums.size();
  }
  for (std::size_t i = 0; i < sums.size(); ++i) {
    output[i] = static_cast<std::uint8_t>(std::clamp(sums[i] >> kWeightBits, 0, 255));
  }
}

#if defined(__x86_64__)

/// Four inputs at a time, their weights in two halves of 16 bits: w = upper * 2^11 + lower.
[[gnu::target("avx2")]] void filter_row_avx2(const std::uint8_t* input, const SideFilter& filter,
                                             std::uint8_t* output) {
  constexpr int kLowerBits = 11;
  constexpr std::size_t kTogether = 4;
  const char none = -1;
  // Words of a channel's first and second input, and of its third and fourth.
  const __m256i words = _mm256_setr_epi8(                                       //
      0, none, 3, none, 6, none, 9, none, 1, none, 4, none, 7, none, 10, none,  //
      2, none, 5, none, 8, none, 11, none, none, none, none, none, none, none, none, none);
  const __m128i lower_mask = _mm_set1_epi32((1 << kLowerBits) - 1);
  const __m128i cut = _mm_setr_epi8(0, 4, 8, none, none, none, none, none, none, none, none, none,
                                    none, none, none, none);
  for (std::size_t x = 0; x < filter.inputs.size(); ++x) {
    const Run& inputs = filter.inputs[x];
    const std::uint8_t* pixels = input + static_cast<std::size_t>(inputs.first) * kChannels;
    const std::int32_t* weights = filter.weights.data() + x * filter.stride;
    __m256i upper = _mm256_setzero_si256();
    __m256i lower = _mm256_setzero_si256();
    for (std::size_t i = 0; i < static_cast<std::size_t>(inputs.count); i += kTogether) {
      const __m256i bytes = _mm256_broadcastsi128_si256(
          _mm_loadu_si128(reinterpret_cast<const __m128i*>(pixels + i * kChannels)));
      const __m256i values = _mm256_shuffle_epi8(bytes, words);
      const __m128i four = _mm_loadu_si128(reinterpret_cast<const __m128i*>(weights + i));
      const __m128i halves =
          _mm_packs_epi32(_mm_srai_epi32(four, kLowerBits), _mm_and_si128(four, lower_mask));
      upper = _mm256_add_epi32(upper, _mm256_madd_epi16(values, _mm256_broadcastq_epi64(halves)));
      lower = _mm256_add_epi32(
          lower, _mm256_madd_epi16(values, _mm256_broadcastq_epi64(_mm_srli_si128(halves, 8))));
    }
    const __m256i sums = _mm256_add_epi32(_mm256_slli_epi32(upper, kLowerBits), lower);
    const __m128i channels =
        _mm_hadd_epi32(_mm256_castsi256_si128(sums), _mm256_extracti128_si256(sums, 1));
    const __m128i rounded =
        _mm_srai_epi32(_mm_add_epi32(channels, _mm_set1_epi32(kHalf)), kWeightBits);
    const __m128i limited =
        _mm_min_epi32(_mm_max_epi32(rounded, _mm_setzero_si128()), _mm_set1_epi32(255));
    const auto pixel =
        static_cast<std::uint32_t>(_mm_cvtsi128_si32(_mm_shuffle_epi8(limited, cut)));
    output[0] = static_cast<std::uint8_t>(pixel);
    output[1] = static_cast<std::uint8_t>(pixel >> 8);
    output[2] = static_cast<std::uint8_t>(pixel >> 16);
    output += kChannels;
  }
}

#endif

}  // namespace

std::span<const RowFilter> row_filters() {
#if defined(__x86_64__)
  static constexpr std::array<RowFilter, 2> kFilters = {filter_row_avx2, filter_row_anywhere};
  return std::span(kFilters).subspan(cpu::has_avx2() ? 0 : 1);
#else
  static constexpr std::array<RowFilter, 1> kFilters = {filter_row_anywhere};
  return kFilters;
#endif
}

void filter_rows(const std::uint8_t* input, std::span<const std::int32_t> weights,
                 std::span<std::int32_t> sums, std::uint8_t* output) {
  filter_rows_by_clones(input, weights, sums, output);
}

}  // namespace bitlog2::resize
