// Single loops, timed with Google Benchmark: quantizers, the float engines' row-wise loops,
// matrix products and preprocessing, in DeiT-Tiny's sizes. `./dev bench kernels` runs these
// benchmarks.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <random>
#include <span>
#include <string>
#include <vector>

// This header needs earlier declarations of FILE and std::size_t.
#include <jpeglib.h>

#include "base/matrix_product.h"
#include "bitlog2/image.h"
#include "bitlog2/parallel.h"
#include "bitlog2/quantizers.h"
#include "simulate/loops.h"

namespace {

using bitlog2::AttentionScheme;
using bitlog2::ThreadPool;

// DeiT-Tiny, one image
constexpr std::size_t kTokens = 197;
constexpr std::size_t kChannels = 192;
constexpr std::size_t kHidden = 4 * kChannels;
constexpr std::size_t kHeads = 3;
constexpr int kBits = 4;

std::vector<float> normal_values(std::size_t count) {
  std::mt19937_64 generator(1);
  std::normal_distribution<float> normal;
  std::vector<float> values(count);
  std::generate(values.begin(), values.end(), [&] { return normal(generator); });
  return values;
}

/// Rows like a softmax's outputs: most values are small, a few are large.
std::vector<float> attention_map() {
  std::vector<float> values = normal_values(kHeads * kTokens * kTokens);
  for (std::size_t start = 0; start < values.size(); start += kTokens) {
    const auto row = std::span(values).subspan(start, kTokens);
    bitlog2::simulate::scale(row, 2.0F);
    bitlog2::simulate::softmax(row);
  }
  return values;
}

void count_values(benchmark::State& state, std::size_t values) {
  state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(values));
}

/// Times `change` on a fresh copy of `source` in each round. Without the copy, repeated changes
/// would soon give values that do not occur in a network. The time includes the copy, which is a
/// small part of it.
template <class Change>
void time_in_place(benchmark::State& state, const std::vector<float>& source, Change change) {
  std::vector<float> values(source.size());
  for (auto round : state) {
    static_cast<void>(round);
    std::copy(source.begin(), source.end(), values.begin());
    change(std::span<float>(values));
    benchmark::DoNotOptimize(values.data());
    benchmark::ClobberMemory();
  }
  count_values(state, source.size());
}

template <class Change>
void time_rows(benchmark::State& state, std::size_t columns, Change change) {
  time_in_place(state, normal_values(kTokens * columns), [&](std::span<float> values) {
    for (std::size_t start = 0; start < values.size(); start += columns) {
      change(values.subspan(start, columns));
    }
  });
}

// --- quantizers ---------------------------------------------------------------------

void fake_quantize_uniform(benchmark::State& state) {
  const std::vector<float> source = normal_values(kTokens * kHidden);
  ThreadPool serial(1);
  const auto quantizer = bitlog2::calibrate_affine(source, kBits, serial);
  time_in_place(state, source,
                [&](std::span<float> values) { bitlog2::fake_quantize(quantizer, values); });
}

void fake_quantize_per_channel(benchmark::State& state) {
  const std::vector<float> source = normal_values(kTokens * kHidden);
  ThreadPool serial(1);
  const auto quantizer = bitlog2::calibrate_columns(source, kHidden, kBits, serial);
  time_in_place(state, source, [&](std::span<float> values) {
    bitlog2::fake_quantize_columns(quantizer, values);
  });
}

void fake_quantize_attention(benchmark::State& state, const AttentionScheme& scheme) {
  const std::vector<float> source = attention_map();
  ThreadPool serial(1);
  const auto quantizer = bitlog2::calibrate_attention(scheme, kBits, source, serial);
  time_in_place(state, source,
                [&](std::span<float> values) { bitlog2::fake_quantize(quantizer, values); });
}

void calibrate_uniform(benchmark::State& state) {
  constexpr std::size_t kImages = 32;
  const std::vector<float> values = normal_values(kImages * kTokens * kChannels);
  ThreadPool serial(1);
  for (auto round : state) {
    static_cast<void>(round);
    benchmark::DoNotOptimize(bitlog2::calibrate_affine(values, kBits, serial));
  }
  count_values(state, values.size());
}

void calibrate_attention(benchmark::State& state, const AttentionScheme& scheme) {
  const std::vector<float> values = attention_map();
  ThreadPool serial(1);
  for (auto round : state) {
    static_cast<void>(round);
    benchmark::DoNotOptimize(bitlog2::calibrate_attention(scheme, kBits, values, serial));
  }
  count_values(state, values.size());
}

// --- the float engines' loops -------------------------------------------------------

