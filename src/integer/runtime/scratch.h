// How an operation divides its scratch memory, of which every thread of a group has one. open()
// measures the memory with the same code with which run() takes it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>

#include "kernels/code_lookup.h"
#include "kernels/kernels.h"
#include "program.h"

namespace bitlog2::runtime {

/// Parts of the arena start at multiples of this.
inline constexpr std::size_t kAlignment = 64;

/// The rows that a linear layer multiplies by one panel of weights before the next panel: kRowGroup
/// if they are read in their buffer, kCopiedRows if they are copied first.
inline constexpr std::size_t kRowGroup = 9 * kRowChunk;
inline constexpr std::size_t kCopiedRows = kRowChunk;

constexpr std::uint64_t align(std::uint64_t bytes) {
  return (bytes + kAlignment - 1) / kAlignment * kAlignment;
}

/// Bytes of memory as a size_t; the largest size_t, which no memory has, if they are more.
constexpr std::size_t in_addresses(std::uint64_t bytes) {
  constexpr std::uint64_t kMost = std::numeric_limits<std::size_t>::max();
  return static_cast<std::size_t>(bytes < kMost ? bytes : kMost);
}

/// The first address from `memory` on where parts may start.
inline std::byte* aligned(std::byte* memory) {
  const auto address = reinterpret_cast<std::uintptr_t>(memory);
  return memory + static_cast<std::size_t>(align(address) - address);
}

/// Takes arrays one behind the other from memory. Without memory it only measures, in 64 bits on
/// any machine, since a file may ask for more than an address can count.
class Carver {
 public:
  explicit Carver(std::byte* memory) : memory_(memory) {}

  template <class T>
  T* take(std::uint64_t count) {
    auto* result = memory_ == nullptr
                       ? nullptr
                       : reinterpret_cast<T*>(memory_ + static_cast<std::size_t>(used_));
    used_ += align(count * sizeof(T));
    return result;
  }

  std::uint64_t used() const { return used_; }

 private:
  std::byte* memory_;
  std::uint64_t used_ = 0;
};

/// The arrays of Rescale for `width` channels.
struct RescaleArrays {
  RescaleArrays(Carver& carver, std::uint64_t width)
      : zeros(carver.take<std::int32_t>(width)),
        constants(carver.take<std::int32_t>(width)),
        multipliers(carver.take<std::int32_t>(width)),
        offsets(carver.take<std::int64_t>(width)) {}

  std::int32_t* zeros;
  std::int32_t* constants;
  std::int32_t* multipliers;
  std::int64_t* offsets;
};

/// The weights of up to kPanelWidth outputs of an embed or linear as a panel of bytes, and the
/// factors by which their sums become outputs.
struct WeightPanel {
  struct Summary {
    std::int32_t largest;  // no weight's magnitude is above it
    bool has_zeros;        // whether any of rescale.zeros is not 0
    bool outputs_fit;      // Rescale::fits
  };

  WeightPanel(Carver& carver, const Op& op)
      : summary(carver.take<Summary>(1)),
        values(carver.take<std::int8_t>(std::uint64_t{kPanelWidth} *
                                        round_up(op.in_features, kDepthStep))),
        rescale(carver, kPanelWidth) {}

  /// The panel for a kernel; `first` is its first output.
  Panel panel(const Op& op, std::size_t first) const {
    const auto left = static_cast<std::size_t>(weight_rows(op)) - first;
    return {values, op.in_features, left < kPanelWidth ? round_up(left, kLane) : kPanelWidth,
            summary->largest};
  }

  Summary* summary;
  std::int8_t* values;
  RescaleArrays rescale;
};

constexpr bool has_weights(const Op& op) {
  return static_cast<OpKind>(op.kind) == OpKind::embed || is_linear(op);
}

/// Whether outputs index a table of codes with more than 256 entries.
constexpr bool has_wide_table(const Op& op) {
  return (static_cast<OpKind>(op.kind) == OpKind::linear || is_gated(op)) && op.table != 0 &&
         op.table_size > CodeLookup::kMost;
}

/// The head of an operation's packed weights; its panels follow, one behind the other.
struct PackedOp {
  PackedOp(Carver& carver, const Op& op)
      : has_runs(carver.take<bool>(has_wide_table(op) ? 1 : 0)),
        runs(carver.take<CodeRuns>(has_wide_table(op) ? 1 : 0)) {}

  bool* has_runs;
  CodeRuns* runs;  // of the table behind the layer, if it has runs
};

inline std::uint64_t packed_bytes(const Op& op) {
  if (!has_weights(op)) {
    return 0;
  }
  Carver head(nullptr);
  Carver panel(nullptr);
  static_cast<void>(PackedOp(head, op));
  static_cast<void>(WeightPanel(panel, op));
  return head.used() + (weight_rows(op) + kPanelWidth - 1) / kPanelWidth * panel.used();
}

// A panel is a group of gated_linear.
static_assert(kPanelWidth == 2 * kGroupPairs);

/// The arrays of gated_linear and rotary_linear for outputs of a panel.
struct PairScratch {
  PairScratch(Carver& carver, const Op& op)
      : branches(carver.take<std::int32_t>(is_gated(op) ? kGroupPairs : 0)),
        rescale(carver, is_gated(op)    ? kGroupPairs
                        : is_rotary(op) ? kPanelWidth
                                        : 0) {}

