// Running a network: one operation after the other, all memory from the arena. open() has
// proven that every index stays inside its buffer and that no sum or product overflows.
#include "fixed_point.h"
#include "kernels/kernels.h"
#include "network.h"
#include "scratch.h"

namespace bitlog2::runtime {
namespace {

constexpr std::size_t align(std::size_t bytes) {
  return (bytes + kAlignment - 1) / kAlignment * kAlignment;
}

/// Hands out consecutive aligned parts of a block of memory.
class Carver {
 public:
  explicit Carver(std::byte* memory) : next_(memory) {}

  template <class T>
  T* take(std::size_t count) {
    auto* result = reinterpret_cast<T*>(next_);
    next_ += align(count * sizeof(T));
    return result;
  }

 private:
  std::byte* next_;
};

class Runner {
 public:
  Runner(const Network& network, std::span<const std::uint8_t> pixels, std::byte* arena,
         std::span<std::int32_t> logits, RunStatistics& statistics)
      : network_(network), pixels_(pixels), logits_(logits), statistics_(statistics) {
    Carver carver(arena);
    residual_ = carver.take<std::int32_t>(network.residual_values);
    codes_a_ = carver.take<std::uint8_t>(network.codes_a_bytes);
    codes_b_ = carver.take<std::uint8_t>(network.codes_b_bytes);
    scratch_ = carver.take<std::byte>(network.scratch_bytes);
  }

  void run(const Op& op) {
    switch (static_cast<OpKind>(op.kind)) {
      case OpKind::embed:
        return embed(op);
      case OpKind::layer_norm:
        return layer_norm(op);
      case OpKind::linear:
        return linear(op);
      case OpKind::attention:
        return attention(op);
      case OpKind::mean:
        return mean(op);
    }
  }

  void report(const Observer& observer, std::size_t index, const Op& op) const {
    const std::size_t count = std::size_t{op.rows} * op.out_features;
    const auto place = static_cast<Place>(op.destination);
    if (place == Place::codes_a || place == Place::codes_b) {
      observer.after(observer.context, index, op, {codes(op.destination), count}, {});
    } else if (place == Place::logits) {
      observer.after(observer.context, index, op, {}, logits_);
    } else {
      observer.after(observer.context, index, op, {}, {residual_, count});
    }
  }

 private:
  template <class T>
  const T* tensor(std::uint32_t offset) const {
    return reinterpret_cast<const T*>(network_.data + offset);
  }

  std::uint8_t* codes(std::uint32_t place) const {
    return static_cast<Place>(place) == Place::codes_a ? codes_a_ : codes_b_;
  }

  Requantize requantize(const Op& op, std::size_t channel) const {
    return {tensor<std::int32_t>(op.bias)[channel], tensor<std::int32_t>(op.multipliers)[channel],
            op.shift};
  }

  /// Multiplies rows of decoded inputs by every row of weights. `fill(first, rows, inputs)`
  /// provides inputs [rows, in]; `store(row, channel, sum)` takes every sum.
  template <class Fill, class Store>
  void multiply(const Op& op, std::size_t rows, Fill fill, Store store) {
    Carver carver(scratch_);
    auto* inputs = carver.take<std::int16_t>(kTokenBlock * op.in_features);
    auto* weights = carver.take<std::int16_t>(op.in_features);
    std::int32_t sums[kTokenBlock];
    const std::size_t row_bytes =
        op.weight_bits <= 4 ? (std::size_t{op.in_features} + 1) / 2 : op.in_features;
    for (std::size_t first = 0; first < rows; first += kTokenBlock) {
      const std::size_t count = rows - first < kTokenBlock ? rows - first : kTokenBlock;
      fill(first, count, inputs);
      for (std::size_t c = 0; c < op.out_features; ++c) {
        unpack_weights(tensor<std::uint8_t>(op.weights) + c * row_bytes, op.in_features,
                       op.weight_bits, tensor<std::int16_t>(op.zero_points)[c], weights);
        dot_rows(weights, inputs, count, op.in_features, sums);
        for (std::size_t r = 0; r < count; ++r) {
          store(first + r, c, sums[r]);
        }
      }
    }
  }

