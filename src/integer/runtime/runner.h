// One thread's run of a network. run.cpp has the order of operations and the barriers between
// threads; linear.cpp, layer_norm.cpp and attention.cpp have the operations.
#pragma once

#include <limits>

#include "fixed_point.h"
#include "kernels/kernels.h"
#include "network.h"
#include "scratch.h"
#include "weight_panels.h"

namespace bitlog2::runtime {

inline constexpr std::int32_t kLowest = std::numeric_limits<std::int32_t>::min();
inline constexpr std::int32_t kHighest = std::numeric_limits<std::int32_t>::max();

/// Rows or other things, from `begin` up to `end`.
struct Range {
  std::size_t begin;
  std::size_t end;

  bool empty() const { return begin >= end; }
  std::size_t size() const { return end - begin; }
};

/// Accesses to a buffer since the threads' last barrier.
class Accesses {
 public:
  /// How an operation accesses a buffer: each thread its share of `rows` rows of `bytes` each;
  /// or, where `rows` is 0, any part of it.
  struct Access {
    std::uint64_t rows;
    std::uint64_t bytes;

    bool overlaps(const Access& other) const {
      return rows == 0 || rows != other.rows || bytes != other.bytes;
    }
  };

  bool read_must_wait(const Access& access) const { return written_ && access.overlaps(last_); }
  bool write_must_wait(const Access& access) const {
    return accessed_ && (read_anywhere_ || access.overlaps(last_));
  }
  void note_read(const Access& access) {
    read_anywhere_ = read_anywhere_ || access.rows == 0 || (accessed_ && access.overlaps(last_));
    last_ = accessed_ ? last_ : access;
    accessed_ = true;
  }
  void note_write(const Access& access) {
    last_ = access;
    accessed_ = true;
    written_ = true;
  }

 private:
  bool accessed_ = false;
  bool written_ = false;
  bool read_anywhere_ = false;
  Access last_ = {};
};

inline Rescale rescale_of(const RescaleArrays& arrays, unsigned shift, std::int32_t low,
                          std::int32_t high) {
  return {nullptr, arrays.constants, arrays.multipliers, arrays.offsets, shift, low, high, false};
}

/// The upper end to which an operation's output is clamped before it is stored as a code or looked
/// up.
inline std::int32_t largest_output(const Op& op) {
  return static_cast<std::int32_t>(has_code_table(op) ? op.table_size - 1 : op.output_qmax);
}

inline bool writes_codes(const Op& op) {
  const auto buffer = static_cast<Buffer>(op.destination);
  return buffer == Buffer::codes_a || buffer == Buffer::codes_b;
}

inline void clear(std::int32_t* values, std::size_t count) {
  for (std::size_t i = 0; i < count; ++i) {
    values[i] = 0;
  }
}

class Runner {
 public:
  Runner(const Network& network, std::span<const std::uint8_t> pixels, std::byte* arena,
         std::span<std::int32_t> logits, const Kernels& kernels, const RunOptions& options,
         RunStatistics& statistics);

  /// Waits for the rows of other threads that the operation at `index` needs, then runs this
  /// thread's share of it.
  void run(const Op& op, std::size_t index);

  /// Tells the observer what an operation has written.
  void report(const Observer& observer, std::size_t index, const Op& op) const;

 private:
  /// q, k and v of one head and group, row by row.
  struct HeadCodes {
    const std::uint8_t* parts[3];
    std::size_t stride;
    std::int32_t qmax;
  };

  template <class T>
  const T* tensor(std::uint32_t offset) const {
    return runtime::tensor<T>(network_, offset);
  }

  std::uint8_t* codes(std::uint32_t buffer) const {
    return static_cast<Buffer>(buffer) == Buffer::codes_a ? codes_a_ : codes_b_;
  }

  CodeTable code_table(const Op& op) const {
    return has_code_table(op) ? CodeTable{tensor<std::uint8_t>(op.table), op.table_size, nullptr}
                              : CodeTable{};
  }

