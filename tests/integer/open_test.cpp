// Damaged, truncated and hostile files: open() refuses them, or run() stays inside the file and the
// arena. Only the sanitizers can see whether run() does (./dev asan), so files and arenas here have
// exactly their sizes.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <map>
#include <memory>
#include <numeric>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "bitlog2_runtime.h"
#include "integer/runtime/kernels/select.h"
#include "integer/runtime/network.h"
#include "tiny_networks.h"

namespace bitlog2::runtime {
namespace {

using Bytes = std::vector<std::byte>;

/// A file in memory of exactly its size, which begins `offset` bytes after a multiple of 16.
class Flash {
 public:
  explicit Flash(std::span<const std::byte> file, std::size_t offset = 0)
      : memory_(std::make_unique<std::byte[]>(file.size() + offset)),
        file_(memory_.get() + offset, file.size()) {
    std::copy(file.begin(), file.end(), file_.begin());
  }

  std::span<const std::byte> bytes() const { return file_; }

 private:
  std::unique_ptr<std::byte[]> memory_;
  std::span<std::byte> file_;
};

/// Runs an opened network on gray pixels in an arena of exactly its size.
Status run_tightly(const Network& network) {
  const std::size_t size = arena_size(network);
  // The arena begins at an odd address, so that run() must align it.
  std::vector<std::byte> arena(size + 1, std::byte{0xA5});
  std::vector<std::uint8_t> pixels(network.input_bytes(), 100);
  std::vector<std::int32_t> logits(network.header.num_classes);
  RunStatistics statistics;
  return run(network, pixels, std::span(arena).subspan(1), logits,
             {.statistics = &statistics, .group = {}});
}

/// Opens and runs through the C interface. The status of open, or of run if open succeeds.
bitlog2_status open_and_run_in_c(std::span<const std::byte> file) {
  bitlog2_network network;
  const bitlog2_status status = bitlog2_open(&network, file.data(), file.size());
  if (status != BITLOG2_OK) {
    return status;
  }
  const std::size_t side = bitlog2_image_size(&network);
  std::vector<std::byte> arena(bitlog2_arena_size(&network, 1));
  std::vector<std::uint8_t> pixels(3 * side * side, 100);
  std::vector<std::int32_t> logits(bitlog2_num_classes(&network));
  return bitlog2_run(&network, pixels.data(), arena.data(), arena.size(), logits.data());
}

/// Opens a file through both interfaces, and runs it if that succeeds.
Status open_and_run(const Bytes& file) {
  const Flash flash(file);
  Network network;
  const Status status = open(flash.bytes(), network);
  bitlog2_network in_c;
  EXPECT_EQ(static_cast<int>(bitlog2_open(&in_c, flash.bytes().data(), flash.bytes().size())),
            static_cast<int>(status));
  return status == Status::ok ? run_tightly(network) : status;
}

std::size_t data_offset(const Bytes& file) {
  std::uint64_t json_bytes = 0;
  std::memcpy(&json_bytes, file.data(), sizeof(json_bytes));
  return 8 + static_cast<std::size_t>(json_bytes);
}

Header header_of(const Bytes& file) {
  Header header;
  std::memcpy(&header, file.data() + data_offset(file), sizeof(header));
  return header;
}

std::uint32_t word_at(const Bytes& file, std::size_t index) {
  std::uint32_t word = 0;
  std::memcpy(&word, file.data() + data_offset(file) + 4 * index, sizeof(word));
  return word;
}

void set_word(Bytes& file, std::size_t index, std::uint32_t word) {
  std::memcpy(file.data() + data_offset(file) + 4 * index, &word, sizeof(word));
}

void repair_checksum(Bytes& file) {
  const std::uint64_t sum = checksum(std::span<const std::byte>(file).subspan(data_offset(file)));
  set_word(file, offsetof(Header, checksum_low) / 4, static_cast<std::uint32_t>(sum));
  set_word(file, offsetof(Header, checksum_high) / 4, static_cast<std::uint32_t>(sum >> 32));
}

/// Words that may break assumptions: ends of ranges, signs, neighbours of powers of two.
std::vector<std::uint32_t> extreme_words(std::uint32_t word) {
  return {0,          1,          2,          3,          4,         word - 1, word + 1, 2 * word,
          word / 2,   word + 4,   15,         16,         31,        62,       63,       64,
          255,        256,        4096,       65535,      65536,     1U << 19, 1U << 30, 0x7FFFFFFF,
          0x80000000, 0x80000001, 0xFFFF0000, 0xFFFFFFFE, 0xFFFFFFFF};
}

struct NetworkCase {
  const char* name;
  Family family;
  const char* scheme;
  int bits;
  const char* recipe = "repq";
  const char* architecture = "";  // of testing::architectures(); if empty, the family's own
};

Bytes network_of(const NetworkCase& network) {
  return *network.architecture == 0
             ? testing::tiny_network(network.family, network.scheme, network.bits, network.recipe)
             : testing::tiny_network(std::string(network.architecture), network.scheme,
                                     network.bits, network.recipe);
}

class Open : public ::testing::TestWithParam<NetworkCase> {
 protected:
  static const Bytes& file_of(const NetworkCase& network) {
    static std::map<std::string, Bytes> files;
    Bytes& file = files[network.name];
    if (file.empty()) {
      file = network_of(network);
    }
    return file;
  }