  void embed(const Op& op) {
    const std::size_t side = network_.header.image_size;
    const std::size_t patch = network_.header.patch_size;
    const std::size_t grid = side / patch;
    const auto* table = tensor<std::uint8_t>(op.table);
    const auto* decode = tensor<std::int16_t>(op.decode);
    const auto unfold = [&](std::size_t first, std::size_t count, std::int16_t* inputs) {
      for (std::size_t r = 0; r < count; ++r) {
        const std::size_t y = (first + r) / grid * patch;
        const std::size_t x = (first + r) % grid * patch;
        for (std::size_t channel = 0; channel < 3; ++channel) {
          for (std::size_t i = 0; i < patch * patch; ++i) {
            const std::size_t pixel = (y + i / patch) * side + x + i % patch;
            *inputs++ = decode[table[channel * 256 + pixels_[3 * pixel + channel]]];
          }
        }
      }
    };
    multiply(op, grid * grid, unfold, [&](std::size_t row, std::size_t c, std::int32_t sum) {
      residual_[(row + op.class_token) * op.out_features + c] =
          saturate(requantize(op, c)(sum), statistics_.saturations);
    });
    if (op.positions == 0) {
      return;
    }
    const auto* positions = tensor<std::int16_t>(op.positions);
    for (std::size_t i = 0; i < std::size_t{op.rows} * op.out_features; ++i) {
      const bool is_class_token = op.class_token != 0 && i < op.out_features;
      const std::int64_t embedded = is_class_token ? 0 : residual_[i];
      residual_[i] = saturate(embedded + (std::int64_t{positions[i]} << op.position_shift),
                              statistics_.saturations);
    }
  }

  /// The row of the residual stream, or the four that Swin merges, as `row` [in].
  void gather_row(const Op& op, std::size_t index, std::int32_t* row) const {
    if (op.grid == 0) {
      for (std::size_t c = 0; c < op.in_features; ++c) {
        row[c] = residual_[index * op.in_features + c];
      }
      return;
    }
    const std::size_t half = op.grid / 2;
    const std::size_t width = op.in_features / 4;
    for (std::size_t n = 0; n < 4; ++n) {  // (0,0), (1,0), (0,1), (1,1) as (row, column)
      const std::size_t y = 2 * (index / half) + n % 2;
      const std::size_t x = 2 * (index % half) + n / 2;
      for (std::size_t c = 0; c < width; ++c) {
        row[n * width + c] = residual_[(y * op.grid + x) * width + c];
      }
    }
  }

