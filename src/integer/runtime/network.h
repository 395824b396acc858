// The integer runtime: opens a quantized network in place and runs it. Freestanding: no
// heap, no exceptions, no floating point, no dependency; the caller gives all memory.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>

#include "program.h"

namespace bitlog2::runtime {

// Tensors are used where they lie in the file, which is little-endian.
static_assert(std::endian::native == std::endian::little);

enum class Status : int {
  ok = 0,
  truncated,      // the file ends before its header says
  misaligned,     // the file's address is not a multiple of 4
  not_a_network,  // no program where one should be
  wrong_version,
  damaged,      // the checksum differs
  bad_program,  // an operation contradicts the ones before it, or the file's size
  bad_number,   // a multiplier, shift, table or bias is out of range
  too_large,    // sizes above the runtime's limits
  small_arena,
  wrong_size,    // of the image or of the logits
  stopped = 13,  // by Progress; bitlog2_runtime.h has statuses of its own before it
};

/// What a status means, in words for people.
const char* status_text(Status status);

/// An opened network: points into the file, which must outlive it.
struct Network {
  const std::byte* data = nullptr;  // the tensors' bytes
  Header header = {};
  std::size_t residual_values = 0;  // what the arena's parts must hold
  std::size_t codes_a_bytes = 0;
  std::size_t codes_b_bytes = 0;
  std::size_t scratch_bytes = 0;

  std::size_t input_bytes() const { return std::size_t{3} * header.image_size * header.image_size; }
};

/// Checks the whole file and fills `network`. After Status::ok, run() stays inside the file
/// and the arena and overflows nothing, whatever the bytes are.
Status open(std::span<const std::byte> file, Network& network);

/// Threads that run a network together, each on its share of the rows. `wait` is a barrier: it
/// returns when all threads have called it as often. A group of one needs none.
struct ThreadGroup {
  std::size_t size = 1;
  void (*wait)(void* context) = nullptr;
  void* context = nullptr;
};

/// Bytes that run() needs for a group of that many threads, alignment included.
std::size_t arena_size(const Network& network, std::size_t threads = 1);

/// Statistics of a run.
struct RunStatistics {
  std::uint64_t saturations = 0;  // of the residual stream
};

/// Called after every operation with what it wrote: codes (bytes) or int32 values.
struct Observer {
  void (*after)(void* context, std::size_t op_index, const Op& op,
                std::span<const std::uint8_t> codes, std::span<const std::int32_t> values);
  void* context;
};

/// Called after every operation with the number of operations that have run. A result other than 0
/// stops the run.
struct Progress {
  int (*after_operation)(void* context, std::size_t done, std::size_t total);
  void* context;
};

/// The attention operation whose first token's row a run writes out: for every head, how much that
/// token attends to each of `tokens` tokens, in units of 2^-16.
struct AttentionView {
  std::size_t op_index = 0;  // an attention without windows
  // [heads, tokens] what softmax gives, and what its codes stand for (Sqrt2's without delta).
  std::int32_t* exact = nullptr;
  std::int32_t* quantized = nullptr;
};

struct Kernels;

/// Bytes that pack_weights() fills. They grow with the number of operations, which may share
/// weights in a hostile file.
std::size_t packed_size(const Network& network);

/// Packs all weights as bytes, in the order in which kernels read them. Without it, run() packs
/// them again for every image. `memory` has at least packed_size() bytes.
void pack_weights(const Network& network, const Kernels& kernels, std::span<std::byte> memory);

struct RunOptions {
  const Kernels* kernels = nullptr;  // none: the portable ones
  std::byte* packed = nullptr;       // what pack_weights() has filled, for any kernels; or none
  RunStatistics* statistics = nullptr;
  const Observer* observer = nullptr;   // of a group of one
  const Progress* progress = nullptr;   // of a group of one
  const AttentionView* view = nullptr;  // of a group of one
  ThreadGroup group;
  std::size_t rank = 0;  // of this thread in the group, from 0
};

/// Runs one image. `pixels` is the crop, [S, S, 3] RGB; `arena` at least arena_size() bytes,
/// any content; `logits` gets num_classes values with kLogitFraction fraction bits. Every thread
/// of a group calls this with the same arguments except its rank and its statistics; the logits
/// are there when all have returned.
Status run(const Network& network, std::span<const std::uint8_t> pixels, std::span<std::byte> arena,
           std::span<std::int32_t> logits, const RunOptions& options = {});

/// The operation at `index`, which is less than header.op_count.
Op operation(const Network& network, std::size_t index);

/// Whether the operation at `index` is the only one that reads the content of its source buffer. It
/// may then overwrite it.
bool reads_alone(const Network& network, std::size_t index);

/// The checksum of all tensors' bytes, the program's header included: FNV-1a over 32-bit words,
/// the last padded with zeros; the header's own two checksum words count as 0.
std::uint64_t checksum(std::span<const std::byte> data);

}  // namespace bitlog2::runtime
