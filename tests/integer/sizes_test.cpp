// A file that needs more memory than 32 bits can address: what the runtime answers on machines of
// 64 bits and of 32 bits. scripts/test_32_bits builds this test for the latter. It needs only the
// runtime.
#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <span>
#include <vector>

#include "bitlog2_runtime.h"
#include "integer/runtime/network.h"

namespace bitlog2::runtime {
namespace {

constexpr std::size_t kLargestSize = std::numeric_limits<std::size_t>::max();
constexpr std::uint32_t kFeatures = 1 << 16;
constexpr std::uint32_t kLayers = 1030;  // four packed megabytes each, all with the same weights
constexpr std::size_t kZeros = std::size_t{4} * kFeatures;  // bytes that all tensors share

template <class T>
void append(std::vector<std::byte>& file, const T& value) {
  const auto bytes = std::as_bytes(std::span(&value, 1));
  file.insert(file.end(), bytes.begin(), bytes.end());
}

Op linear(Buffer destination, std::uint32_t zeros) {
  Op op = {};
  op.kind = static_cast<std::uint32_t>(OpKind::linear);
  op.source = static_cast<std::uint32_t>(Buffer::codes_a);
  op.destination = static_cast<std::uint32_t>(destination);
  op.rows = 1;
  op.in_features = kFeatures;
  op.out_features = 1;
  op.weight_bits = 4;
  op.weights = op.zero_points = op.bias = op.multipliers = op.decode = zeros;
  op.decode_size = 1;
  op.shift = 1;
  return op;
}

/// A network of one pixel and one class whose packed weights need more than four gigabytes.
std::vector<std::byte> vast_network() {
  std::vector<Op> ops(2);
  const auto zeros = static_cast<std::uint32_t>(sizeof(Header) + (kLayers + 3) * sizeof(Op));
  Op& embed = ops[0];
  embed = linear(Buffer::residual, zeros);
  embed.kind = static_cast<std::uint32_t>(OpKind::embed);
  embed.source = static_cast<std::uint32_t>(Buffer::none);
  embed.in_features = 3;
  embed.out_features = kFeatures;
  embed.table = zeros;
  embed.table_size = 768;
  embed.decode_size = 256;
  Op& norm = ops[1];
  norm.kind = static_cast<std::uint32_t>(OpKind::layer_norm);
  norm.source = static_cast<std::uint32_t>(Buffer::residual);
  norm.destination = static_cast<std::uint32_t>(Buffer::codes_a);
  norm.rows = 1;
  norm.in_features = norm.out_features = kFeatures;
  norm.multipliers = norm.bias = zeros;
  norm.shift = 1;
  ops.insert(ops.end(), kLayers, linear(Buffer::codes_b, zeros));
  ops.push_back(linear(Buffer::logits, zeros));

  Header header = {};
  header.magic = kMagic;
  header.version = kVersion;
  header.data_bytes = static_cast<std::uint32_t>(zeros + kZeros);
  header.op_count = static_cast<std::uint32_t>(ops.size());
  header.image_size = header.patch_size = header.num_classes = 1;
  header.attention_kind = static_cast<std::uint32_t>(AttentionKind::bitlog2);
  header.attention_multiplier = 16;
  std::vector<std::byte> data;
  append(data, header);
  for (const Op& op : ops) {
    append(data, op);
  }
  data.resize(header.data_bytes);
  const std::uint64_t sum = checksum(data);
  std::memcpy(data.data() + offsetof(Header, checksum_low), &sum, sizeof(sum));
  std::vector<std::byte> file;
  append(file, std::uint64_t{4});
  for (const char letter : {'{', '}', ' ', ' '}) {
    append(file, letter);
  }
  file.insert(file.end(), data.begin(), data.end());
  return file;
}

class Vast : public ::testing::Test {
 protected:
  Vast() : file_(vast_network()) {
    EXPECT_EQ(bitlog2_open(&network_, file_.data(), file_.size()), BITLOG2_OK);
  }