  /// n = (x - mean) * sqrt(C) / sqrt(sum (x - mean)^2 + C eps) with kNormFraction fraction
  /// bits, in place. Differences are scaled to 23 bits, their squares' sum to 62.
  static void normalise(std::int32_t* row, std::size_t count, std::uint64_t epsilon) {
    std::int64_t sum = 0;
    for (std::size_t c = 0; c < count; ++c) {
      sum += row[c];
    }
    const auto size = static_cast<std::int64_t>(count);
    // open() refuses a network without features.
    // NOLINTNEXTLINE(clang-analyzer-core.DivideZero)
    const std::int64_t mean = (2 * sum + (sum < 0 ? -size : size)) / (2 * size);
    std::uint64_t largest = 0;
    for (std::size_t c = 0; c < count; ++c) {
      const std::int64_t centred = row[c] - mean;
      const auto magnitude = static_cast<std::uint64_t>(centred < 0 ? -centred : centred);
      largest = magnitude > largest ? magnitude : largest;
    }
    const int width = bit_width(largest);
    const unsigned down = width > 22 ? static_cast<unsigned>(width - 22) : 0;
    std::uint64_t squares = epsilon >> (2 * down);
    for (std::size_t c = 0; c < count; ++c) {
      const std::int64_t centred = row[c] - mean;
      row[c] = static_cast<std::int32_t>(down == 0 ? centred : round_shift(centred, down));
      squares += static_cast<std::uint64_t>(std::int64_t{row[c]} * row[c]);
    }
    // 2^16 sqrt(C) / sqrt(squares): with squares * 4^up in [2^60, 2^62), its root has 31 bits.
    squares = squares == 0 ? 1 : squares;
    const unsigned up = static_cast<unsigned>(62 - bit_width(squares)) / 2;
    const std::uint64_t root = square_root(squares << (2 * up));
    const std::uint64_t root_of_count = square_root(static_cast<std::uint64_t>(count) << 40);
    // sqrt(C) / sqrt(squares) with 50 - up fraction bits; up is at most 30.
    const auto factor = static_cast<std::int64_t>((root_of_count << 30) / root);
    for (std::size_t c = 0; c < count; ++c) {
      const std::int64_t product = row[c] * factor;
      row[c] = static_cast<std::int32_t>(round_shift(product, 50 - up - kNormFraction));
    }
  }

  void layer_norm(const Op& op) {
    auto* row = Carver(scratch_).take<std::int32_t>(op.in_features);
    const auto* multipliers = tensor<std::int32_t>(op.multipliers);
    const auto* bias = tensor<std::int32_t>(op.bias);
    const std::uint64_t epsilon = std::uint64_t{op.epsilon_high} << 32 | op.epsilon_low;
    const bool to_residual = static_cast<Place>(op.destination) == Place::residual;
    for (std::size_t r = 0; r < op.rows; ++r) {
      gather_row(op, r, row);
      normalise(row, op.in_features, epsilon);
      for (std::size_t c = 0; c < op.in_features; ++c) {
        const std::int64_t value = round_shift(
            std::int64_t{row[c]} * multipliers[c] + (std::int64_t{bias[c]} << kNormFraction),
            op.shift);
        const std::size_t at = r * op.in_features + c;
        if (to_residual) {
          residual_[at] = saturate(value, statistics_.saturations);
        } else {
          codes(op.destination)[at] =
              static_cast<std::uint8_t>(clamp(value, 0, std::int64_t{op.output_top}));
        }
      }
    }
  }

  void linear(const Op& op) {
    std::uint8_t* target = codes(op.destination);
    const auto* table = tensor<std::uint8_t>(op.table);
    switch (static_cast<Place>(op.destination)) {
      case Place::residual:
        return multiply_codes(op, [&](std::size_t at, std::int64_t value) {
          residual_[at] = saturate(value, statistics_.saturations);
        });
      case Place::residual_add:
        return multiply_codes(op, [&](std::size_t at, std::int64_t value) {
          residual_[at] = saturate(residual_[at] + value, statistics_.saturations);
        });
      case Place::logits:
        return multiply_codes(op, [&](std::size_t at, std::int64_t value) {
          logits_[at] = saturate(value, statistics_.saturations);
        });
      default:
        break;
    }
    if (op.table != 0) {
      return multiply_codes(op, [&](std::size_t at, std::int64_t value) {
        target[at] = table[clamp(value, 0, std::int64_t{op.table_size} - 1)];
      });
    }
    multiply_codes(op, [&](std::size_t at, std::int64_t value) {
      target[at] = static_cast<std::uint8_t>(clamp(value, 0, std::int64_t{op.output_top}));
    });
  }

  /// A linear layer's outputs, requantized: `store(index in [rows, out], value)`.
  template <class Store>
  void multiply_codes(const Op& op, Store store) {
    const std::uint8_t* source = codes(op.source);
    const auto* decode = tensor<std::int16_t>(op.decode);
    const auto decode_rows = [&](std::size_t first, std::size_t count, std::int16_t* inputs) {
      for (std::size_t i = 0; i < count * op.in_features; ++i) {
        inputs[i] = decode[source[first * op.in_features + i]];
      }
    };
    multiply(op, op.rows, decode_rows, [&](std::size_t row, std::size_t c, std::int32_t sum) {
      store(row * op.out_features + c, requantize(op, c)(sum));
    });
  }

