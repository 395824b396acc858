// The C interface: a thin skin over network.h.
#include "bitlog2_runtime.h"

#include <new>

#include "network.h"

using bitlog2::runtime::Network;
using bitlog2::runtime::Status;

namespace {

static_assert(sizeof(Network) <= sizeof(bitlog2_network));
static_assert(alignof(Network) <= alignof(bitlog2_network));
static_assert(static_cast<int>(Status::wrong_size) == BITLOG2_WRONG_SIZE);

const Network& unwrap(const bitlog2_network* network) {
  return *std::launder(reinterpret_cast<const Network*>(network));
}

}  // namespace

bitlog2_status bitlog2_open(bitlog2_network* network, const void* file, size_t file_size) {
  auto& opened = *new (network) Network();
  return static_cast<bitlog2_status>(
      bitlog2::runtime::open({static_cast<const std::byte*>(file), file_size}, opened));
}

size_t bitlog2_arena_size(const bitlog2_network* network) {
  return bitlog2::runtime::arena_size(unwrap(network));
}

size_t bitlog2_image_size(const bitlog2_network* network) {
  return unwrap(network).header.image_size;
}

size_t bitlog2_num_classes(const bitlog2_network* network) {
  return unwrap(network).header.num_classes;
}

bitlog2_status bitlog2_run(const bitlog2_network* network, const uint8_t* rgb, void* arena,
                           size_t arena_size, int32_t* logits) {
  uint64_t saturations = 0;
  return bitlog2_run_counting(network, rgb, arena, arena_size, logits, &saturations);
}

bitlog2_status bitlog2_run_counting(const bitlog2_network* network, const uint8_t* rgb, void* arena,
                                    size_t arena_size, int32_t* logits, uint64_t* saturations) {
  const Network& opened = unwrap(network);
  bitlog2::runtime::RunStatistics statistics;
  const Status status = bitlog2::runtime::run(
      opened, {rgb, opened.input_bytes()}, {static_cast<std::byte*>(arena), arena_size},
      {logits, opened.header.num_classes}, {.statistics = &statistics, .group = {}});
  *saturations += statistics.saturations;
  return static_cast<bitlog2_status>(status);
}

const char* bitlog2_status_text(bitlog2_status status) {
  return bitlog2::runtime::status_text(static_cast<Status>(status));
}