  const Bytes& file() const { return file_of(GetParam()); }
  std::span<const std::byte> bytes() const { return file(); }
};

TEST_P(Open, ValidNetworkRuns) {
  EXPECT_EQ(open_and_run(file()), Status::ok);
  EXPECT_EQ(open_and_run_in_c(file()), BITLOG2_OK);
}

TEST_P(Open, EveryTruncationIsRefused) {
  const std::size_t step = std::max<std::size_t>(1, file().size() / 997);
  const std::size_t near_start = data_offset(file()) + sizeof(Header) + 2 * sizeof(Op);
  for (std::size_t size = 0; size < file().size(); size += size < near_start ? 1 : step) {
    const Flash flash(bytes().first(size));
    Network network;
    ASSERT_NE(open(flash.bytes(), network), Status::ok) << size << " bytes";
    ASSERT_NE(open_and_run_in_c(flash.bytes()), BITLOG2_OK) << size << " bytes";
  }
  Bytes longer = file();
  longer.push_back(std::byte{0});
  EXPECT_EQ(open_and_run(longer), Status::truncated);
}

TEST_P(Open, LengthOfJsonIsChecked) {
  const std::uint64_t rest = file().size() - 8;
  const std::vector<std::uint64_t> lengths = {
      0,     4,         7,         rest,      rest - sizeof(Header), rest + 1, 1ULL << 32,
      ~0ULL, ~0ULL - 3, ~0ULL - 7, 1ULL << 63};
  for (const std::uint64_t length : lengths) {
    Bytes damaged = file();
    std::memcpy(damaged.data(), &length, sizeof(length));
    EXPECT_NE(open_and_run(damaged), Status::ok) << length;
  }
}

TEST_P(Open, CorruptedHeaderIsRefusedOrHarmless) {
  for (std::size_t index = 0; index < sizeof(Header) / 4; ++index) {
    for (const std::uint32_t word : extreme_words(word_at(file(), index))) {
      Bytes damaged = file();
      set_word(damaged, index, word);
      const Status status = open_and_run(damaged);
      // Sizes, version and checksum have only one valid value; later words may have several.
      if (index < offsetof(Header, image_size) / 4 && word != word_at(file(), index)) {
        ASSERT_NE(status, Status::ok) << "header word " << index << " = " << word;
      }
    }
  }
}

TEST_P(Open, CorruptedDataIsDamaged) {
  const std::size_t first = data_offset(file()) + sizeof(Header);
  for (std::size_t at = first; at < file().size(); at += 37) {
    Bytes damaged = file();
    damaged[at] ^= std::byte{0x10};
    ASSERT_EQ(open_and_run(damaged), Status::damaged) << "byte " << at;
  }
}

TEST_P(Open, HostileOperationsAreRefusedOrHarmless) {
  const std::size_t first = sizeof(Header) / 4;
  const std::size_t words = header_of(file()).op_count * sizeof(Op) / 4;
  std::size_t refused = 0;
  for (std::size_t index = first; index < first + words; ++index) {
    for (const std::uint32_t word : extreme_words(word_at(file(), index))) {
      Bytes damaged = file();
      set_word(damaged, index, word);
      repair_checksum(damaged);
      refused += open_and_run(damaged) != Status::ok ? 1 : 0;
    }
  }
  EXPECT_GT(refused, words) << "the operations were hardly checked";
}

TEST_P(Open, HostileTensorsAreRefusedOrHarmless) {
  const std::size_t first = (sizeof(Header) + header_of(file()).op_count * sizeof(Op)) / 4;
  const std::size_t end = header_of(file()).data_bytes / 4;
  for (std::size_t index = first; index < end; index += 3) {
    for (const std::uint32_t word : {0x7FFFFFFFU, 0x80000000U, 0xFFFFFFFFU, 0U, 0x3FFFFFFFU}) {
      Bytes damaged = file();
      set_word(damaged, index, word);
      repair_checksum(damaged);
      open_and_run(damaged);
    }
  }
}

TEST_P(Open, OperationsInAnotherOrderAreRefusedOrHarmless) {
  const std::size_t count = header_of(file()).op_count;
  const auto op_at = [](Bytes& bytes, std::size_t index) {
    return bytes.begin() +
           static_cast<std::ptrdiff_t>(data_offset(bytes) + sizeof(Header) + index * sizeof(Op));
  };
  for (std::size_t a = 0; a < count; ++a) {
    for (std::size_t b = 0; b < count; ++b) {
      Bytes damaged = file();  // with one operation replaced by another
      Bytes original = file();
      std::copy_n(op_at(original, a), sizeof(Op), op_at(damaged, b));
      repair_checksum(damaged);
      open_and_run(damaged);
    }
  }
}

TEST_P(Open, WrongVersionAndMagicAreNamed) {
  Bytes other = file();
  set_word(other, offsetof(Header, version) / 4, kVersion + 1);
  EXPECT_EQ(open_and_run(other), Status::wrong_version);
  other = file();
  set_word(other, offsetof(Header, magic) / 4, 0);
  EXPECT_EQ(open_and_run(other), Status::not_a_network);
}

TEST_P(Open, MisalignedAddressIsRefused) {
  for (std::size_t offset = 1; offset < 4; ++offset) {
    const Flash flash(file(), offset);
    Network network;
    EXPECT_EQ(open(flash.bytes(), network), Status::misaligned);
    EXPECT_EQ(open_and_run_in_c(flash.bytes()), BITLOG2_MISALIGNED);
  }
  const Flash flash(file(), 4);  // not a multiple of 8: allowed
  EXPECT_EQ(open_and_run_in_c(flash.bytes()), BITLOG2_OK);
}

TEST_P(Open, RefusalLeavesTheNetworkAlone) {
  Network network;
  ASSERT_EQ(open(file(), network), Status::ok);
  const std::byte* data = network.data;
  EXPECT_NE(open(bytes().first(100), network), Status::ok);
  EXPECT_EQ(network.data, data);
  EXPECT_EQ(run_tightly(network), Status::ok);
}

TEST_P(Open, RunChecksItsArguments) {
  Network network;
  ASSERT_EQ(open(file(), network), Status::ok);
  std::vector<std::byte> arena(arena_size(network));
  const std::vector<std::uint8_t> pixels(network.input_bytes());
  std::vector<std::int32_t> logits(network.header.num_classes);
  EXPECT_EQ(run(network, pixels, arena, logits), Status::ok);
  EXPECT_EQ(run(network, pixels, std::span(arena).subspan(1), logits), Status::small_arena);
  EXPECT_EQ(run(network, pixels, {}, logits), Status::small_arena);
  EXPECT_EQ(run(network, std::span(pixels).subspan(1), arena, logits), Status::wrong_size);
  EXPECT_EQ(run(network, {}, arena, logits), Status::wrong_size);
  EXPECT_EQ(run(network, pixels, arena, std::span(logits).subspan(1)), Status::wrong_size);

  bitlog2_network in_c;
  ASSERT_EQ(bitlog2_open(&in_c, file().data(), file().size()), BITLOG2_OK);
  EXPECT_EQ(bitlog2_arena_size(&in_c, 1), arena.size());
  EXPECT_EQ(bitlog2_num_classes(&in_c), logits.size());
  EXPECT_EQ(3 * bitlog2_image_size(&in_c) * bitlog2_image_size(&in_c), pixels.size());
  EXPECT_EQ(bitlog2_run(&in_c, pixels.data(), arena.data(), arena.size() - 1, logits.data()),
            BITLOG2_SMALL_ARENA);
}

TEST_P(Open, ArenaContentAndAddressDoNotMatter) {
  Network network;
  ASSERT_EQ(open(file(), network), Status::ok);
  const std::vector<std::uint8_t> pixels(network.input_bytes(), 77);
  std::set<std::vector<std::int32_t>> results;
  for (std::size_t offset = 0; offset < 16; ++offset) {
    std::vector<std::byte> arena(arena_size(network) + offset, std::byte(17 * offset));
    std::vector<std::int32_t> logits(network.header.num_classes, -1);
    ASSERT_EQ(run(network, pixels, std::span(arena).subspan(offset), logits), Status::ok);
    results.insert(logits);
  }
  EXPECT_EQ(results.size(), 1U);
}

TEST_P(Open, PackedWeightsChangeNoBit) {
  Network network;
  ASSERT_EQ(open(file(), network), Status::ok);
  std::vector<std::uint8_t> pixels(network.input_bytes());
  std::iota(pixels.begin(), pixels.end(), std::uint8_t{3});
  std::vector<std::byte> arena(arena_size(network));
  std::vector<std::int32_t> expected(network.header.num_classes);
  ASSERT_EQ(run(network, pixels, arena, expected), Status::ok);
  for (const Kernels* kernels : available_kernels()) {
    // The memory begins at an odd address, so that pack_weights() must align it.
    std::vector<std::byte> memory(packed_size(network) + 1, std::byte{0x5A});
    const auto packed = std::span(memory).subspan(1);
    pack_weights(network, *kernels, packed);
    std::vector<std::int32_t> logits(expected.size());
    RunOptions options;
    options.kernels = kernels;
    options.packed = packed.data();
    ASSERT_EQ(run(network, pixels, arena, logits, options), Status::ok);
    EXPECT_EQ(logits, expected) << kernels->name;
  }
}

INSTANTIATE_TEST_SUITE_P(
    Networks, Open,
    ::testing::Values(NetworkCase{"vit_half_w4", Family::vit, "BitLog2_Half_17", 4},
                      NetworkCase{"vit_sqrt2_w8", Family::vit, "Sqrt2_17", 8},
                      NetworkCase{"swin_single_w4", Family::swin, "BitLog2_Single_16", 4},
                      NetworkCase{"vit_best_w4", Family::vit, "BitLog2_Half_16", 4, "best"},
                      NetworkCase{"swin_best_w4", Family::swin, "BitLog2_Half_16", 4, "best"},
                      NetworkCase{"distilled_w4", Family::vit, "BitLog2_Half_16", 4, "best",
                                  "distilled"},
                      NetworkCase{"registers_w4", Family::vit, "Sqrt2_16", 4, "repq", "registers"},
                      NetworkCase{"siglip_w4", Family::vit, "BitLog2_Half_17", 4, "repq", "siglip"},
                      NetworkCase{"beit_w4", Family::vit, "BitLog2_Half_16", 4, "best", "beit"},
                      NetworkCase{"swiglu_w4", Family::vit, "BitLog2_Half_16", 4, "best", "swiglu"},
                      NetworkCase{"rotary_w4", Family::vit, "BitLog2_Half_16", 4, "best", "rotary"},
                      NetworkCase{"clip_w8", Family::vit, "BitLog2_Half_16", 8, "repq", "clip"}),
    [](const auto& test) { return std::string(test.param.name); });

/// The index of the first word of the first operation of a kind, or of the one `later` after it.
std::size_t find_op(const Bytes& file, OpKind kind, std::size_t later = 0) {
  for (std::size_t i = 0; i < header_of(file).op_count; ++i) {
    const std::size_t first = (sizeof(Header) + i * sizeof(Op)) / 4;
    if (word_at(file, first) == static_cast<std::uint32_t>(kind) && later-- == 0) {
      return first;
    }
  }
  ADD_FAILURE() << "no such operation";
  return 0;
}

TEST(OpenRegression, LayerNormCannotAddToTheResidualStream) {
  Bytes file = testing::tiny_network(Family::vit, "BitLog2_Half_17", 4);
  // After the second LayerNorm, the next operation would read the codes of attention, which have
  // the same shape.
  set_word(file, find_op(file, OpKind::layer_norm, 1) + offsetof(Op, destination) / 4,
           static_cast<std::uint32_t>(Buffer::residual_add));
  repair_checksum(file);
  EXPECT_EQ(open_and_run(file), Status::bad_program);
}

TEST(OpenRegression, ShiftWithoutWindowsIsRefused) {
  Bytes file = testing::tiny_network(Family::vit, "BitLog2_Half_17", 4);
  set_word(file, find_op(file, OpKind::attention) + offsetof(Op, window_shift) / 4, 1);
  repair_checksum(file);
  EXPECT_EQ(open_and_run(file), Status::bad_program);
}

/// Opens a network in which all operations but the head have tables, with one field of one
/// operation changed.
Status status_with(OpKind kind, std::size_t field, std::uint32_t word) {
  Bytes file = testing::tiny_network(Family::vit, "BitLog2_Half_16", 4, "best");
  set_word(file, find_op(file, kind) + field / 4, word);
  repair_checksum(file);
  return open_and_run(file);
}

TEST(OpenTables, OfBytesAreChecked) {
  for (const OpKind kind : {OpKind::layer_norm, OpKind::attention}) {
    EXPECT_EQ(status_with(kind, offsetof(Op, table_size), 0), Status::bad_program);
    EXPECT_EQ(status_with(kind, offsetof(Op, table_size), 257), Status::bad_program);
    EXPECT_EQ(status_with(kind, offsetof(Op, table), 0x7FFFFFFF), Status::bad_program);
    EXPECT_EQ(status_with(kind, offsetof(Op, output_qmax), 1), Status::bad_number);
    EXPECT_EQ(status_with(kind, offsetof(Op, table_size), 2), Status::ok);
  }
}

/// Opens a tiny network of an architecture, with one field of its first operation of a kind
/// changed.
Status status_with(const std::string& architecture, OpKind kind, std::size_t field,
                   std::uint32_t word) {
  Bytes file = testing::tiny_network(architecture, "BitLog2_Half_16", 4);
  set_word(file, find_op(file, kind) + field / 4, word);
  repair_checksum(file);
  return open_and_run(file);
}

/// tokens * |v - zero| * M is at most kMaxRelativeSum.
TEST(OpenAttention, RelativeSumsAreBounded) {
  ModelConfig config = testing::tiny_config(Family::vit);
  config.img_size = 7 * config.patch_size;
  config.preprocessing.crop = static_cast<int>(config.img_size);
  config.preprocessing.resize = static_cast<int>(config.img_size);
  constexpr std::uint32_t kTokens = 7 * 7 + 1;
  constexpr std::uint32_t kFarthest = 512;
  const auto status_with = [&](std::uint32_t multiplier) {
    Bytes file = lower(
        testing::quantize(make_random_model(config, 3),
                          {4, 4, find_attention_scheme("BitLog2_Half_16"), find_recipe("best")}),
        {});
    EXPECT_EQ(header_of(file).attention_kind,
              static_cast<std::uint32_t>(AttentionKind::relative_bitlog2));
    set_word(file, offsetof(Header, attention_multiplier) / 4, multiplier);
    const std::size_t heads =
        word_at(file, find_op(file, OpKind::attention) + offsetof(Op, head_table) / 4);
    set_word(file, (heads + offsetof(HeadRecord, value_zero)) / 4, kFarthest);
    repair_checksum(file);
    return open_and_run(file);
  };
  constexpr auto kMost = static_cast<std::uint32_t>(kMaxRelativeSum / (kTokens * kFarthest));
  EXPECT_EQ(status_with(kMost), Status::ok);
  EXPECT_EQ(status_with(kMost + 1), Status::bad_number);
}

TEST(OpenPrefixTokens, AreCounted) {
  const auto embed = [](std::uint32_t count) {
    return status_with("registers", OpKind::embed, offsetof(Op, prefix_tokens), count);
  };
  EXPECT_EQ(embed(5), Status::ok);
  for (const std::uint32_t count : {0U, 4U, 6U, 0xFFFFFFFFU}) {
    EXPECT_EQ(embed(count), Status::bad_program) << count;
  }
}

TEST(OpenMean, HasTokensAndOneRowOrTwo) {
  const auto mean = [](std::size_t field, std::uint32_t word) {
    return status_with("registers", OpKind::mean, field, word);
  };
  EXPECT_EQ(mean(offsetof(Op, rows), 2), Status::ok);
  EXPECT_EQ(mean(offsetof(Op, rows), 1), Status::bad_program);  // the head reads two rows
  EXPECT_EQ(mean(offsetof(Op, rows), 3), Status::bad_program);
  EXPECT_EQ(mean(offsetof(Op, extent), 1), Status::bad_program);
  EXPECT_EQ(mean(offsetof(Op, prefix_tokens), 4), Status::bad_program);
  EXPECT_EQ(mean(offsetof(Op, destination), static_cast<std::uint32_t>(Buffer::residual)),
            Status::bad_program);
  // If all tokens are prefix tokens, there are no patches for the mean.
  Bytes file = testing::tiny_network("registers", "BitLog2_Half_16", 4);
  const std::size_t op = find_op(file, OpKind::mean);
  set_word(file, op + offsetof(Op, extent) / 4, 0);
  set_word(file, op + offsetof(Op, prefix_tokens) / 4, 9);
  repair_checksum(file);
  EXPECT_EQ(open_and_run(file), Status::bad_program);
}

TEST(OpenMean, ToTheResidualStreamReplacesIt) {
  const auto mean = [](Buffer destination) {
    return status_with("mean_then_norm", OpKind::mean, offsetof(Op, destination),
                       static_cast<std::uint32_t>(destination));
  };
  EXPECT_EQ(mean(Buffer::residual), Status::ok);
  EXPECT_EQ(mean(Buffer::residual_add), Status::bad_program);
  EXPECT_EQ(mean(Buffer::logits), Status::bad_program);
}

TEST(OpenScoreBias, NeedsAClassTokenAndASquareOfPatches) {
  // Nine tokens are not a class token and a square of patches, so no tensor can be their bias.
  Bytes file = testing::tiny_network("registers", "BitLog2_Half_16", 4);
  const std::size_t op = find_op(file, OpKind::attention);
  set_word(file, op + offsetof(Op, score_bias) / 4,
           word_at(file, find_op(file, OpKind::embed) + offsetof(Op, bias) / 4));
  repair_checksum(file);
  EXPECT_EQ(open_and_run(file), Status::bad_program);

  const Bytes beit = testing::tiny_network("beit", "BitLog2_Half_16", 4);
  EXPECT_EQ(status_with("beit", OpKind::attention, offsetof(Op, score_bias),
                        header_of(beit).data_bytes - 4),
            Status::bad_program);
  const std::size_t bias =
      word_at(beit, find_op(beit, OpKind::attention) + offsetof(Op, score_bias) / 4) / 4;
  constexpr std::size_t kLast = 2 * (3 * 3 + 3) - 1;  // for two heads and two patches per side
  Bytes large = beit;
  set_word(large, bias + kLast, 0x7FFFFFFF);
  repair_checksum(large);
  EXPECT_EQ(open_and_run(large), Status::bad_number);
}

TEST(OpenLinear, ReadsAsManyCodesAsThereAre) {
  Bytes file = testing::tiny_network("distilled", "BitLog2_Half_16", 4);
  std::size_t linears = 0;
  for (std::size_t i = 0; i < header_of(file).op_count; ++i) {
    linears += word_at(file, (sizeof(Header) + i * sizeof(Op)) / 4) ==
                       static_cast<std::uint32_t>(OpKind::linear)
                   ? 1
                   : 0;
  }
  const std::size_t head = find_op(file, OpKind::linear, linears - 1);
  EXPECT_EQ(word_at(file, head + offsetof(Op, in_features) / 4), 16U);  // 2 tokens, 8 channels
  for (const std::uint32_t features : {8U, 15U, 17U, 32U}) {
    Bytes damaged = file;
    set_word(damaged, head + offsetof(Op, in_features) / 4, features);
    repair_checksum(damaged);
    EXPECT_EQ(open_and_run(damaged), Status::bad_program) << features;
  }
}

TEST(OpenGatedLinear, HasATableOfFactorsAndWritesCodes) {
  const auto gated = [](std::size_t field, std::uint32_t word) {
    return status_with("swiglu", OpKind::gated_linear, field, word);
  };
  EXPECT_EQ(gated(offsetof(Op, destination), static_cast<std::uint32_t>(Buffer::codes_b)),
            Status::ok);
  for (const Buffer buffer : {Buffer::codes_a, Buffer::residual_add, Buffer::logits}) {
    EXPECT_EQ(gated(offsetof(Op, destination), static_cast<std::uint32_t>(buffer)),
              Status::bad_program);
  }
  EXPECT_EQ(gated(offsetof(Op, out_features), 13), Status::bad_program);  // fc2 reads 14
  EXPECT_EQ(gated(offsetof(Op, positions), 0), Status::bad_program);
  EXPECT_EQ(gated(offsetof(Op, positions), 0x7FFFFFFC), Status::bad_program);
  for (const std::int32_t zero : {4096, -4096}) {
    EXPECT_EQ(gated(offsetof(Op, extent), static_cast<std::uint32_t>(zero)), Status::ok);
  }
  for (const std::int32_t zero : {4097, -4097}) {
    EXPECT_EQ(gated(offsetof(Op, extent), static_cast<std::uint32_t>(zero)), Status::bad_number);
  }
  Bytes file = testing::tiny_network("swiglu", "BitLog2_Half_16", 4);
  const std::size_t table =
      word_at(file, find_op(file, OpKind::gated_linear) + offsetof(Op, positions) / 4) / 4;
  for (const std::size_t entry : {std::size_t{0}, kGateEntries - 1}) {
    for (const std::uint32_t factor : {65537U, 0xFFFFFFFFU}) {
      Bytes damaged = file;
      set_word(damaged, table + entry, factor);
      repair_checksum(damaged);
      EXPECT_EQ(open_and_run(damaged), Status::bad_number);
    }
  }
}

TEST(OpenRotaryLinear, HasTurnsAndZeroPoints) {
  const auto rotary = [](std::size_t field, std::uint32_t word) {
    return status_with("rotary", OpKind::rotary_linear, field, word);
  };
  for (const Buffer buffer : {Buffer::codes_a, Buffer::residual, Buffer::logits}) {
    EXPECT_EQ(rotary(offsetof(Op, destination), static_cast<std::uint32_t>(buffer)),
              Status::bad_program);
  }
  EXPECT_EQ(rotary(offsetof(Op, extent), 1), Status::ok);  // of four patches, one is turned
  for (const std::uint32_t grid : {0U, 4U, 257U, 0xFFFFFFFFU}) {
    EXPECT_EQ(rotary(offsetof(Op, extent), grid), Status::bad_program) << grid;
  }
  for (const std::uint32_t heads : {0U, 3U, 4U, 8U}) {
    EXPECT_EQ(rotary(offsetof(Op, heads), heads), Status::bad_program) << heads;
  }
  for (const std::size_t field : {offsetof(Op, positions), offsetof(Op, head_table)}) {
    EXPECT_EQ(rotary(field, 0), Status::bad_program);
    EXPECT_EQ(rotary(field, 0x7FFFFFFC), Status::bad_program);
  }
  const Bytes file = testing::tiny_network("rotary", "BitLog2_Half_16", 4);
  const std::size_t op = find_op(file, OpKind::rotary_linear);
  const auto with_last = [&](std::size_t field, std::size_t count, std::int32_t value) {
    Bytes damaged = file;
    set_word(damaged, word_at(file, op + field / 4) / 4 + count - 1,
             static_cast<std::uint32_t>(value));
    repair_checksum(damaged);
    return open_and_run(damaged);
  };
  EXPECT_EQ(with_last(offsetof(Op, positions), 4, -32768), Status::ok);  // 2 rows of 1 frequency
  EXPECT_EQ(with_last(offsetof(Op, positions), 4, -32769), Status::bad_number);
  EXPECT_EQ(with_last(offsetof(Op, positions), 4, 32769), Status::bad_number);
  EXPECT_EQ(with_last(offsetof(Op, head_table), 6, 4096), Status::ok);
  EXPECT_EQ(with_last(offsetof(Op, head_table), 6, 4097), Status::bad_number);
}

TEST(OpenCodes, AreOverwrittenWhereOneOperationReadsThem) {
  struct Step {
    Buffer source;
    Buffer destination;
    bool reads_alone;
  };
  constexpr auto kA = Buffer::codes_a;
  constexpr auto kB = Buffer::codes_b;
  constexpr auto kStream = Buffer::residual;
  const Step steps[] = {
      {Buffer::none, kStream, true}, {kStream, kA, false}, {kA, kB, false}, {kA, kStream, false},
      {kB, kStream, true},           {kStream, kA, false}, {kA, kB, true},  {kStream, kA, false},
      {kB, kStream, true},           {kA, kB, true},       {kB, kA, true},  {kA, kStream, true},
  };
  Bytes program(sizeof(Header));
  for (const Step& step : steps) {
    Op op = {};
    op.source = static_cast<std::uint32_t>(step.source);
    op.destination = static_cast<std::uint32_t>(step.destination);
    const auto bytes = std::as_bytes(std::span(&op, 1));
    program.insert(program.end(), bytes.begin(), bytes.end());
  }
  Network network;
  network.data = program.data();
  network.header.op_count = static_cast<std::uint32_t>(std::size(steps));
  for (std::size_t i = 0; i < std::size(steps); ++i) {
    if (steps[i].source == kA || steps[i].source == kB) {
      EXPECT_EQ(reads_alone(network, i), steps[i].reads_alone) << i;
    }
  }
}

TEST(Status, EveryTextSaysSomethingOfItsOwn) {
  std::set<std::string> texts;
  for (int status = BITLOG2_OK; status <= BITLOG2_STOPPED; ++status) {
    const std::string text = bitlog2_status_text(static_cast<bitlog2_status>(status));
    EXPECT_FALSE(text.empty());
    if (status <= BITLOG2_WRONG_SIZE || status == BITLOG2_STOPPED) {
      EXPECT_EQ(text, status_text(static_cast<Status>(status)));
    }
    texts.insert(text);
  }
  EXPECT_EQ(texts.size(), static_cast<std::size_t>(BITLOG2_STOPPED) + 1);
  EXPECT_STRNE(status_text(static_cast<Status>(1000)), "");
}

}  // namespace
}  // namespace bitlog2::runtime
