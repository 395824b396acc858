// Running an opened network: the operations one after the other, each member of a team on its
// share of the rows, until one needs rows that another member writes.
#include "fixed_point.h"
#include "kernels/kernels.h"
#include "network.h"
#include "scratch.h"
#include "weight_panels.h"

namespace bitlog2::runtime {
namespace {

constexpr std::int32_t kLowest = std::numeric_limits<std::int32_t>::min();
constexpr std::int32_t kHighest = std::numeric_limits<std::int32_t>::max();

/// Rows or other things, from `begin` up to `end`.
struct Range {
  std::size_t begin;
  std::size_t end;

  bool empty() const { return begin >= end; }
  std::size_t size() const { return end - begin; }
};

/// A member's share of `count`; the first member always has the first.
Range share(std::size_t count, std::size_t members, std::size_t member) {
  constexpr std::size_t kStep = 6;  // rows that the fastest kernels multiply at a time
  const std::size_t each =
      members == 1 ? count : round_up((count + members - 1) / members, count > 64 ? kStep : 1);
  const std::size_t begin = each * member < count ? each * member : count;
  return {begin, begin + each < count ? begin + each : count};
}

/// Who has touched a place since the team last waited.
class Accesses {
 public:
  /// How an operation touches a place: a share of `rows` rows of `bytes` each, or, where `rows`
  /// is 0, any part of it.
  struct Access {
    std::uint64_t rows;
    std::uint64_t bytes;

    bool overlaps(const Access& other) const {
      return rows == 0 || rows != other.rows || bytes != other.bytes;
    }
  };

  bool read_must_wait(const Access& access) const { return written_ && access.overlaps(last_); }
  bool write_must_wait(const Access& access) const {
    return touched_ && (read_anywhere_ || access.overlaps(last_));
  }
  void note_read(const Access& access) {
    read_anywhere_ = read_anywhere_ || access.rows == 0 || (touched_ && access.overlaps(last_));
    last_ = touched_ ? last_ : access;
    touched_ = true;
  }
  void note_write(const Access& access) {
    last_ = access;
    touched_ = true;
    written_ = true;
  }

 private:
  bool touched_ = false;
  bool written_ = false;
  bool read_anywhere_ = false;
  Access last_ = {};
};

class Runner {
 public:
  Runner(const Network& network, std::span<const std::uint8_t> pixels, std::byte* arena,
         std::span<std::int32_t> logits, const Kernels& kernels, const RunOptions& options,
         RunStatistics& statistics)
      : network_(network),
        pixels_(pixels),
        logits_(logits),
        kernels_(kernels),
        team_(options.team),
        member_(options.member),
        prepared_(options.prepared == nullptr ? nullptr : aligned(options.prepared)),
        statistics_(statistics),
        rule_{static_cast<AttentionKind>(network.header.attention_kind),
              network.header.attention_multiplier, network.header.attention_top,
              network.header.attention_fraction_bits, network.header.attention_nearest != 0} {
    Carver carver(arena);
    residual_ = carver.take<std::int32_t>(network.residual_values);
    codes_a_ = carver.take<std::uint8_t>(network.codes_a_bytes + kInputSlack);
    codes_b_ = carver.take<std::uint8_t>(network.codes_b_bytes + kInputSlack);
    for (std::size_t i = 0; i <= member_; ++i) {
      scratch_ = carver.take<std::byte>(network.scratch_bytes);
    }
  }