  /// A group of tokens that attend to each other: everything, or one shifted window.
  struct Group {
    const Op& op;
    std::size_t index;

    std::size_t tokens() const { return group_tokens(op); }

    /// Position in the sequence of token i.
    std::size_t token(std::size_t i) const {
      if (op.window == 0) {
        return i;
      }
      return (row(i) + op.window_shift) % op.grid * op.grid +
             (column(i) + op.window_shift) % op.grid;
    }

    /// Where the roll put tokens of both edges into one window, they do not see each other.
    std::size_t region(std::size_t i) const { return 3 * band(row(i)) + band(column(i)); }

    /// Entry of the relative position bias for tokens i and j.
    std::size_t offset(std::size_t i, std::size_t j) const {
      const std::size_t w = op.window;
      return (i / w + w - 1 - j / w) * (2 * w - 1) + (i % w + w - 1 - j % w);
    }

   private:
    std::size_t row(std::size_t i) const {
      return index / (op.grid / op.window) * op.window + i / op.window;
    }
    std::size_t column(std::size_t i) const {
      return index % (op.grid / op.window) * op.window + i % op.window;
    }
    std::size_t band(std::size_t at) const {
      return at < op.grid - op.window ? 0 : at < op.grid - op.window_shift ? 1 : 2;
    }
  };

  void attention(const Op& op) {
    const std::size_t groups =
        op.window == 0 ? 1 : std::size_t{op.grid / op.window} * (op.grid / op.window);
    for (std::size_t g = 0; g < groups; ++g) {
      for (std::size_t h = 0; h < op.heads; ++h) {
        attend_in_group(op, Group{op, g}, h);
      }
    }
  }

  void attend_in_group(const Op& op, const Group& group, std::size_t h) {
    const std::size_t tokens = group.tokens();
    const std::size_t head_dim = op.out_features / op.heads;
    const HeadRecord head = tensor<HeadRecord>(op.head_table)[h];
    Carver carver(scratch_);
    auto* context = carver.take<std::int64_t>(head_dim);
    auto* scores = carver.take<std::int32_t>(tokens);
    auto* keys = carver.take<std::int16_t>(tokens * head_dim);
    auto* values = carver.take<std::int16_t>(tokens * head_dim);
    auto* query = carver.take<std::int16_t>(head_dim);
    for (std::size_t i = 0; i < tokens; ++i) {
      load(op, group.token(i), 1, h, head.key_zero, keys + i * head_dim);
      load(op, group.token(i), 2, h, head.value_zero, values + i * head_dim);
    }
    const AttentionRule rule = {static_cast<AttentionKind>(network_.header.attention_kind),
                                network_.header.attention_multiplier,
                                network_.header.attention_top};
    const Requantize to_code = {head.context_bias, head.context_multiplier, op.shift};
    for (std::size_t i = 0; i < tokens; ++i) {
      load(op, group.token(i), 0, h, head.query_zero, query);
      dot_rows(query, keys, tokens, head_dim, scores);
      finish_scores(op, group, h, i, head.score_multiplier, scores);
      attend(rule, head.log2_delta, scores, tokens, values, head_dim, context);
      std::uint8_t* target =
          codes(op.destination) + group.token(i) * op.out_features + h * head_dim;
      for (std::size_t c = 0; c < head_dim; ++c) {
        constexpr std::int64_t kLimit = 1 << 30;
        const auto sum = static_cast<std::int32_t>(clamp(context[c], -kLimit, kLimit));
        target[c] = static_cast<std::uint8_t>(clamp(to_code(sum), 0, std::int64_t{op.output_top}));
      }
    }
  }

