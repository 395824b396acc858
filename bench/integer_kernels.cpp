// The integer engine's attention, timed with Google Benchmark in DeiT-Tiny's sizes: the same
// kernels with BitLog2's attention maps and with a uniform one of 8 bits. `./dev bench kernels`
// runs these benchmarks.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "integer/runtime/kernels/select.h"

namespace {

using namespace bitlog2::runtime;  // NOLINT(google-build-using-namespace): a benchmark of it

constexpr std::size_t kTokens = 197;
constexpr std::size_t kStride = 208;
constexpr std::size_t kHeadDim = 64;

template <class T>
std::vector<T> draw(std::size_t count, std::int32_t low, std::int32_t high) {
  std::mt19937 random(1);
  std::uniform_int_distribution<std::int32_t> distribution(low, high);
  std::vector<T> values(count);
  std::generate(values.begin(), values.end(), [&] { return static_cast<T>(distribution(random)); });
  return values;
}

/// The softmax, the codes and the product with V of kRowChunk queries.
void attend(benchmark::State& state, const Kernels* kernels, const AttentionRule& rule) {
  const auto scores = draw<std::int32_t>(kRowChunk * kStride, -(4 << 16), 4 << 16);
  auto work = scores;
  auto values = draw<std::int8_t>(round_up(kTokens, kDepthStep) * kHeadDim, 0, 15);
  const Panel panel = {values.data(), kTokens, kHeadDim, 15};
  std::vector<std::byte> memory(weights_bytes(kTokens));
  const Weights weights = {memory.data(), kRowChunk, kTokens};
  std::vector<std::int32_t> context(kRowChunk * kHeadDim);
  for (auto _ : state) {
    work = scores;
    kernels->softmax_codes(rule, 0, work.data(), kStride, weights);
    kernels->attend_values(rule, weights, panel, 7, context.data());
    benchmark::DoNotOptimize(context.data());
  }
  state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(kRowChunk));
}

struct NamedRule {
  const char* name;
  AttentionRule rule;
};

constexpr NamedRule kRules[] = {
    {"BitLog2_Half_16", {AttentionKind::bitlog2, 256, 0, 1, false}},
    {"BitLog2_Half_17", {AttentionKind::bitlog2, 384, 0, 1, false}},
    {"BitLog2_Single_16", {AttentionKind::bitlog2, 32768, 0, 0, false}},
    {"uniform_8", {AttentionKind::bitlog2, 256, 0, 7, false}},
};

const bool kRegistered = [] {
  for (const Kernels* kernels : available_kernels()) {
    for (const NamedRule& each : kRules) {
      const std::string name = std::string("attend/") + kernels->name + "/" + each.name;
      benchmark::RegisterBenchmark(name.c_str(), attend, kernels, each.rule);
    }
  }
  return true;
}();

}  // namespace
