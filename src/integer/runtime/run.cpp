// Running an opened network: the operations one after the other, each thread of a group on its
// share of the rows, until one needs rows that another thread writes.
#include "runner.h"

namespace bitlog2::runtime {
namespace {

/// A thread's share of `count`; the first thread always has the first.
Range share(std::size_t count, std::size_t threads, std::size_t rank) {
  constexpr std::size_t kStep = 6;  // rows that the fastest kernels multiply at a time
  const std::size_t each =
      threads == 1 ? count : round_up((count + threads - 1) / threads, count > 64 ? kStep : 1);
  const std::size_t begin = each * rank < count ? each * rank : count;
  return {begin, begin + each < count ? begin + each : count};
}

}  // namespace

Runner::Runner(const Network& network, std::span<const std::uint8_t> pixels, std::byte* arena,
               std::span<std::int32_t> logits, const Kernels& kernels, const RunOptions& options,
               RunStatistics& statistics)
    : network_(network),
      pixels_(pixels),
      logits_(logits),
      kernels_(kernels),
      group_(options.group),
      rank_(options.rank),
      packed_(options.packed == nullptr ? nullptr : aligned(options.packed)),
      statistics_(statistics),
      view_(options.view),
      rule_{static_cast<AttentionKind>(network.header.attention_kind),
            network.header.attention_multiplier, network.header.attention_qmax,
            network.header.attention_fraction_bits, network.header.attention_nearest != 0} {
  Carver carver(arena);
  residual_ = carver.take<std::int32_t>(network.residual_values);
  codes_a_ = carver.take<std::uint8_t>(network.codes_a_bytes + kInputSlack);
  codes_b_ = carver.take<std::uint8_t>(network.codes_b_bytes + kInputSlack);
  for (std::size_t i = 0; i <= rank_; ++i) {
    scratch_ = carver.take<std::byte>(network.scratch_bytes);
  }
}

void Runner::run(const Op& op, std::size_t index) {
  wait_for_others(op);
  compute(op, index);
  if (packed_ != nullptr) {
    packed_ += static_cast<std::size_t>(packed_bytes(op));
  }
}

void Runner::report(const Observer& observer, std::size_t index, const Op& op) const {
  const std::size_t count = std::size_t{op.rows} * op.out_features;
  if (writes_codes(op)) {
    observer.after(observer.context, index, op, {codes(op.destination), count}, {});
  } else if (static_cast<Buffer>(op.destination) == Buffer::logits) {
    observer.after(observer.context, index, op, {}, logits_);
  } else {
    observer.after(observer.context, index, op, {}, {residual_, count});
  }
}

void Runner::compute(const Op& op, std::size_t index) {
  switch (static_cast<OpKind>(op.kind)) {
    case OpKind::embed:
      return embed(op, my_share(op.rows));
    case OpKind::layer_norm:
      return layer_norm(op, my_share(op.rows));
    case OpKind::linear:
    case OpKind::gated_linear:
    case OpKind::rotary_linear:
      return linear(op, index, my_share(op.rows));
    case OpKind::attention:
      return attention(op, index);
    case OpKind::mean:
      return mean(op, my_share(op.rows));
  }
}

Range Runner::my_share(std::size_t count) const {
  return share(count, group_.size, rank_);
}

Accesses& Runner::accesses(std::uint32_t buffer) {
  switch (static_cast<Buffer>(buffer)) {
    case Buffer::codes_a:
      return accesses_[0];
    case Buffer::codes_b:
      return accesses_[1];
    default:
      return accesses_[2];
  }
}

void Runner::wait_for_others(const Op& op) {
  if (group_.size == 1) {
    return;
  }
  const auto kind = static_cast<OpKind>(op.kind);
  const bool windows = kind == OpKind::attention && op.window != 0;
  const bool reads_shares = is_linear(op) || (kind == OpKind::layer_norm && merge_grid(op) == 0);
  const Accesses::Access read = {reads_shares ? op.rows : 0, op.in_features};
  const Accesses::Access write = {windows ? 0 : op.rows, op.out_features};
  const bool has_source = static_cast<Buffer>(op.source) != Buffer::none;
  if ((has_source && accesses(op.source).read_must_wait(read)) ||
      accesses(op.destination).write_must_wait(write)) {
    group_.wait(group_.context);
    for (Accesses& each : accesses_) {
      each = {};
    }
  }
  if (has_source) {
    accesses(op.source).note_read(read);
  }
  accesses(op.destination).note_write(write);
}

void Runner::add_to_residual(const Op& op, std::size_t row, std::size_t channel,
                             const Rescale& rescale, const Sums& sums) {
  statistics_.saturations += kernels_.rescale_and_add(
      rescale, sums, residual_ + row * op.out_features + channel, op.out_features);
}

std::size_t arena_size(const Network& network, std::size_t threads) {
  return in_addresses(kAlignment + align(network.residual_values * sizeof(std::int32_t)) +
                      align(network.codes_a_bytes + kInputSlack) +
                      align(network.codes_b_bytes + kInputSlack) +
                      threads * align(network.scratch_bytes));
}

Status run(const Network& network, std::span<const std::uint8_t> pixels, std::span<std::byte> arena,
           std::span<std::int32_t> logits, const RunOptions& options) {
  if (arena.size() < arena_size(network, options.group.size)) {
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
    runner.run(op, i);
    if (options.observer != nullptr) {
      runner.report(*options.observer, i, op);
    }
    const Progress* progress = options.progress;
    if (progress != nullptr &&
        progress->after_operation(progress->context, i + 1, network.header.op_count) != 0) {
      return Status::stopped;
    }
  }
  return Status::ok;
}

}  // namespace bitlog2::runtime
