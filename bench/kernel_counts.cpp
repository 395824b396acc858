// kernel_counts --list | ISA: calls every kernel of an instruction set, in the shapes that
// DeiT-Tiny has, under valgrind --tool=callgrind --collect-atstart=no. Only one call of each is
// counted, and it ends in a dump with the kernel's name. bench/count runs this and reads the
// dumps.
#include <fmt/format.h>
#include <valgrind/callgrind.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <new>
#include <random>
#include <string>
#include <string_view>

#include "integer/runtime/kernels/code_runs.h"
#include "integer/runtime/kernels/select.h"

namespace {

using namespace bitlog2::runtime;

// DeiT-Tiny, 4 bits, BitLog2_Half_16.
constexpr std::size_t kTokens = 197;
constexpr std::size_t kFeatures = 192;
constexpr std::size_t kHidden = 768;
constexpr std::size_t kHeadDim = 64;
constexpr std::int32_t kTopCode = 15;
constexpr std::int32_t kGeluTableSize = 4096;
constexpr AttentionRule kRule = {AttentionKind::bitlog2, 256, 0, 1, false};
constexpr std::size_t kScoreWidth = round_up(kTokens, kPanelWidth);

// The number of instructions may depend on the alignment of memory.
constexpr std::align_val_t kAlignment{64};

struct Free {
  void operator()(void* memory) const { ::operator delete(memory, kAlignment); }
};

template <class T>
class Memory {
 public:
  explicit Memory(std::size_t count)
      : values_(static_cast<T*>(::operator new(count * sizeof(T), kAlignment))), count_(count) {
    std::fill_n(values_.get(), count, T{});
  }

  /// Random numbers in [low, high], the same in every run.
  Memory(std::size_t count, std::int64_t low, std::int64_t high) : Memory(count) {
    std::mt19937 random(1);
    const auto range = static_cast<std::uint64_t>(high - low) + 1;
    for (std::size_t i = 0; i < count; ++i) {
      values_.get()[i] = static_cast<T>(low + static_cast<std::int64_t>(random() % range));
    }
  }

  T* data() const { return values_.get(); }
  std::size_t size() const { return count_; }

 private:
  std::unique_ptr<T, Free> values_;
  std::size_t count_;
};

/// Counts one line of the table. `work` is the work of one call, in units by which kernels can be
/// compared. `prepare` is called before every call and is not counted.
template <class Call, class Prepare>
void count(std::string_view kernel, std::string_view shape, std::string_view unit, std::size_t work,
           Call call, Prepare prepare) {
  prepare();
  call();  // not counted: the first call may look up or write something once
  prepare();
  CALLGRIND_ZERO_STATS;
  CALLGRIND_TOGGLE_COLLECT;
  call();
  CALLGRIND_TOGGLE_COLLECT;
  const std::string line = fmt::format("{}|{}|{}|{}", kernel, shape, unit, work);
  CALLGRIND_DUMP_STATS_AT(line.c_str());
}

template <class Call>
void count(std::string_view kernel, std::string_view shape, std::string_view unit, std::size_t work,
           Call call) {
  count(kernel, shape, unit, work, call, [] {});
}

/// Restores the memory that a kernel overwrites.
void copy(const Memory<std::int32_t>& from, const Memory<std::int32_t>& to) {
  std::copy_n(from.data(), from.size(), to.data());
}

struct OwnPanel {
  OwnPanel(std::size_t depth, std::size_t width, std::int32_t largest)
      : memory(round_up(depth, kDepthStep) * width, -largest, std::min(largest, 127)),
        panel{memory.data(), depth, width, largest} {
    // The padding is zeros.
    for (std::size_t k = depth; k < round_up(depth, kDepthStep); ++k) {
      for (std::size_t c = 0; c < width; ++c) {
        memory.data()[(k / kDepthStep * width + c) * kDepthStep + k % kDepthStep] = 0;
      }
    }
  }