  /// q (part 0), k (1) or v (2) of one token and head, its zero point subtracted.
  void load(const Op& op, std::size_t token, std::size_t part, std::size_t h, std::int32_t zero,
            std::int16_t* target) const {
    const std::size_t head_dim = op.out_features / op.heads;
    const std::uint8_t* source =
        codes(op.source) + token * op.in_features + part * op.out_features + h * head_dim;
    for (std::size_t c = 0; c < head_dim; ++c) {
      target[c] = static_cast<std::int16_t>(source[c] - zero);
    }
  }

  /// Sums of products to scores in log2 units, with bias and mask.
  void finish_scores(const Op& op, const Group& group, std::size_t h, std::size_t i,
                     std::int32_t multiplier, std::int32_t* scores) const {
    const std::size_t tokens = group.tokens();
    for (std::size_t j = 0; j < tokens; ++j) {
      scores[j] = static_cast<std::int32_t>(
          round_shift(std::int64_t{scores[j]} * multiplier, op.score_shift));
    }
    if (op.score_bias != 0) {
      const std::size_t offsets = std::size_t{2} * op.window - 1;
      const auto* bias = tensor<std::int32_t>(op.score_bias) + h * offsets * offsets;
      for (std::size_t j = 0; j < tokens; ++j) {
        scores[j] += bias[group.offset(i, j)];
      }
    }
    if (op.window_shift != 0) {
      for (std::size_t j = 0; j < tokens; ++j) {
        const bool masked = group.region(i) != group.region(j);
        scores[j] -= masked ? static_cast<std::int32_t>(op.mask) : 0;
      }
    }
  }

  void mean(const Op& op) {
    const Requantize to_code = requantize(op, 0);
    const std::int64_t rows = std::int64_t{op.grid} * op.grid;
    for (std::size_t c = 0; c < op.in_features; ++c) {
      std::int64_t sum = 0;
      for (std::int64_t r = 0; r < rows; ++r) {
        sum += residual_[static_cast<std::size_t>(r) * op.in_features + c];
      }
      const std::int64_t average = (2 * sum + (sum < 0 ? -rows : rows)) / (2 * rows);
      codes(op.destination)[c] = static_cast<std::uint8_t>(
          clamp(to_code(static_cast<std::int32_t>(average)), 0, std::int64_t{op.output_top}));
    }
  }

  const Network& network_;
  std::span<const std::uint8_t> pixels_;
  std::span<std::int32_t> logits_;
  RunStatistics& statistics_;
  std::int32_t* residual_;
  std::uint8_t* codes_a_;
  std::uint8_t* codes_b_;
  std::byte* scratch_;
};

}  // namespace

std::size_t arena_size(const Network& network) {
  return kAlignment + align(network.residual_values * sizeof(std::int32_t)) +
         align(network.codes_a_bytes) + align(network.codes_b_bytes) + align(network.scratch_bytes);
}

Status run(const Network& network, std::span<const std::uint8_t> pixels, std::span<std::byte> arena,
           std::span<std::int32_t> logits, RunStatistics* statistics, const Observer* observer) {
  if (arena.size() < arena_size(network)) {
    return Status::small_arena;
  }
  if (pixels.size() != network.input_bytes() || logits.size() != network.header.num_classes) {
    return Status::wrong_size;
  }
  RunStatistics uncounted;
  const auto address = reinterpret_cast<std::uintptr_t>(arena.data());
  Runner runner(network, pixels, arena.data() + (align(address) - address), logits,
                statistics != nullptr ? *statistics : uncounted);
  for (std::size_t i = 0; i < network.header.op_count; ++i) {
    const Op op = operation(network, i);
    runner.run(op);
    if (observer != nullptr) {
      runner.report(*observer, i, op);
    }
  }
  return Status::ok;
}

}  // namespace bitlog2::runtime
