// Checks every operation of a program on opening. The program is walked as run() does, with
// the buffers' shapes instead of their contents.
#include "program_check.h"

#include <limits>

#include "fixed_point.h"
#include "scratch.h"

namespace bitlog2::runtime {
namespace {

constexpr std::uint64_t kMaxTokens = 1 << 16;
constexpr std::uint64_t kMaxGrid = 256;  // tokens per side
constexpr std::uint64_t kMaxArena = std::uint64_t{1} << 30;
constexpr std::uint64_t kMaxNormFeatures = 1 << 16;  // squares of 22 bits add up to 60
constexpr std::uint64_t kMaxEpsilon = std::uint64_t{1} << 60;
constexpr std::int32_t kMaxZeroPoint = 1 << 12;
constexpr std::uint32_t kMaxBiasShift = 30;  // a bias is then below 2^61
constexpr std::int64_t kMaxDecodeSpan = 255;
constexpr std::uint32_t kMaxTable = 1 << 16;
constexpr std::int64_t kMaxSum = std::numeric_limits<std::int32_t>::max();

/// A two-dimensional buffer's shape; `qmax` is the largest code it can hold.
struct Shape {
  std::uint64_t rows = 0;
  std::uint64_t features = 0;
  std::uint32_t qmax = 0;

  std::uint64_t size() const { return rows * features; }
};

/// Walks a program, keeping the shape of every buffer.
class Checker {
 public:
  Checker(const std::byte* data, const Header& header) : data_(data), header_(header) {}

  Status check(Network& network) {
    for (std::uint32_t i = 0; i < header_.op_count; ++i) {
      const Status status = check_op(operation(network, i), reads_alone(network, i));
      if (status != Status::ok) {
        return status;
      }
    }
    if (!logits_written_) {
      return Status::bad_program;
    }
    const std::uint64_t total =
        4 * residual_capacity_ + codes_capacity_[0] + codes_capacity_[1] + scratch_capacity_;
    if (total > kMaxArena) {
      return Status::too_large;
    }
    network.residual_values = static_cast<std::size_t>(residual_capacity_);
    network.codes_a_bytes = static_cast<std::size_t>(codes_capacity_[0]);
    network.codes_b_bytes = static_cast<std::size_t>(codes_capacity_[1]);
    network.scratch_bytes = static_cast<std::size_t>(scratch_capacity_);
    return Status::ok;
  }

 private:
  Status check_op(const Op& op, bool reads_alone) {
    const bool sane = op.rows >= 1 && op.rows <= kMaxTokens && op.in_features >= 1 &&
                      op.in_features <= kMaxFeatures && op.out_features >= 1 &&
                      op.out_features <= kMaxFeatures && op.output_qmax <= 255 &&
                      op.input_qmax <= 255;
    if (!sane) {
      return Status::too_large;
    }
    if (op.shift < 1 || op.shift > 62 || op.bias_shift > kMaxBiasShift) {
      return Status::bad_number;
    }
    const Status table = check_table(op);
    if (table != Status::ok) {
      return table;
    }
    scratch_capacity_ = larger(scratch_capacity_, scratch_bytes(op, reads_alone));
    switch (static_cast<OpKind>(op.kind)) {
      case OpKind::embed:
        return check_embed(op);
      case OpKind::layer_norm:
        return check_layer_norm(op);
      case OpKind::linear:
        return check_linear(op);
      case OpKind::gated_linear:
        return check_gated_linear(op);
      case OpKind::rotary_linear:
        return check_rotary_linear(op);
      case OpKind::attention:
        return check_attention(op);
      case OpKind::mean:
        return check_mean(op);
    }
    return Status::bad_program;
  }