  std::int32_t* branches;
  RescaleArrays rescale;  // gated: the multipliers are the gates times their factors
};

/// Scratch memory of embed and of linear operations. Their inputs are made of pixels or codes.
/// Codes may be overwritten if no other operation reads them.
struct ProductScratch {
  ProductScratch(std::byte* memory, const Op& op, bool reads_alone)
      : carver(memory),
        copies(static_cast<OpKind>(op.kind) == OpKind::embed || !reads_alone),
        row_group(smaller(op.rows, copies ? kCopiedRows : kRowGroup)),
        inputs(carver.take<std::uint8_t>(
            copies ? std::uint64_t{row_group} * op.in_features + kInputSlack : 0)),
        row_sums(carver.take<std::int32_t>(row_group)),
        weights(carver, op),
        offsets(carver.take<std::int32_t>(kPanelWidth)),
        panel_sums(carver.take<std::int32_t>(kPanelWidth)),
        sums(carver.take<std::int32_t>(kRowChunk * kPanelWidth)),
        pairs(carver, op) {}

  static constexpr std::size_t smaller(std::size_t a, std::size_t b) { return a < b ? a : b; }

  Carver carver;
  bool copies;
  std::size_t row_group;
  std::uint8_t* inputs;  // where it copies
  std::int32_t* row_sums;
  WeightPanel weights;  // where none are packed beforehand
  std::int32_t* offsets;
  std::int32_t* panel_sums;
  std::int32_t* sums;
  PairScratch pairs;
};

/// Rows that layer_norm takes at a time.
inline constexpr std::size_t kNormRows = 4;

struct NormScratch {
  NormScratch(std::byte* memory, const Op& op)
      : carver(memory),
        width(round_up(op.in_features, kLane)),
        gathered(carver.take<std::int32_t>(merge_grid(op) == 0 ? 0 : kNormRows * op.in_features)),
        normalised(carver.take<std::int32_t>(kNormRows * width)),
        rescale(carver, width) {}

  Carver carver;
  std::size_t width;
  std::int32_t* gathered;  // tokens that Swin merges to one row
  std::int32_t* normalised;
  RescaleArrays rescale;
};

/// Scratch memory of attention, for one head of one group.
struct AttentionScratch {
  AttentionScratch(std::byte* memory, const Op& op)
      : carver(memory),
        tokens(group_tokens(op)),
        head_dim(op.heads == 0 ? 0 : op.out_features / op.heads),
        score_width(round_up(tokens, kLane)),
        context_width(round_up(head_dim, kLane)),
        gathered(carver.take<std::uint8_t>(
            op.window == 0 ? 0 : 3 * std::uint64_t{tokens} * head_dim + kInputSlack)),
        tokens_at(carver.take<std::uint32_t>(op.window == 0 ? 0 : tokens)),
        regions(carver.take<std::int32_t>(op.window == 0 ? 0 : tokens)),
        bias(carver.take<std::int32_t>(
            op.score_bias == 0 || op.window == 0 ? 0 : std::uint64_t{tokens} * tokens)),
        keys(carver.take<std::int8_t>(std::uint64_t{score_width} * round_up(head_dim, kDepthStep))),
        key_offsets(carver.take<std::int32_t>(kPanelWidth)),
        key_sums(carver.take<std::int32_t>(score_width)),
        values(
            carver.take<std::int8_t>(std::uint64_t{context_width} * round_up(tokens, kDepthStep))),
        query_sums(carver.take<std::int32_t>(kRowChunk)),
        scores(carver.take<std::int32_t>(kRowChunk * score_width)),
        weights(carver.take<std::byte>(weights_bytes(tokens))),
        context(carver.take<std::int32_t>(kRowChunk * kPanelWidth)),
        score_rescale(carver, score_width),
        context_rescale(carver, kPanelWidth) {}

  Carver carver;
  std::size_t tokens;
  std::size_t head_dim;
  std::size_t score_width;
  std::size_t context_width;
  std::uint8_t* gathered;    // q, k and v of a window's tokens [3, tokens, head_dim]
  std::uint32_t* tokens_at;  // where they are in the sequence
  std::int32_t* regions;     // tokens of one region attend to each other
  std::int32_t* bias;        // of a head, for every pair of a window's tokens
  std::int8_t* keys;         // panels of kPanelWidth tokens, the last one narrower
  std::int32_t* key_offsets;
  std::int32_t* key_sums;
  std::int8_t* values;  // panels of kPanelWidth channels, the last one narrower
  std::int32_t* query_sums;
  std::int32_t* scores;
  std::byte* weights;
  std::int32_t* context;
  RescaleArrays score_rescale;
  RescaleArrays context_rescale;
};

/// `reads_alone`: network.h.
inline std::uint64_t scratch_bytes(const Op& op, bool reads_alone) {
  switch (static_cast<OpKind>(op.kind)) {
    case OpKind::embed:
    case OpKind::linear:
    case OpKind::gated_linear:
    case OpKind::rotary_linear:
      return ProductScratch(nullptr, op, reads_alone).carver.used();
    case OpKind::layer_norm:
      return NormScratch(nullptr, op).carver.used();
    case OpKind::attention:
      return AttentionScratch(nullptr, op).carver.used();
    case OpKind::mean:
      return 0;
  }
  return 0;
}

}  // namespace bitlog2::runtime