  std::vector<std::byte> file_;
  bitlog2_network network_ = {};
};

TEST_F(Vast, PackedWeightsAreMoreThanAnySizeOf32BitsSays) {
  const std::uint64_t size = bitlog2_packed_size(&network_);
  EXPECT_GT(size, (std::uint64_t{1} << 32) - 2);
  std::byte memory[1];
  const std::size_t almost =
      static_cast<std::size_t>(size <= kLargestSize ? size - 1 : std::uint64_t{kLargestSize});
  EXPECT_EQ(bitlog2_pack_weights(&network_, memory, almost), BITLOG2_SMALL_ARENA);
}

TEST_F(Vast, ArenasOfManyThreadsAreMoreThanAnySizeOf32BitsSays) {
  const std::uint64_t one = bitlog2_arena_size(&network_, 1);
  EXPECT_LT(one, std::uint64_t{1} << 24);
  const std::uint64_t all = bitlog2_arena_size(&network_, 65536);
  EXPECT_GT(all, (std::uint64_t{1} << 32) - 2);
  const bitlog2_thread_group group = {65536, nullptr, nullptr};
  const std::uint8_t pixel[3] = {};
  std::byte memory[1];
  std::int32_t logit = 0;
  EXPECT_EQ(bitlog2_run_in_group(&network_, pixel, memory, static_cast<std::size_t>(all - 1),
                                 &logit, &group, 0, nullptr),
            BITLOG2_SMALL_ARENA);
}

TEST_F(Vast, RunsInItsArena) {
  std::vector<std::byte> arena(bitlog2_arena_size(&network_, 1), std::byte{0x5A});
  const std::uint8_t pixel[3] = {1, 2, 3};
  std::int32_t logit = 5;
  ASSERT_EQ(bitlog2_run(&network_, pixel, arena.data(), arena.size(), &logit), BITLOG2_OK);
  EXPECT_EQ(logit, 0);
}

/// Whatever is asked for, the memory is far from what 32 bits address, so nothing overflows there.
TEST(CropMemory, IsSmallForAllSides) {
  constexpr std::size_t kLargest = 65536;
  constexpr std::size_t kMost = std::size_t{1} << 26;
  for (const std::size_t width : {std::size_t{1}, std::size_t{255}, kLargest}) {
    for (const std::size_t height : {std::size_t{1}, std::size_t{4099}, kLargest - 1, kLargest}) {
      for (const std::uint32_t resize : {1U, 3U, 256U, 65536U}) {
        for (const std::uint32_t crop : {1U, 224U, 65536U}) {
          for (const std::uint32_t mode : {0U, 1U}) {
            const bitlog2_preprocessing how = {
                resize, crop, BITLOG2_LANCZOS, mode, BITLOG2_TORCHVISION_CROP, {}, {}};
            const std::size_t bytes = bitlog2_crop_memory(&how, width, height);
            EXPECT_GT(bytes, 0U);
            EXPECT_LT(bytes, kMost)
                << width << " x " << height << " to " << resize << ", " << crop << ", " << mode;
          }
        }
      }
    }
  }
}

/// A row is longer than the stride, or as long as no size of 32 bits says.
TEST(CropMemory, StridesThatAreTooShortAreRefused) {
  const bitlog2_preprocessing how = {
      1, 1, BITLOG2_BILINEAR, BITLOG2_SQUASH, BITLOG2_TORCHVISION_CROP, {}, {}};
  std::vector<std::byte> memory(bitlog2_crop_memory(&how, 65536, 1));
  std::uint8_t crop[3] = {};
  const std::uint8_t pixel[3] = {};
  for (const std::size_t width : {std::size_t{65536}, std::size_t{65537}, kLargestSize / 3 + 1}) {
    EXPECT_EQ(bitlog2_resize_and_crop(&how, pixel, width, 1, 3 * 65536 - 1, memory.data(),
                                      memory.size(), crop),
              BITLOG2_WRONG_SIZE);
  }
}

}  // namespace
}  // namespace bitlog2::runtime