  /// Checks the table from outputs to codes, if there is one.
  Status check_table(const Op& op) {
    const auto kind = static_cast<OpKind>(op.kind);
    if (!has_code_table(op)) {
      return Status::ok;
    }
    const std::size_t largest =
        kind == OpKind::linear || is_gated(op) ? kMaxTable : CodeLookup::kMost;
    if (codes(op.destination) == nullptr || op.table_size == 0 || op.table_size > largest ||
        !in_file(op.table, op.table_size, 1)) {
      return Status::bad_program;
    }
    for (std::uint32_t i = 0; i < op.table_size; ++i) {
      if (static_cast<std::uint32_t>(data_[op.table + i]) > op.output_qmax) {
        return Status::bad_number;
      }
    }
    return Status::ok;
  }

  Status check_embed(const Op& op) {
    const std::uint64_t patch = header_.patch_size;
    if (patch == 0 || header_.image_size % patch != 0) {
      return Status::bad_program;
    }
    const std::uint64_t grid = header_.image_size / patch;
    const bool consistent =
        op.in_features == 3 * patch * patch && op.rows == grid * grid + op.prefix_tokens &&
        buffer(op.destination) == Buffer::residual && (op.prefix_tokens == 0 || op.positions != 0);
    if (!consistent || op.table_size != 768 || !in_file(op.table, 768, 1)) {
      return Status::bad_program;
    }
    if (op.positions != 0 &&
        (op.position_shift > 30 ||
         !in_file(op.positions, 2 * std::uint64_t{op.rows} * op.out_features, 2))) {
      return Status::bad_program;
    }
    const Status status = check_weights(op, 255);
    return status == Status::ok ? write(op, op.out_features) : status;
  }

  Status check_layer_norm(const Op& op) {
    const std::uint64_t grid = merge_grid(op);
    const std::uint64_t merged = grid == 0 ? 1 : 4;
    if (op.in_features != op.out_features || op.in_features % merged != 0 ||
        residual_.features * merged != op.in_features || residual_.rows < op.rows) {
      return Status::bad_program;
    }
    if (grid != 0 && (grid % 2 != 0 || grid > kMaxGrid || grid * grid != residual_.rows ||
                      std::uint64_t{op.rows} * 4 != residual_.rows)) {
      return Status::bad_program;
    }
    const bool in_place = buffer(op.destination) == Buffer::residual;
    if ((!in_place && codes(op.destination) == nullptr) ||
        (in_place && (grid != 0 || op.rows != residual_.rows))) {
      return Status::bad_program;
    }
    const std::uint64_t epsilon = std::uint64_t{op.epsilon_high} << 32 | op.epsilon_low;
    if (epsilon > kMaxEpsilon || op.in_features > kMaxNormFeatures) {
      return Status::bad_number;
    }
    const std::uint64_t bytes = 4 * std::uint64_t{op.out_features};
    if (!in_file(op.multipliers, bytes, 4) || !in_file(op.bias, bytes, 4)) {
      return Status::bad_program;
    }
    return write(op, op.out_features);
  }

  Status check_linear(const Op& op) {
    const Shape* source = codes(op.source);
    // Rows may be joined: all that matters is where they end.
    if (source == nullptr || source->size() != std::uint64_t{op.rows} * op.in_features ||
        buffer(op.source) == buffer(op.destination)) {
      return Status::bad_program;
    }
    const Status status = check_weights(op, source->qmax);
    if (status != Status::ok) {
      return status;
    }
    if (buffer(op.destination) == Buffer::logits) {
      if (op.rows != 1 || op.out_features != header_.num_classes) {
        return Status::bad_program;
      }
      logits_written_ = true;
      return Status::ok;
    }
    return write(op, op.out_features);
  }

  Status check_gated_linear(const Op& op) {
    constexpr std::int32_t kOne = 1 << kGateFactorFraction;
    if (codes(op.destination) == nullptr || !in_file(gate_table(op), 4 * kGateEntries, 4)) {
      return Status::bad_program;
    }
    bool fits = magnitude(product_zero(op)) <= kMaxZeroPoint;
    for (std::size_t i = 0; i < kGateEntries; ++i) {
      const auto factor = read_at<std::int32_t>(data_ + gate_table(op) + 4 * i);
      fits = fits && factor >= 0 && factor <= kOne;
    }
    return fits ? check_linear(op) : Status::bad_number;
  }