  void run(const Op& op) {
    wait_for_others(op);
    work(op);
    if (prepared_ != nullptr) {
      prepared_ += prepared_bytes(op);
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
  void work(const Op& op) {
    switch (static_cast<OpKind>(op.kind)) {
      case OpKind::embed:
        return embed(op, my_share(op.rows));
      case OpKind::layer_norm:
        return layer_norm(op, my_share(op.rows));
      case OpKind::linear:
        return linear(op, my_share(op.rows));
      case OpKind::attention:
        return attention(op);
      case OpKind::mean:
        return mean(op, my_share(op.rows));
    }
  }

  template <class T>
  const T* tensor(std::uint32_t offset) const {
    return runtime::tensor<T>(network_, offset);
  }

  std::uint8_t* codes(std::uint32_t place) const {
    return static_cast<Place>(place) == Place::codes_a ? codes_a_ : codes_b_;
  }

  Range my_share(std::size_t count) const { return share(count, team_.members, member_); }

  // --- what members do together ---

  Accesses& accesses(std::uint32_t place) {
    switch (static_cast<Place>(place)) {
      case Place::codes_a:
        return accesses_[0];
      case Place::codes_b:
        return accesses_[1];
      default:
        return accesses_[2];
    }
  }

  void wait_for_others(const Op& op) {
    if (team_.members == 1) {
      return;
    }
    const auto kind = static_cast<OpKind>(op.kind);
    const bool windows = kind == OpKind::attention && op.window != 0;
    const bool reads_shares =
        kind == OpKind::linear || (kind == OpKind::layer_norm && op.grid == 0);
    const Accesses::Access read = {reads_shares ? op.rows : 0, op.in_features};
    const Accesses::Access write = {windows ? 0 : op.rows, op.out_features};
    const bool has_source = static_cast<Place>(op.source) != Place::none;
    if ((has_source && accesses(op.source).read_must_wait(read)) ||
        accesses(op.destination).write_must_wait(write)) {
      team_.wait(team_.context);
      for (Accesses& each : accesses_) {
        each = {};
      }
    }
    if (has_source) {
      accesses(op.source).note_read(read);
    }
    accesses(op.destination).note_write(write);
  }

  // --- products of codes and weights ---

  /// A panel of weights for outputs from `first` on: the next prepared one, or one made now.
  WeightPanel weight_panel(const Op& op, const InputBytes& bytes, std::size_t first,
                           const ProductScratch& scratch, Carver& prepared) const {
    if (prepared_ != nullptr) {
      return {prepared, op};
    }
    fill_weight_panel(network_, op, bytes, first, kernels_, scratch.offsets, scratch.panel_sums,
                      scratch.weights);
    return scratch.weights;
  }

  static Rescale rescale_of(const RescaleArrays& arrays, unsigned shift, std::int32_t low,
                            std::int32_t high) {
    return {nullptr, arrays.constants, arrays.multipliers, arrays.offsets, shift, low, high, false};
  }

  /// What an operation's output is clamped to before it is stored.
  static Range output_limits(const Op& op) {
    return {0, op.table != 0 ? std::size_t{op.table_size} - 1 : op.output_top};
  }

  CodeTable code_table(const Op& op) const {
    return op.table == 0 ? CodeTable{}
                         : CodeTable{tensor<std::uint8_t>(op.table), op.table_size, nullptr};
  }

  static bool writes_codes(const Op& op) {
    const auto place = static_cast<Place>(op.destination);
    return place == Place::codes_a || place == Place::codes_b;
  }

  /// Multiplies a share of input rows by all weights. `fill(row, count, inputs)` gives rows as
  /// bytes [count, in], either in `inputs` or wherever it says; `finish(row, channel, rescale,
  /// sums)` stores what sums from that row and channel on stand for.
  template <class Fill, class Finish>
  void multiply(const Op& op, const InputBytes& bytes, Range rows, std::byte* prepared_panels,
                Fill fill, Finish finish) {
    ProductScratch scratch(scratch_, op);
    const bool to_codes = writes_codes(op);
    const auto high = static_cast<std::int32_t>(output_limits(op).end);
    for (std::size_t first = rows.begin; first < rows.end; first += kRowGroup) {
      const std::size_t count = rows.end - first < kRowGroup ? rows.end - first : kRowGroup;
      const Inputs inputs = {fill(first, count, scratch.inputs), op.in_features, bytes.largest};
      bool has_row_sums = false;
      Carver prepared(prepared_panels);
      for (std::size_t c = 0; c < op.out_features; c += kPanelWidth) {
        const WeightPanel weights = weight_panel(op, bytes, c, scratch, prepared);
        const Panel panel = weights.panel(op, c);
        const std::size_t left = op.out_features - c;
        Rescale rescale = rescale_of(weights.rescale, op.shift, to_codes ? 0 : kLowest,
                                     to_codes ? high : kHighest);
        rescale.fits = weights.summary->outputs_fit;
        if (weights.summary->has_zeros) {
          rescale.zeros = weights.rescale.zeros;
          if (!has_row_sums) {
            kernels_.sum_rows(inputs, count, op.in_features, scratch.row_sums);
            has_row_sums = true;
          }
        }
        for (std::size_t r = 0; r < count; r += kRowChunk) {
          const std::size_t chunk = count - r < kRowChunk ? count - r : kRowChunk;
          kernels_.multiply({inputs.row(r), inputs.stride, inputs.largest}, chunk, panel,
                            scratch.sums, panel.width);
          finish(first + r, c, rescale,
                 Sums{scratch.sums, panel.width, scratch.row_sums + r, chunk,
                      left < kPanelWidth ? left : kPanelWidth});
        }
      }
    }
  }

  void embed(const Op& op, Range rows) {
    // Shares are of tokens; the class token is the first of them and has no patch.
    const std::size_t skip = op.class_token;
    const Range patches = {rows.begin < skip ? 0 : rows.begin - skip,
                           rows.end < skip ? 0 : rows.end - skip};
    start_from_positions(op, rows);
    const InputBytes bytes(tensor<std::int16_t>(op.decode), op.decode_size);
    const auto unfold = [&](std::size_t first, std::size_t count, std::uint8_t* inputs) {
      unfold_patches(op, bytes, {first, first + count}, inputs);
      return inputs;
    };
    multiply(op, bytes, patches, prepared_, unfold,
             [&](std::size_t row, std::size_t c, const Rescale& rescale, const Sums& sums) {
               add_to_residual(op, row + skip, c, rescale, sums);
             });
  }

  void start_from_positions(const Op& op, Range rows) {
    const std::size_t first = rows.begin * op.out_features;
    const std::size_t count = rows.size() * op.out_features;
    if (op.positions == 0) {
      return clear(residual_ + first, count);
    }
    const auto* positions = tensor<std::int16_t>(op.positions) + first;
    std::int32_t* values = residual_ + first;
    if (op.position_shift < 16) {  // 16 bits, shifted, fit
      for (std::size_t i = 0; i < count; ++i) {
        values[i] = std::int32_t{positions[i]} * (1 << op.position_shift);
      }
      return;
    }
    for (std::size_t i = 0; i < count; ++i) {
      values[i] =
          saturate(std::int64_t{positions[i]} << op.position_shift, statistics_.saturations);
    }
  }

  /// Patches as rows of bytes [patches, 3 * patch * patch].
  void unfold_patches(const Op& op, const InputBytes& bytes, Range patches,
                      std::uint8_t* inputs) const {
    const std::size_t side = network_.header.image_size;
    const std::size_t patch = network_.header.patch_size;
    const std::size_t grid = side / patch;
    const auto* table = tensor<std::uint8_t>(op.table);
    std::uint8_t byte_of[3][256];
    for (std::size_t channel = 0; channel < 3; ++channel) {
      for (std::size_t pixel = 0; pixel < 256; ++pixel) {
        byte_of[channel][pixel] = bytes.table[table[channel * 256 + pixel]];
      }
    }
    for (std::size_t p = patches.begin; p < patches.end; ++p) {
      const std::uint8_t* corner =
          pixels_.data() + 3 * (p / grid * patch * side + p % grid * patch);
      for (std::size_t y = 0; y < patch; ++y) {
        kernels_.split_channels(corner + 3 * y * side, patch, byte_of, inputs + y * patch,
                                patch * patch);
      }
      inputs += 3 * patch * patch;
    }
  }

  void add_to_residual(const Op& op, std::size_t row, std::size_t c, const Rescale& rescale,
                       const Sums& sums) {
    statistics_.saturations += kernels_.rescale_and_add(
        rescale, sums, residual_ + row * op.out_features + c, op.out_features);
  }

  void linear(const Op& op, Range rows) {
    if (rows.empty()) {
      return;
    }
    const InputBytes bytes(tensor<std::int16_t>(op.decode), op.decode_size);
    const std::uint8_t* source = codes(op.source);
    const auto decode_rows = [&](std::size_t first, std::size_t count,
                                 std::uint8_t* inputs) -> const std::uint8_t* {
      const std::uint8_t* encoded = source + first * op.in_features;
      if (bytes.is_identity) {
        return encoded;
      }
      kernels_.decode(encoded, count * op.in_features, bytes.table, bytes.size, inputs);
      return inputs;
    };
    CodeTable table = code_table(op);
    std::byte* panels = prepared_;
    if (prepared_ != nullptr) {
      Carver carver(prepared_);
      const PreparedOp prepared(carver, op);
      panels += carver.used();
      table.runs = has_wide_table(op) && *prepared.has_runs ? prepared.runs : nullptr;
    }
    const auto multiply_and = [&](auto finish) {
      multiply(op, bytes, rows, panels, decode_rows, finish);
    };
    if (writes_codes(op)) {
      std::uint8_t* target = codes(op.destination);
      return multiply_and(
          [&](std::size_t row, std::size_t c, const Rescale& rescale, const Sums& sums) {
            kernels_.rescale_to_codes(rescale, sums, table, target + row * op.out_features + c,
                                      op.out_features);
          });
    }
    const auto place = static_cast<Place>(op.destination);
    if (place == Place::logits) {
      clear(logits_.data(), op.out_features);
      return multiply_and(
          [&](std::size_t, std::size_t c, const Rescale& rescale, const Sums& sums) {
            statistics_.saturations +=
                kernels_.rescale_and_add(rescale, sums, logits_.data() + c, op.out_features);
          });
    }
    if (place == Place::residual) {
      clear(residual_ + rows.begin * op.out_features, rows.size() * op.out_features);
    }
    multiply_and([&](std::size_t row, std::size_t c, const Rescale& rescale, const Sums& sums) {
      add_to_residual(op, row, c, rescale, sums);
    });
  }

  static void clear(std::int32_t* values, std::size_t count) {
    for (std::size_t i = 0; i < count; ++i) {
      values[i] = 0;
    }
  }

  // --- LayerNorm ---

  /// The four rows of the residual stream that Swin merges, as `row` [in].
  void gather_row(const Op& op, std::size_t index, std::int32_t* row) const {
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

  void layer_norm(const Op& op, Range rows) {
    NormScratch scratch(scratch_, op);
    const RescaleArrays& arrays = scratch.rescale;
    for (std::size_t c = 0; c < scratch.width; ++c) {
      const bool exists = c < op.in_features;
      arrays.constants[c] = 0;
      arrays.multipliers[c] = exists ? tensor<std::int32_t>(op.multipliers)[c] : 0;
      arrays.offsets[c] =
          exists ? rounding_offset(tensor<std::int32_t>(op.bias)[c], op.bias_shift, op.shift) : 0;
    }
    const bool to_codes = writes_codes(op);
    const auto high = static_cast<std::int32_t>(output_limits(op).end);
    const Rescale rescale =
        rescale_of(arrays, op.shift, to_codes ? 0 : kLowest, to_codes ? high : kHighest);
    const CodeTable table = code_table(op);
    const std::uint64_t epsilon = std::uint64_t{op.epsilon_high} << 32 | op.epsilon_low;
    for (std::size_t first = rows.begin; first < rows.end; first += kNormRows) {
      const std::size_t count = rows.end - first < kNormRows ? rows.end - first : kNormRows;
      const std::int32_t* x = residual_ + first * op.in_features;
      for (std::size_t i = 0; i < count && op.grid != 0; ++i) {
        gather_row(op, first + i, scratch.gathered + i * op.in_features);
        x = scratch.gathered;
      }
      kernels_.normalise(x, count, op.in_features, epsilon, scratch.normalised, scratch.width);
      const Sums sums = {scratch.normalised, scratch.width, nullptr, count, op.in_features};
      if (to_codes) {
        kernels_.rescale_to_codes(rescale, sums, table,
                                  codes(op.destination) + first * op.in_features, op.in_features);
      } else {
        clear(residual_ + first * op.in_features, count * op.in_features);
        add_to_residual(op, first, 0, rescale, sums);
      }
    }
  }

  // --- attention ---

  /// q, k and v of one head and group, row by row.
  struct HeadCodes {
    const std::uint8_t* parts[3];
    std::size_t stride;
    std::int32_t top;  // the largest code
  };

  /// Members share the queries where all tokens attend to each other, else the windows.
  void attention(const Op& op) {
    const AttentionScratch scratch(scratch_, op);
    if (op.window == 0) {
      const Range queries = my_share(op.rows);
      for (std::size_t h = 0; h < op.heads && !queries.empty(); ++h) {
        attend_in_group(op, h, queries, scratch);
      }
      return;
    }
    const Range windows = my_share(std::size_t{op.grid / op.window} * (op.grid / op.window));
    for (std::size_t h = 0; h < op.heads; ++h) {
      spread_bias(op, h, scratch);
      for (std::size_t w = windows.begin; w < windows.end; ++w) {
        find_window(op, w, scratch);
        attend_in_group(op, h, {0, scratch.tokens}, scratch);
      }
    }
  }

  /// The relative position bias of a head for every pair of a window's tokens.
  void spread_bias(const Op& op, std::size_t h, const AttentionScratch& scratch) const {
    if (op.score_bias == 0) {
      return;
    }
    const std::size_t side = op.window;
    const std::size_t offsets = 2 * side - 1;
    const auto* bias = tensor<std::int32_t>(op.score_bias) + h * offsets * offsets;
    std::int32_t* target = scratch.bias;
    for (std::size_t y = 0; y < side; ++y) {
      for (std::size_t x = 0; x < side; ++x) {
        for (std::size_t key_y = 0; key_y < side; ++key_y) {
          const std::int32_t* row = bias + (y + side - 1 - key_y) * offsets + x + side - 1;
          for (std::size_t key_x = 0; key_x < side; ++key_x) {
            *target++ = *(row - key_x);
          }
        }
      }
    }
  }

  /// Where the tokens of a shifted window are, and which of them see each other: not those that
  /// the roll has brought together from both edges.
  static void find_window(const Op& op, std::size_t index, const AttentionScratch& scratch) {
    const std::size_t across = op.grid / op.window;
    const auto band = [&](std::size_t at) {
      return at < op.grid - op.window ? 0 : at < op.grid - op.window_shift ? 1 : 2;
    };
    std::size_t i = 0;
    for (std::size_t y = index / across * op.window; i < scratch.tokens; ++y) {
      for (std::size_t x = index % across * op.window; x < (index % across + 1) * op.window; ++x) {
        scratch.places[i] = static_cast<std::uint32_t>((y + op.window_shift) % op.grid * op.grid +
                                                       (x + op.window_shift) % op.grid);
        scratch.regions[i] = 3 * band(y) + band(x);
        ++i;
      }
    }
  }

  HeadCodes head_codes(const Op& op, std::size_t h, const AttentionScratch& scratch) const {
    const std::size_t head_dim = scratch.head_dim;
    const auto top = static_cast<std::int32_t>(op.input_top);
    const std::uint8_t* first = codes(op.source) + h * head_dim;
    if (op.window == 0) {
      return {{first, first + op.out_features, first + std::size_t{2} * op.out_features},
              op.in_features,
              top};
    }
    HeadCodes result = {{}, head_dim, top};
    std::uint8_t* target = scratch.gathered;
    for (std::size_t part = 0; part < 3; ++part) {
      result.parts[part] = target;
      for (std::size_t i = 0; i < scratch.tokens; ++i, target += head_dim) {
        __builtin_memcpy(
            target,
            first + std::size_t{scratch.places[i]} * op.in_features + part * op.out_features,
            head_dim);
      }
    }
    return result;
  }

  /// Panels of keys, and how sums of products with queries become scores, with o the offset
  /// and r = z_k - o what the offset leaves:
  ///   sum (q - z_q)(k - z_k) = sum q (k - o) - r sum q - z_q sum (k - o) + d z_q r
  void pack_keys(const Op& op, const HeadCodes& codes, const HeadRecord& head,
                 const AttentionScratch& scratch) const {
    const auto depth = static_cast<std::uint32_t>(scratch.head_dim);
    const RescaleArrays& arrays = scratch.score_rescale;
    const std::int32_t offset = signed_offset(codes.top, head.key_zero);
    const std::int32_t rest = head.key_zero - offset;
    for (std::int32_t& each : std::span(scratch.key_offsets, kPanelWidth)) {
      each = offset;
    }
    for (std::size_t first = 0; first < scratch.tokens; first += kPanelWidth) {
      const std::size_t left = scratch.tokens - first;
      const std::size_t tokens = left < kPanelWidth ? left : kPanelWidth;
      kernels_.pack_rows({codes.parts[1] + first * codes.stride, codes.stride, false}, tokens,
                         scratch.key_offsets, key_panel(scratch, codes, head, first),
                         scratch.key_sums + first);
    }
    for (std::size_t j = 0; j < scratch.score_width; ++j) {
      arrays.zeros[j] = rest;
      arrays.constants[j] =
          static_cast<std::int32_t>(static_cast<std::uint32_t>(head.query_zero) *
                                    (depth * static_cast<std::uint32_t>(rest) -
                                     static_cast<std::uint32_t>(scratch.key_sums[j])));
      arrays.multipliers[j] = head.score_multiplier;
      arrays.offsets[j] = rounding_offset(0, 0, op.score_shift);
    }
  }

  static Panel key_panel(const AttentionScratch& scratch, const HeadCodes& codes,
                         const HeadRecord& head, std::size_t first) {
    const std::size_t left = scratch.score_width - first;
    return {scratch.keys + first * round_up(scratch.head_dim, kDepthStep), scratch.head_dim,
            left < kPanelWidth ? left : kPanelWidth,
            signed_largest(codes.top, signed_offset(codes.top, head.key_zero))};
  }

  static Panel value_panel(const AttentionScratch& scratch, const HeadCodes& codes,
                           const HeadRecord& head, std::size_t first) {
    const std::size_t left = scratch.context_width - first;
    return {scratch.values + first * round_up(scratch.tokens, kDepthStep), scratch.tokens,
            left < kPanelWidth ? left : kPanelWidth,
            signed_largest(codes.top, signed_offset(codes.top, head.value_zero))};
  }

  void pack_values(const HeadCodes& codes, const HeadRecord& head,
                   const AttentionScratch& scratch) const {
    for (std::size_t first = 0; first < scratch.head_dim; first += kPanelWidth) {
      const std::size_t left = scratch.head_dim - first;
      kernels_.pack_columns(
          {codes.parts[2] + first, codes.stride, false}, left < kPanelWidth ? left : kPanelWidth,
          signed_offset(codes.top, head.value_zero), value_panel(scratch, codes, head, first));
    }
  }

  /// Queries of the tokens that attend to each other: all, or a window's.
  void attend_in_group(const Op& op, std::size_t h, Range queries,
                       const AttentionScratch& scratch) {
    const HeadRecord head = tensor<HeadRecord>(op.head_table)[h];
    const HeadCodes parts = head_codes(op, h, scratch);
    pack_keys(op, parts, head, scratch);
    pack_values(parts, head, scratch);
    const RescaleArrays& arrays = scratch.context_rescale;
    for (std::size_t c = 0; c < kPanelWidth; ++c) {
      arrays.constants[c] = 0;
      arrays.multipliers[c] = head.context_multiplier;
      arrays.offsets[c] = rounding_offset(head.context_bias, op.bias_shift, op.shift);
    }
    for (std::size_t first = queries.begin; first < queries.end; first += kRowChunk) {
      const std::size_t left = queries.end - first;
      const Range chunk = {first, first + (left < kRowChunk ? left : kRowChunk)};
      score(op, head, parts, chunk, scratch);
      const Weights weights = {scratch.weights, chunk.size(), scratch.tokens};
      kernels_.softmax_codes(rule_, head.log2_delta, scratch.scores, scratch.score_width, weights);
      write_context(op, h, head, parts, chunk, weights, scratch);
    }
  }

  /// Scores [queries, score_width] in log2 units, with bias and mask.
  void score(const Op& op, const HeadRecord& head, const HeadCodes& parts, Range queries,
             const AttentionScratch& scratch) const {
    const Inputs inputs = {parts.parts[0] + queries.begin * parts.stride, parts.stride, parts.top};
    for (std::size_t first = 0; first < scratch.tokens; first += kPanelWidth) {
      kernels_.multiply(inputs, queries.size(), key_panel(scratch, parts, head, first),
                        scratch.scores + first, scratch.score_width);
    }
    Rescale rescale = rescale_of(scratch.score_rescale, op.score_shift, kLowest, kHighest);
    rescale.fits = true;  // open() has shown that scores are below 2^29
    if (scratch.score_rescale.zeros[0] != 0) {
      rescale.zeros = scratch.score_rescale.zeros;
      kernels_.sum_rows(inputs, queries.size(), scratch.head_dim, scratch.query_sums);
    }
    kernels_.rescale(rescale, {scratch.scores, scratch.score_width, scratch.query_sums,
                               queries.size(), scratch.tokens});
    for (std::size_t i = queries.begin; i < queries.end && op.window != 0; ++i) {
      add_bias_and_mask(op, i, scratch, scratch.scores + (i - queries.begin) * scratch.score_width);
    }
  }

  static void add_bias_and_mask(const Op& op, std::size_t i, const AttentionScratch& scratch,
                                std::int32_t* __restrict scores) {
    const std::size_t biased = op.score_bias != 0 ? scratch.tokens : 0;
    const std::int32_t* bias = scratch.bias + i * scratch.tokens;
    for (std::size_t j = 0; j < biased; ++j) {
      scores[j] += bias[j];
    }
    const std::size_t masked = op.window_shift != 0 ? scratch.tokens : 0;
    const auto mask = static_cast<std::int32_t>(op.mask);
    const std::int32_t* regions = scratch.regions;
    const std::int32_t region = regions[i];
    for (std::size_t j = 0; j < masked; ++j) {
      scores[j] -= regions[j] != region ? mask : 0;
    }
  }

  void write_context(const Op& op, std::size_t h, const HeadRecord& head, const HeadCodes& parts,
                     Range queries, const Weights& weights, const AttentionScratch& scratch) {
    const Rescale rescale = rescale_of(scratch.context_rescale, op.shift, 0,
                                       static_cast<std::int32_t>(output_limits(op).end));
    const CodeTable table = code_table(op);
    for (std::size_t first = 0; first < scratch.head_dim; first += kPanelWidth) {
      const Panel values = value_panel(scratch, parts, head, first);
      const std::size_t left = scratch.head_dim - first;
      const std::size_t channels = left < kPanelWidth ? left : kPanelWidth;
      kernels_.attend_values(rule_, weights, values,
                             head.value_zero - signed_offset(parts.top, head.value_zero),
                             scratch.context);
      // Tokens of a window do not follow each other.
      const std::size_t together = op.window == 0 ? queries.size() : 1;
      for (std::size_t i = 0; i < queries.size(); i += together) {
        const std::size_t query = queries.begin + i;
        const std::size_t token = op.window == 0 ? query : scratch.places[query];
        std::uint8_t* target =
            codes(op.destination) + token * op.out_features + h * scratch.head_dim + first;
        kernels_.rescale_to_codes(
            rescale,
            {scratch.context + i * values.width, values.width, nullptr, together, channels}, table,
            target, op.out_features);
      }
    }
  }

  // --- the rest ---

  void mean(const Op& op, Range rows) {
    if (rows.empty()) {
      return;  // another member's
    }
    const std::int64_t offset =
        rounding_offset(*tensor<std::int32_t>(op.bias), op.bias_shift, op.shift);
    const std::int32_t multiplier = *tensor<std::int32_t>(op.multipliers);
    const CodeTable table = code_table(op);
    const std::int64_t count = std::int64_t{op.grid} * op.grid;
    for (std::size_t c = 0; c < op.in_features; ++c) {
      std::int64_t sum = 0;
      for (std::int64_t r = 0; r < count; ++r) {
        sum += residual_[static_cast<std::size_t>(r) * op.in_features + c];
      }
      const std::int64_t average = (2 * sum + (sum < 0 ? -count : count)) / (2 * count);
      const std::int64_t value =
          rescaled(static_cast<std::int32_t>(average), multiplier, offset, op.shift);
      const auto code = static_cast<std::uint8_t>(
          clamp(value, 0, static_cast<std::int64_t>(output_limits(op).end)));
      codes(op.destination)[c] = table.entries == nullptr ? code : table.entries[code];
    }
  }

  const Network& network_;
  std::span<const std::uint8_t> pixels_;
  std::span<std::int32_t> logits_;
  const Kernels& kernels_;
  const Team& team_;
  std::size_t member_;
  std::byte* prepared_;  // of the next operation, if any
  RunStatistics& statistics_;
  AttentionRule rule_;
  std::int32_t* residual_;
  std::uint8_t* codes_a_;
  std::uint8_t* codes_b_;
  std::byte* scratch_ = nullptr;
  Accesses accesses_[3];  // codes_a, codes_b, residual
};

}  // namespace

std::size_t arena_size(const Network& network, std::size_t members) {
  return kAlignment + align(network.residual_values * sizeof(std::int32_t)) +
         align(network.codes_a_bytes + kInputSlack) + align(network.codes_b_bytes + kInputSlack) +
         members * align(network.scratch_bytes);
}

Status run(const Network& network, std::span<const std::uint8_t> pixels, std::span<std::byte> arena,
           std::span<std::int32_t> logits, const RunOptions& options) {
  if (arena.size() < arena_size(network, options.team.members)) {
    return Status::small_arena;
  }
  if (pixels.size() != network.input_bytes() || logits.size() != network.header.num_classes) {
    return Status::wrong_size;
  }
  RunStatistics uncounted;
  Runner runner(network, pixels, aligned(arena.data()), logits,
                options.kernels != nullptr ? *options.kernels : portable_kernels(), options,
                options.statistics != nullptr ? *options.statistics : uncounted);
  for (std::size_t i = 0; i < network.header.op_count; ++i) {
    const Op op = operation(network, i);
    runner.run(op);
    if (options.observer != nullptr) {
      runner.report(*options.observer, i, op);
    }
  }
  return Status::ok;
}

}  // namespace bitlog2::runtime
