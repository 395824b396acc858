// Opening a network: everything that run() relies on is checked here, once; the operations in
// program_check.cpp.
#include "program_check.h"

namespace bitlog2::runtime {
namespace {

constexpr std::uint32_t kMaxImageSize = 1 << 14;
constexpr std::uint32_t kMaxFractionBits = 7;  // of 8: a uniform attention map

Status check_header(const Header& header, std::size_t available) {
  if (header.magic != kMagic) {
    return Status::not_a_network;
  }
  if (header.version != kVersion) {
    return Status::wrong_version;
  }
  if (header.data_bytes != available) {
    return Status::truncated;
  }
  if (header.op_count > (available - sizeof(Header)) / sizeof(Op)) {
    return Status::bad_program;
  }
  const bool sane = header.image_size >= 1 && header.image_size <= kMaxImageSize &&
                    header.num_classes >= 1 && header.num_classes <= kMaxFeatures;
  if (!sane) {
    return Status::too_large;
  }
  if (header.reserved[0] != 0 || header.reserved[1] != 0) {
    return Status::bad_program;
  }
  const bool known_rule =
      header.attention_kind <= 2 && header.attention_multiplier >= 2 &&
      header.attention_multiplier <= 65536 && header.attention_qmax < header.attention_multiplier &&
      header.attention_fraction_bits <= kMaxFractionBits && header.attention_nearest <= 1;
  return known_rule ? Status::ok : Status::bad_number;
}

}  // namespace

std::uint64_t checksum(std::span<const std::byte> data) {
  constexpr std::size_t kOwnWords = offsetof(Header, checksum_low);
  std::uint64_t hash = 0xCBF29CE484222325U;
  const auto mix = [&](std::uint32_t word) { hash = (hash ^ word) * 0x100000001B3U; };
  std::size_t i = 0;
  for (; i + 4 <= data.size(); i += 4) {
    const bool is_own = i == kOwnWords || i == kOwnWords + 4;
    mix(is_own ? 0 : read_at<std::uint32_t>(data.data() + i));
  }
  std::uint32_t last = 0;
  for (unsigned shift = 0; i < data.size(); ++i, shift += 8) {
    last |= static_cast<std::uint32_t>(data[i]) << shift;
  }
  mix(last);
  return hash;
}

Op operation(const Network& network, std::size_t index) {
  return read_at<Op>(network.data + sizeof(Header) + index * sizeof(Op));
}

bool reads_alone(const Network& network, std::size_t index) {
  const std::uint32_t buffer = operation(network, index).source;
  for (std::size_t i = index; i-- > 0;) {
    const Op op = operation(network, i);
    if (op.source == buffer) {
      return false;
    }
    if (op.destination == buffer) {
      break;
    }
  }
  for (std::size_t i = index + 1; i < network.header.op_count; ++i) {
    const Op op = operation(network, i);
    if (op.source == buffer || op.destination == buffer) {
      return op.source != buffer;
    }
  }
  return true;
}

Status open(std::span<const std::byte> file, Network& network) {
  if (reinterpret_cast<std::uintptr_t>(file.data()) % 4 != 0) {
    return Status::misaligned;
  }
  if (file.size() < 8) {
    return Status::truncated;
  }
  const auto json_bytes = read_at<std::uint64_t>(file.data());
  if (json_bytes > file.size() - 8 || file.size() - 8 - json_bytes < sizeof(Header)) {
    return Status::truncated;
  }
  if (json_bytes % 4 != 0) {
    return Status::misaligned;
  }
  const std::span<const std::byte> data = file.subspan(8 + static_cast<std::size_t>(json_bytes));
  Network result;
  result.data = data.data();
  result.header = read_at<Header>(data.data());
  Status status = check_header(result.header, data.size());
  if (status != Status::ok) {
    return status;
  }
  const std::uint64_t expected =
      std::uint64_t{result.header.checksum_high} << 32 | result.header.checksum_low;
  if (checksum(data) != expected) {
    return Status::damaged;
  }
  status = check_program(result);
  if (status == Status::ok) {
    network = result;
  }
  return status;
}

const char* status_text(Status status) {
  switch (status) {
    case Status::ok:
      return "ok";
    case Status::truncated:
      return "the file is truncated, or longer than its header says";
    case Status::misaligned:
      return "the file does not lie at a multiple of 4 bytes";
    case Status::not_a_network:
      return "not a quantized network";
    case Status::wrong_version:
      return "a quantized network of another format version";
    case Status::damaged:
      return "the file is damaged: its checksum differs";
    case Status::bad_program:
      return "the network's operations contradict each other or the file's size";
    case Status::bad_number:
      return "a multiplier, shift, table or zero point is out of range";
    case Status::too_large:
      return "the network claims sizes that are too large";
    case Status::small_arena:
      return "the arena is too small";
    case Status::wrong_size:
      return "the image or the logits have the wrong size";
    case Status::stopped:
      return "the run was stopped";
  }
  return "unknown status";
}

}  // namespace bitlog2::runtime