  Status check_rotary_linear(const Op& op) {
    constexpr std::int32_t kOne = 1 << kTurnFraction;
    const std::uint64_t channels = op.out_features / 3;
    const std::uint64_t grid = turned_grid(op);
    if (codes(op.destination) == nullptr || op.out_features % 3 != 0 || op.heads == 0 ||
        channels % (4 * std::uint64_t{op.heads}) != 0 || grid == 0 || grid > kMaxGrid ||
        grid * grid > op.rows) {
      return Status::bad_program;
    }
    const std::uint64_t turn_count = grid * (channels / op.heads / 2);
    const std::uint64_t zero_count = 3 * std::uint64_t{op.heads};
    if (!in_file(turns(op), 4 * turn_count, 4) || !in_file(op.head_table, 4 * zero_count, 4)) {
      return Status::bad_program;
    }
    bool fits = true;
    for (std::uint64_t i = 0; i < turn_count; ++i) {
      fits = fits && magnitude(read_at<std::int32_t>(data_ + turns(op) + 4 * i)) <= kOne;
    }
    for (std::uint64_t i = 0; i < zero_count; ++i) {
      fits =
          fits && magnitude(read_at<std::int32_t>(data_ + op.head_table + 4 * i)) <= kMaxZeroPoint;
    }
    return fits ? check_linear(op) : Status::bad_number;
  }

  Status check_attention(const Op& op) {
    const Shape* source = codes(op.source);
    const std::uint64_t channels = op.out_features;
    if (source == nullptr || codes(op.destination) == nullptr ||
        buffer(op.source) == buffer(op.destination) || source->features != 3 * channels ||
        op.in_features != 3 * channels || op.heads == 0 || channels % op.heads != 0) {
      return Status::bad_program;
    }
    if (op.window == 0 &&
        (op.window_shift != 0 || attended_tokens(op) != source->rows || op.rows > source->rows)) {
      return Status::bad_program;
    }
    const std::uint64_t grid = window_grid(op);
    if (op.window != 0 &&
        (op.window > 64 || grid > kMaxGrid || grid * grid != op.rows || source->rows != op.rows ||
         grid % op.window != 0 || op.window_shift >= op.window)) {
      return Status::bad_program;
    }
    if (op.score_shift < 1 || op.score_shift > 62 || op.mask > (1U << 26) ||
        op.input_qmax < source->qmax) {
      return Status::bad_number;
    }
    if (!in_file(op.head_table, sizeof(HeadRecord) * std::uint64_t{op.heads}, 4) ||
        (op.score_bias != 0 && !has_room_for_biases(op))) {
      return Status::bad_program;
    }
    return check_heads(op, channels / op.heads, source->qmax) && relative_sums_fit(op)
               ? write(op, op.out_features)
               : Status::bad_number;
  }

  /// Relative BitLog2's weights may all be as large as the largest. The kernels' codes of v are
  /// less an offset, which depends on the operation's own qmax.
  bool relative_sums_fit(const Op& op) const {
    if (static_cast<AttentionKind>(header_.attention_kind) != AttentionKind::relative_bitlog2) {
      return true;
    }
    const auto tokens = static_cast<std::int64_t>(group_tokens(op));
    for (std::uint32_t h = 0; h < op.heads; ++h) {
      const auto head = read_at<HeadRecord>(data_ + op.head_table + h * sizeof(HeadRecord));
      const std::int64_t v = larger_of(farthest(head.value_zero, op.input_qmax), 1);
      if (tokens * v * header_.attention_multiplier > kMaxRelativeSum) {
        return false;
      }
    }
    return true;
  }