void softmax(benchmark::State& state) {
  time_rows(state, kTokens, bitlog2::simulate::softmax);
}

void gelu(benchmark::State& state) {
  time_rows(state, kHidden, bitlog2::simulate::gelu);
}

void layer_norm(benchmark::State& state) {
  const std::vector<float> gamma(kChannels, 1.0F);
  const std::vector<float> beta(kChannels, 0.0F);
  time_rows(state, kChannels, [&](std::span<float> row) {
    bitlog2::simulate::layer_norm(row, gamma, beta, 1e-6F, row);
  });
}

void gemm(benchmark::State& state) {
  const std::vector<float> input = normal_values(kTokens * kChannels);
  const std::vector<float> weight = normal_values(kHidden * kChannels);
  std::vector<float> output(kTokens * kHidden);
  for (auto round : state) {
    static_cast<void>(round);
    bitlog2::multiply<float>({input.data(), kTokens, kChannels, kChannels},
                             {weight.data(), kChannels, kHidden, 1, kChannels}, output.data(),
                             kHidden);
    benchmark::DoNotOptimize(output.data());
    benchmark::ClobberMemory();
  }
  state.counters["flop/s"] = benchmark::Counter(2.0 * kTokens * kChannels * kHidden,
                                                benchmark::Counter::kIsIterationInvariantRate);
}

// --- preprocessing ------------------------------------------------------------------

/// A JPEG file of smooth waves with a little noise.
std::vector<std::byte> synthetic_jpeg(std::size_t width, std::size_t height) {
  std::mt19937 generator(1);
  std::vector<std::uint8_t> row(3 * width);
  jpeg_compress_struct compressor = {};
  jpeg_error_mgr errors = {};
  compressor.err = jpeg_std_error(&errors);
  jpeg_create_compress(&compressor);
  unsigned char* bytes = nullptr;
  unsigned long size = 0;  // NOLINT(google-runtime-int): libjpeg's interface
  jpeg_mem_dest(&compressor, &bytes, &size);
  compressor.image_width = static_cast<JDIMENSION>(width);
  compressor.image_height = static_cast<JDIMENSION>(height);
  compressor.input_components = 3;
  compressor.in_color_space = JCS_RGB;
  jpeg_set_defaults(&compressor);
  jpeg_set_quality(&compressor, 90, TRUE);
  jpeg_start_compress(&compressor, TRUE);
  for (std::size_t y = 0; y < height; ++y) {
    for (std::size_t i = 0; i < row.size(); ++i) {
      const double wave = std::sin(static_cast<double>(i) / 40) +
                          std::cos(static_cast<double>(y) / 23 + static_cast<double>(i % 3));
      row[i] = static_cast<std::uint8_t>(128 + 50 * wave + static_cast<double>(generator() % 16));
    }
    JSAMPROW line = row.data();
    jpeg_write_scanlines(&compressor, &line, 1);
  }
  jpeg_finish_compress(&compressor);
  jpeg_destroy_compress(&compressor);
  const auto written = std::as_bytes(std::span(bytes, size));
  std::vector<std::byte> result(written.begin(), written.end());
  std::free(bytes);  // NOLINT(cppcoreguidelines-no-malloc): libjpeg allocated it
  return result;
}

void decode_and_resize(benchmark::State& state) {
  const std::vector<std::byte> jpeg = synthetic_jpeg(500, 375);
  for (auto round : state) {
    static_cast<void>(round);
    benchmark::DoNotOptimize(
        bitlog2::resize_and_crop(bitlog2::decode_image(jpeg, "synthetic"), {}));
  }
  count_values(state, 1);
}

BENCHMARK(fake_quantize_uniform);
BENCHMARK(fake_quantize_per_channel);
BENCHMARK(calibrate_uniform)->Unit(benchmark::kMillisecond);
BENCHMARK(softmax);
BENCHMARK(gelu);
BENCHMARK(layer_norm);
BENCHMARK(gemm);
BENCHMARK(decode_and_resize)->Unit(benchmark::kMillisecond);

/// One benchmark for each attention scheme, registered before main runs.
[[maybe_unused]] const bool kSchemesRegistered = [] {
  for (const AttentionScheme& scheme : bitlog2::kAttentionSchemes) {
    const std::string name(scheme.name);
    benchmark::RegisterBenchmark(("fake_quantize/" + name).c_str(), fake_quantize_attention,
                                 scheme);
    benchmark::RegisterBenchmark(("calibrate/" + name).c_str(), calibrate_attention, scheme);
  }
  return true;
}();

}  // namespace