  // run.cpp
  void compute(const Op& op, std::size_t index);
  Range my_share(std::size_t count) const;
  Accesses& accesses(std::uint32_t buffer);
  void wait_for_others(const Op& op);
  void add_to_residual(const Op& op, std::size_t row, std::size_t channel, const Rescale& rescale,
                       const Sums& sums);

  // linear.cpp
  void embed(const Op& op, Range rows);
  void linear(const Op& op, std::size_t index, Range rows);
  WeightPanel weight_panel(const Op& op, const InputBytes& bytes, std::size_t first,
                           const ProductScratch& scratch, Carver& packed) const;
  template <class Fill, class Finish>
  void multiply(const Op& op, const ProductScratch& scratch, const InputBytes& bytes, Range rows,
                std::byte* packed_panels, Fill fill, Finish finish);
  void turn_pairs(const Op& op, const PairScratch& scratch, const CodeTable& table,
                  const Rescale& rescale, const Sums& sums, std::size_t row,
                  std::size_t channel) const;
  void multiply_pairs(const Op& op, const PairScratch& scratch, const CodeTable& table,
                      const Rescale& rescale, const Sums& sums, std::uint8_t* target) const;
  void start_from_positions(const Op& op, Range rows);
  void unfold_patches(const Op& op, const InputBytes& bytes, Range patches,
                      std::uint8_t* inputs) const;

  // layer_norm.cpp
  void layer_norm(const Op& op, Range rows);
  void mean(const Op& op, Range rows);
  void mean_of(const Op& op, Range tokens, std::size_t row);
  void gather_row(const Op& op, std::size_t index, std::int32_t* row) const;

  // attention.cpp
  void attention(const Op& op, std::size_t index);
  void spread_bias(const Op& op, std::size_t head, const AttentionScratch& scratch) const;
  HeadCodes head_codes(const Op& op, std::size_t head, const AttentionScratch& scratch) const;
  static Panel key_panel(const AttentionScratch& scratch, const HeadCodes& codes,
                         const HeadRecord& head, std::size_t first);
  static Panel value_panel(const AttentionScratch& scratch, const HeadCodes& codes,
                           const HeadRecord& head, std::size_t first);
  void pack_keys(const Op& op, const HeadCodes& codes, const HeadRecord& head,
                 const AttentionScratch& scratch) const;
  void pack_values(const HeadCodes& codes, const HeadRecord& head,
                   const AttentionScratch& scratch) const;
  void attend_in_group(const Op& op, std::size_t head_index, Range queries,
                       const AttentionScratch& scratch, bool is_shown);
  void add_biases(const Op& op, std::size_t head, Range queries,
                  const AttentionScratch& scratch) const;
  void score(const Op& op, const HeadRecord& head, const HeadCodes& parts, Range queries,
             const AttentionScratch& scratch) const;
  void show_first_row(const HeadRecord& head, std::size_t head_index,
                      const AttentionScratch& scratch) const;
  void write_context(const Op& op, std::size_t head_index, const HeadRecord& head,
                     const HeadCodes& parts, Range queries, const Weights& weights,
                     const AttentionScratch& scratch);

  const Network& network_;
  std::span<const std::uint8_t> pixels_;
  std::span<std::int32_t> logits_;
  const Kernels& kernels_;
  const ThreadGroup& group_;
  std::size_t rank_;
  std::byte* packed_;  // packed weights of the next operation, or null
  RunStatistics& statistics_;
  const AttentionView* view_;  // of the run
  AttentionRule rule_;
  std::int32_t* residual_;
  std::uint8_t* codes_a_;
  std::uint8_t* codes_b_;
  std::byte* scratch_ = nullptr;
  Accesses accesses_[3];  // codes_a, codes_b, residual
};

}  // namespace bitlog2::runtime