  bool has_room_for_biases(const Op& op) const {
    const std::uint64_t grid = op.window != 0 ? 0 : biased_grid(op);
    const bool is_square = op.window != 0 || grid * grid + 1 == attended_tokens(op);
    return is_square && in_file(op.score_bias, std::uint64_t{4} * op.heads * score_biases(op), 4);
  }

  bool check_heads(const Op& op, std::uint64_t head_dim, std::uint32_t qmax) const {
    for (std::uint32_t h = 0; h < op.heads; ++h) {
      const auto head = read_at<HeadRecord>(data_ + op.head_table + h * sizeof(HeadRecord));
      const std::int64_t q = farthest(head.query_zero, qmax);
      const std::int64_t k = farthest(head.key_zero, qmax);
      const bool zeros_fit = magnitude(head.query_zero) <= kMaxZeroPoint &&
                             magnitude(head.key_zero) <= kMaxZeroPoint &&
                             magnitude(head.value_zero) <= 512 && qmax <= 255;
      if (!zeros_fit || head.score_multiplier < 0 || head.context_multiplier < 0 ||
          static_cast<std::int64_t>(head_dim) * q * k > kMaxSum ||
          magnitude(head.log2_delta) > (64 << kScoreFraction) || head.reserved != 0) {
        return false;
      }
      // Sqrt2's weights are at most 1 each, and the context has fraction bits.
      const std::int64_t v = farthest(head.value_zero, qmax);
      const auto tokens = static_cast<std::int64_t>(group_tokens(op));
      if (static_cast<AttentionKind>(header_.attention_kind) == AttentionKind::sqrt2 &&
          tokens * v << kSqrt2ContextFraction > kMaxSum) {
        return false;
      }
      // The score itself, before bias and mask, stays below 2^29.
      const std::int64_t largest = static_cast<std::int64_t>(head_dim) * q * k;
      if (round_shift(largest * head.score_multiplier, op.score_shift) >= (1 << 29)) {
        return false;
      }
    }
    if (op.score_bias != 0) {
      const std::uint64_t count = op.heads * score_biases(op);
      for (std::uint64_t i = 0; i < count; ++i) {
        if (magnitude(read_at<std::int32_t>(data_ + op.score_bias + 4 * i)) > (1 << 29)) {
          return false;
        }
      }
    }
    return true;
  }

  Status check_mean(const Op& op) {
    const std::uint64_t grid = mean_grid(op);
    if (op.in_features != op.out_features || residual_.features != op.in_features || grid == 0 ||
        grid > kMaxGrid || grid * grid + op.prefix_tokens != residual_.rows) {
      return Status::bad_program;
    }
    // The mean alone, or the first token before it.
    const bool fits = codes(op.destination) != nullptr
                          ? op.rows <= 2
                          : buffer(op.destination) == Buffer::residual && op.rows == 1;
    if (!fits) {
      return Status::bad_program;
    }
    if (!in_file(op.multipliers, 4, 4) || !in_file(op.bias, 4, 4)) {
      return Status::bad_program;
    }
    if (read_at<std::int32_t>(data_ + op.multipliers) < 0) {
      return Status::bad_number;
    }
    return write(op, op.out_features);
  }