  Memory<std::int8_t> memory;
  Panel panel;
};

void count_packing(const Kernels& kernels) {
  const Memory<std::uint8_t> codes(kPanelWidth * kHidden, 0, 255);
  const Memory<std::int32_t> offsets(kPanelWidth);
  const Memory<std::int32_t> sums(kPanelWidth);
  for (const std::size_t depth : {kFeatures, kHidden}) {
    const OwnPanel own(depth, kPanelWidth, kTopCode);
    count("pack_rows", fmt::format("{} x {}, 4 bits", kPanelWidth, depth), "values",
          kPanelWidth * depth, [&] {
            kernels.pack_rows({codes.data(), depth / 2, true}, kPanelWidth, offsets.data(),
                              own.panel, sums.data());
          });
  }
  const Memory<std::uint8_t> heads(kTokens * 3 * kFeatures, 0, kTopCode);
  const OwnPanel keys(kHeadDim, kPanelWidth, kTopCode);
  count("pack_rows", fmt::format("{} x {}, bytes (K)", kPanelWidth, kHeadDim), "values",
        kPanelWidth * kHeadDim, [&] {
          kernels.pack_rows({heads.data(), 3 * kFeatures, false}, kPanelWidth, offsets.data(),
                            keys.panel, sums.data());
        });
  const OwnPanel values(kTokens, kHeadDim, kTopCode);
  count("pack_columns", fmt::format("{} x {}, bytes (V)", kTokens, kHeadDim), "values",
        kTokens * kHeadDim, [&] {
          kernels.pack_columns({heads.data(), 3 * kFeatures, false}, kHeadDim, 0, values.panel);
        });
}

void count_products(const Kernels& kernels) {
  const Memory<std::uint8_t> bytes(kRowChunk * kHidden + kInputSlack, 0, 255);
  const Memory<std::uint8_t> codes(kRowChunk * kHidden + kInputSlack, 0, kTopCode);
  const Memory<std::int32_t> sums(kRowChunk * kPanelWidth);
  struct Shape {
    const char* what;
    std::size_t depth;
    const Memory<std::uint8_t>& inputs;
    std::int32_t largest;
  };
  for (const Shape& shape :
       {Shape{"codes (qkv, proj, fc1)", kFeatures, codes, kTopCode},
        Shape{"codes (fc2)", kHidden, codes, kTopCode}, Shape{"bytes (embed)", kHidden, bytes, 255},
        Shape{"codes (Q K^T)", kHeadDim, codes, kTopCode}}) {
    const OwnPanel own(shape.depth, kPanelWidth, kTopCode);
    const Inputs inputs = {shape.inputs.data(), shape.depth, shape.largest};
    count("multiply",
          fmt::format("{} x {} x {}, {}", kRowChunk, shape.depth, kPanelWidth, shape.what),
          "products", kRowChunk * shape.depth * kPanelWidth,
          [&] { kernels.multiply(inputs, kRowChunk, own.panel, sums.data(), kPanelWidth); });
  }
  const Memory<std::int32_t> row_sums(kRowChunk);
  count("sum_rows", fmt::format("{} x {}", kRowChunk, kFeatures), "values", kRowChunk * kFeatures,
        [&] {
          kernels.sum_rows({codes.data(), kFeatures, kTopCode}, kRowChunk, kFeatures,
                           row_sums.data());
        });
  const Memory<std::int32_t> zeros(kPanelWidth, 0, kTopCode);
  const Memory<std::int32_t> constants(kPanelWidth, -1000, 1000);
  const Memory<std::int32_t> multipliers(kPanelWidth, 1 << 29, 1 << 30);
  const Memory<std::int64_t> offsets(kPanelWidth, -(std::int64_t{1} << 31), std::int64_t{1} << 31);
  const Memory<std::int32_t> totals(sums.size());
  const Memory<std::uint8_t> gelu(kGeluTableSize);
  for (std::size_t i = 0; i < gelu.size(); ++i) {
    gelu.data()[i] = static_cast<std::uint8_t>(i * (kTopCode + 1) / gelu.size());
  }
  CodeRuns runs;
  make_code_runs(gelu.data(), gelu.size(), runs);
  const Sums given_sums = {sums.data(), kPanelWidth, row_sums.data(), kRowChunk, kPanelWidth};
  for (const bool to_codes : {true, false}) {
    const std::int32_t low = to_codes ? 0 : std::numeric_limits<std::int32_t>::min();
    const std::int32_t high = to_codes ? kTopCode : std::numeric_limits<std::int32_t>::max();
    const Rescale rescale = {zeros.data(),
                             constants.data(),
                             multipliers.data(),
                             offsets.data(),
                             to_codes ? 40U : 30U,
                             low,
                             high,
                             true};
    const Memory<std::int32_t> given(sums.size(), -20000, 20000);
    count(
        to_codes ? "rescale_to_codes" : "rescale_and_add",
        fmt::format("{} x {}", kRowChunk, kPanelWidth), "values", sums.size(),
        [&] {
          if (to_codes) {
            kernels.rescale_to_codes(rescale, given_sums, {}, codes.data(), kPanelWidth);
          } else {
            kernels.rescale_and_add(rescale, given_sums, totals.data(), kPanelWidth);
          }
        },
        [&] { copy(given, sums); });
  }
  const Memory<std::int32_t> given(sums.size(), -20000, 20000);
  const Rescale rescale = {zeros.data(),
                           constants.data(),
                           multipliers.data(),
                           offsets.data(),
                           28U,
                           0,
                           kGeluTableSize - 1,
                           true};
  count(
      "rescale_to_codes", fmt::format("{} x {}, GELU", kRowChunk, kPanelWidth), "values",
      sums.size(),
      [&] {
        kernels.rescale_to_codes(rescale, given_sums, {gelu.data(), gelu.size(), &runs},
                                 codes.data(), kPanelWidth);
      },
      [&] { copy(given, sums); });
}

void count_elements(const Kernels& kernels) {
  const Memory<std::uint8_t> table(kTopCode + 1, 0, kTopCode);
  const Memory<std::uint8_t> codes(kRowChunk * kFeatures, 0, kTopCode);
  const Memory<std::uint8_t> results(kRowChunk * kFeatures);
  count("decode", fmt::format("{}, of 16", codes.size()), "values", codes.size(),
        [&] { kernels.decode(codes.data(), codes.size(), table.data(), 16, results.data()); });
  constexpr std::size_t kRows = 4;
  const Memory<std::int32_t> values(kRows * kFeatures, -100000, 100000);
  const Memory<std::int32_t> normalised(kRows * kFeatures);
  constexpr std::uint64_t kEpsilon = std::uint64_t{1} << 20;
  count("normalise", fmt::format("{} x {}", kRows, kFeatures), "values", kRows * kFeatures, [&] {
    kernels.normalise(values.data(), kRows, kFeatures, kEpsilon, normalised.data(), kFeatures);
  });
}

void count_attention(const Kernels& kernels) {
  const Memory<std::byte> memory(weights_bytes(kTokens));
  const Weights weights = {memory.data(), kRowChunk, kTokens};
  const Memory<std::int32_t> given(kRowChunk * kScoreWidth, -(1 << kScoreFraction) * 6,
                                   (1 << kScoreFraction) * 2);
  const Memory<std::int32_t> scores(given.size());
  const Memory<std::int32_t> context(kRowChunk * kHeadDim);
  const OwnPanel values(kTokens, kHeadDim, kTopCode);
  count(
      "softmax_codes", fmt::format("{} x {}", kRowChunk, kTokens), "weights", kRowChunk * kTokens,
      [&] { kernels.softmax_codes(kRule, 0, scores.data(), kScoreWidth, weights); },
      [&] { copy(given, scores); });
  count("attend_values", fmt::format("{} x {} x {}", kRowChunk, kTokens, kHeadDim), "products",
        kRowChunk * kTokens * kHeadDim,
        [&] { kernels.attend_values(kRule, weights, values.panel, 7, context.data()); });
}

void count_all(const Kernels& kernels) {
  count_packing(kernels);
  count_products(kernels);
  count_elements(kernels);
  count_attention(kernels);
  std::uint64_t products = kernels.multiply_in_registers(1000);
  count("multiply_in_registers", "1000 rounds", "products", static_cast<std::size_t>(products),
        [&] { products = kernels.multiply_in_registers(1000); });
}

}  // namespace

int main(int argc, char** argv) {
  const std::string_view wanted = argc == 2 ? argv[1] : "";
  for (const Kernels* kernels : available_kernels()) {
    if (wanted == "--list") {
      fmt::print("{}\n", kernels->name);
    } else if (wanted == kernels->name) {
      count_all(*kernels);
      return 0;
    }
  }
  if (wanted == "--list") {
    return 0;
  }
  fmt::print(stderr, "usage: kernel_counts --list | ISA (one of the list)\n");
  return 2;
}
