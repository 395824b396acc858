// Feeds arbitrary bytes to the integer runtime, which reads files that may come from anywhere. The
// checksum is corrected first; otherwise open() would refuse nearly all inputs at once. For any
// bytes, open() must refuse them, or run() must stay inside the file and the arena and give the
// same logits with every instruction set. The metadata may have any content. Seeds:
// fuzz/corpus/runtime_open, which make_runtime_seeds writes.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <vector>

#include "../src/integer/runtime/kernels/select.h"
#include "../src/integer/runtime/network.h"
#include "bitlog2_runtime.h"

namespace {

namespace runtime = bitlog2::runtime;

constexpr std::size_t kLargestArena = 1 << 20;
constexpr std::size_t kMostOps = 64;
constexpr std::uint64_t kMostWork = 1 << 18;  // multiplications in one run

/// Corrects the header's checksum, if there is a header.
void repair_checksum(std::span<std::byte> file) {
  std::uint64_t json_bytes = 0;
  if (file.size() < sizeof(json_bytes)) {
    return;
  }
  std::memcpy(&json_bytes, file.data(), sizeof(json_bytes));
  const std::uint64_t rest = file.size() - sizeof(json_bytes);
  if (json_bytes > rest || rest - json_bytes < sizeof(runtime::Header)) {
    return;
  }
  const auto data = file.subspan(sizeof(json_bytes) + static_cast<std::size_t>(json_bytes));
  const std::uint64_t checksum = runtime::checksum(data);
  static_assert(offsetof(runtime::Header, checksum_high) ==
                offsetof(runtime::Header, checksum_low) + 4);
  std::memcpy(data.data() + offsetof(runtime::Header, checksum_low), &checksum, sizeof(checksum));
}

std::uint64_t work(const runtime::Op& op) {
  const std::uint64_t outputs = std::uint64_t{op.rows} * op.out_features;
  const bool is_attention = static_cast<runtime::OpKind>(op.kind) == runtime::OpKind::attention;
  return outputs * (is_attention ? 2 * runtime::group_tokens(op) : op.in_features);
}

/// Slow networks are valid, but the fuzzer finds nothing new with them.
bool is_quick(const runtime::Network& network) {
  if (runtime::arena_size(network) > kLargestArena || network.header.op_count > kMostOps ||
      runtime::packed_size(network) > kLargestArena || network.input_bytes() > kLargestArena ||
      network.header.num_classes > kLargestArena) {
    return false;
  }
  std::uint64_t total = 0;
  for (std::uint32_t i = 0; i < network.header.op_count; ++i) {
    total += std::min(work(runtime::operation(network, i)), kMostWork);
  }
  return total < kMostWork;
}

std::vector<std::int32_t> run_on_zeros(const runtime::Network& network,
                                       const runtime::Kernels& kernels,
                                       std::byte* packed = nullptr) {
  // The arena begins at an odd address, so that run() must align it.
  std::vector<std::byte> arena(runtime::arena_size(network) + 1);
  const std::vector<std::uint8_t> pixels(network.input_bytes());
  std::vector<std::int32_t> logits(network.header.num_classes);
  runtime::RunOptions options;
  options.kernels = &kernels;
  options.packed = packed;
  const runtime::Status status =
      runtime::run(network, pixels, std::span(arena).subspan(1), logits, options);
  if (status != runtime::Status::ok) {
    __builtin_trap();  // an opened network must run
  }
  return logits;
}

void run_with_all_kernels(const runtime::Network& network) {
  const auto expected = run_on_zeros(network, runtime::portable_kernels());
  for (const runtime::Kernels* kernels : runtime::available_kernels()) {
    std::vector<std::byte> packed(runtime::packed_size(network));
    runtime::pack_weights(network, *kernels, packed);
    if (run_on_zeros(network, *kernels) != expected ||
        run_on_zeros(network, *kernels, packed.data()) != expected) {
      __builtin_trap();  // all kernels must give the same bits
    }
  }
}

/// Reads from the JSON part what C programs read; no checksum covers it.
void read_metadata(std::span<const std::byte> file) {
  bitlog2_network network;
  if (bitlog2_open(&network, file.data(), file.size()) != BITLOG2_OK) {
    __builtin_trap();  // both interfaces must open the same files
  }
  for (const std::size_t index : {0U, 1U, 2U, 1000U}) {
    char name[16];
    const std::size_t length = bitlog2_class_name(&network, index, name, sizeof(name));
    const std::size_t kept = length == BITLOG2_NO_NAME ? 0 : std::min<std::size_t>(length, 15);
    if (name[kept] != '\0') {
      __builtin_trap();  // every name must end with a zero byte
    }
  }
  bitlog2_preprocessing preprocessing = {};
  if (bitlog2_get_preprocessing(&network, &preprocessing) != BITLOG2_OK) {
    return;
  }
  if (preprocessing.resize < preprocessing.crop || preprocessing.filter > BITLOG2_LANCZOS ||
      preprocessing.resize_mode > BITLOG2_SQUASH ||
      preprocessing.crop_rounding > BITLOG2_TRANSFORMERS_CROP) {
    __builtin_trap();  // all values must be in range, and the crop must fit the resized image
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto memory = std::make_unique<std::byte[]>(size);  // exactly the file's size
  const std::span<std::byte> file(memory.get(), size);
  std::copy_n(reinterpret_cast<const std::byte*>(data), size, file.data());
  repair_checksum(file);
  runtime::Network network;
  const runtime::Status status = runtime::open(file, network);
  if (runtime::status_text(status)[0] == '\0') {
    __builtin_trap();
  }
  if (status == runtime::Status::ok) {
    read_metadata(file);
  }
  if (status == runtime::Status::ok && is_quick(network)) {
    run_with_all_kernels(network);
  }
  return 0;
}