  /// Weights, zero points, biases and multipliers of an operation with weights whose input
  /// codes are at most `qmax`: checks that no sum can overflow.
  Status check_weights(const Op& op, std::uint32_t qmax) const {
    const std::uint64_t in = op.in_features;
    const std::uint64_t out = weight_rows(op);
    if (op.weight_bits < 2 || op.weight_bits > 8 || op.decode_size <= qmax ||
        op.decode_size > 256) {
      return Status::bad_number;
    }
    const std::uint64_t row_bytes = op.weight_bits <= 4 ? (in + 1) / 2 : in;
    if (!in_file(op.weights, out * row_bytes, 1) || !in_file(op.zero_points, 2 * out, 2) ||
        !in_file(op.bias, 4 * out, 4) || !in_file(op.multipliers, 4 * out, 4) ||
        !in_file(op.decode, std::uint64_t{2} * op.decode_size, 2)) {
      return Status::bad_program;
    }
    std::int64_t smallest = read_at<std::int16_t>(data_ + op.decode);
    std::int64_t largest = smallest;
    for (std::uint32_t i = 1; i < op.decode_size; ++i) {
      const std::int64_t value = read_at<std::int16_t>(data_ + op.decode + 2 * std::size_t{i});
      smallest = value < smallest ? value : smallest;
      largest = value > largest ? value : largest;
    }
    if (largest - smallest > kMaxDecodeSpan) {
      return Status::bad_number;
    }
    const std::int64_t largest_input = larger_of(magnitude(smallest), magnitude(largest));
    // A nibble is at most 15, whatever the nominal width.
    const std::int64_t largest_code = op.weight_bits <= 4 ? 15 : 255;
    for (std::uint64_t c = 0; c < out; ++c) {
      const std::int64_t zero = magnitude(read_at<std::int16_t>(data_ + op.zero_points + 2 * c));
      const std::int64_t sum =
          static_cast<std::int64_t>(in) * (largest_code + zero) * largest_input;
      const bool fits = zero <= kMaxZeroPoint && sum <= kMaxSum &&
                        read_at<std::int32_t>(data_ + op.multipliers + 4 * c) >= 0;
      if (!fits) {
        return Status::bad_number;
      }
    }
    return Status::ok;
  }

  /// Records the shape that an operation writes to its destination.
  Status write(const Op& op, std::uint64_t features) {
    const Shape shape = {op.rows, features, op.output_qmax};
    if (Shape* target = codes(op.destination)) {
      *target = shape;
      std::uint64_t& capacity = codes_capacity_[target == &codes_[0] ? 0 : 1];
      capacity = larger(capacity, shape.size());
      return Status::ok;
    }
    if (buffer(op.destination) == Buffer::residual_add) {
      const bool fits = residual_.rows >= shape.rows && residual_.features == features;
      return fits ? Status::ok : Status::bad_program;
    }
    if (buffer(op.destination) == Buffer::residual) {
      residual_ = shape;
      residual_capacity_ = larger(residual_capacity_, shape.size());
      return Status::ok;
    }
    return Status::bad_program;
  }

  static Buffer buffer(std::uint32_t word) { return static_cast<Buffer>(word); }

  Shape* codes(std::uint32_t word) {
    return buffer(word) == Buffer::codes_a   ? &codes_[0]
           : buffer(word) == Buffer::codes_b ? &codes_[1]
                                             : nullptr;
  }

  bool in_file(std::uint64_t offset, std::uint64_t bytes, std::uint64_t alignment) const {
    return offset != 0 && offset % alignment == 0 && offset <= header_.data_bytes &&
           bytes <= header_.data_bytes - offset;
  }

  /// The largest |code - zero| of codes in [0, qmax].
  static std::int64_t farthest(std::int64_t zero, std::uint32_t qmax) {
    return larger_of(magnitude(zero), magnitude(std::int64_t{qmax} - zero));
  }
  static std::int64_t larger_of(std::int64_t a, std::int64_t b) { return a > b ? a : b; }
  static std::int64_t magnitude(std::int64_t value) { return value < 0 ? -value : value; }
  static std::uint64_t larger(std::uint64_t a, std::uint64_t b) { return a > b ? a : b; }

  const std::byte* data_;
  const Header& header_;
  Shape residual_;
  Shape codes_[2];
  std::uint64_t residual_capacity_ = 0;
  std::uint64_t codes_capacity_[2] = {0, 0};
  std::uint64_t scratch_capacity_ = 0;
  bool logits_written_ = false;
};

}  // namespace

Status check_program(Network& network) {
  return Checker(network.data, network.header).check(network);
}

}  // namespace bitlog2::runtime
