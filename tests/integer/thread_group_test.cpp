// Threads that run one image together, and threads that share a network, give the same logits with
// all kernels. This test needs only the runtime, so its build with ThreadSanitizer is short
// (`./dev threads`).
#include "integer/thread_group.h"

#include <gtest/gtest.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "integer/runtime/kernels/select.h"
#include "integer/runtime/network.h"

namespace bitlog2::integer {
namespace {

using runtime::Network;
using runtime::RunOptions;
using runtime::Status;

constexpr std::size_t kImages = 4;

/// A small network, which is a seed of the fuzzer, and images for it.
class Threads : public ::testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    std::ifstream file(std::string(BITLOG2_SOURCE_DIR "/fuzz/corpus/runtime_open/") + GetParam(),
                       std::ios::binary);
    const std::string bytes((std::istreambuf_iterator<char>(file)), {});
    file_.resize(bytes.size());
    std::memcpy(file_.data(), bytes.data(), bytes.size());
    ASSERT_EQ(runtime::open(file_, network_), Status::ok);
    const std::size_t side = network_.header.image_size;
    std::mt19937 random(5);
    for (std::vector<std::uint8_t>& image : images_) {
      image.resize(3 * side * side);
      for (std::uint8_t& value : image) {
        value = static_cast<std::uint8_t>(random());
      }
    }
  }

  std::vector<std::int32_t> no_logits() const {
    return std::vector<std::int32_t>(network_.header.num_classes);
  }

  /// The logits of one thread with the portable kernels.
  std::vector<std::int32_t> alone(std::size_t image) const {
    std::vector<std::byte> arena(runtime::arena_size(network_, 1));
    std::vector<std::int32_t> logits = no_logits();
    EXPECT_EQ(runtime::run(network_, images_[image], arena, logits), Status::ok);
    return logits;
  }

  std::vector<std::byte> file_;
  Network network_ = {};
  std::vector<std::uint8_t> images_[kImages];
};

TEST_P(Threads, OfAGroupGiveTheLogitsOfOne) {
  for (const std::size_t size : {2U, 3U, 5U}) {
    ThreadPool pool(size);
    std::vector<std::byte> arena(runtime::arena_size(network_, size));
    for (const runtime::Kernels* kernels : runtime::available_kernels()) {
      for (std::size_t image = 0; image < kImages; ++image) {
        std::vector<std::int32_t> logits = no_logits();
        std::atomic<std::size_t> failed = 0;
        run_in_group(pool, [&](const runtime::ThreadGroup& group, std::size_t rank) {
          const RunOptions options = {.kernels = kernels, .group = group, .rank = rank};
          failed += runtime::run(network_, images_[image], arena, logits, options) != Status::ok;
        });
        EXPECT_EQ(failed, 0U);
        EXPECT_EQ(logits, alone(image)) << kernels->name << ", " << size << " threads";
      }
    }
  }
}

TEST_P(Threads, ShareANetwork) {
  std::vector<std::int32_t> logits[kImages];
  {
    std::vector<std::jthread> threads;
    for (std::size_t image = 0; image < kImages; ++image) {
      threads.emplace_back([this, image, &logits] { logits[image] = alone(image); });
    }
  }
  for (std::size_t image = 0; image < kImages; ++image) {
    EXPECT_EQ(logits[image], alone(image));
  }
}

INSTANTIATE_TEST_SUITE_P(OfFuzzer, Threads,
                         ::testing::Values("vit_half_w4", "vit_sqrt2_w8", "swin_half_w4",
                                           "distilled_w4", "registers_w4", "siglip_w4", "beit_w4",
                                           "clip_w4", "pre_logits_w4"),
                         [](const auto& test) { return std::string(test.param); });

}  // namespace
}  // namespace bitlog2::integer
