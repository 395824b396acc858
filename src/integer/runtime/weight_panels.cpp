#include "weight_panels.h"

#include "fixed_point.h"

namespace bitlog2::runtime {
namespace {

constexpr std::int64_t magnitude(std::int64_t value) {
  return value < 0 ? -value : value;
}

}  // namespace

std::int64_t InputBytes::largest_value() const {
  const std::int64_t low = magnitude(smallest);
  const std::int64_t high = magnitude(std::int64_t{smallest} + largest);
  return low < high ? high : low;
}

InputBytes::InputBytes(const std::int16_t* decode, std::size_t decode_size)
    : size(decode_size), smallest(decode[0]) {
  for (std::size_t i = 1; i < size; ++i) {
    smallest = decode[i] < smallest ? decode[i] : smallest;
  }
  for (std::size_t i = 0; i < size; ++i) {
    largest = decode[i] - smallest > largest ? decode[i] - smallest : largest;
    table[i] = static_cast<std::uint8_t>(decode[i] - smallest);
    is_identity = is_identity && table[i] == i;
  }
}

void fill_weight_panel(const Network& network, const Op& op, const InputBytes& bytes,
                       std::size_t first, const Kernels& kernels, std::int32_t* offsets,
                       std::int32_t* sums, const WeightPanel& result) {
  const auto left = static_cast<std::size_t>(weight_rows(op)) - first;
  const std::size_t channels = left < kPanelWidth ? left : kPanelWidth;
  const bool nibbles = op.weight_bits <= 4;
  const std::size_t row_bytes = nibbles ? (std::size_t{op.in_features} + 1) / 2 : op.in_features;
  // A nibble is at most 15, whatever the nominal width.
  const std::int32_t qmax = nibbles ? 15 : 255;
  const RescaleArrays& arrays = result.rescale;
  *result.summary = {0, false, true};
  for (std::size_t c = 0; c < channels; ++c) {
    const std::int32_t zero = tensor<std::int16_t>(network, op.zero_points)[first + c];
    offsets[c] = signed_offset(qmax, zero);
    arrays.zeros[c] = zero - offsets[c];
    const std::int32_t largest = signed_largest(qmax, offsets[c]);
    result.summary->largest = largest > result.summary->largest ? largest : result.summary->largest;
  }
  const Panel panel = result.panel(op, first);
  kernels.pack_rows(
      {tensor<std::uint8_t>(network, op.weights) + first * row_bytes, row_bytes, nibbles}, channels,
      offsets, panel, sums);
  for (std::size_t c = 0; c < panel.width; ++c) {
    const bool exists = c < channels;
    const std::size_t at = first + c;
    arrays.zeros[c] = exists ? arrays.zeros[c] : 0;
    result.summary->has_zeros = result.summary->has_zeros || arrays.zeros[c] != 0;
    // sum (w - z) (u + smallest): the part of `smallest`
    const auto depth = static_cast<std::uint32_t>(op.in_features);
    arrays.constants[c] =
        static_cast<std::int32_t>(static_cast<std::uint32_t>(bytes.smallest) *
                                  (static_cast<std::uint32_t>(sums[c]) -
                                   depth * static_cast<std::uint32_t>(arrays.zeros[c])));
    arrays.multipliers[c] = exists ? tensor<std::int32_t>(network, op.multipliers)[at] : 0;
    arrays.offsets[c] = exists ? rounding_offset(tensor<std::int32_t>(network, op.bias)[at],
                                                 op.bias_shift, op.shift)
                               : 0;
    if (exists) {
      const std::int64_t largest_sum =
          std::int64_t{op.in_features} *
          (qmax + magnitude(tensor<std::int16_t>(network, op.zero_points)[at])) *
          bytes.largest_value();
      const std::int64_t largest_output =
          (largest_sum * arrays.multipliers[c] + magnitude(arrays.offsets[c])) >> op.shift;
      result.summary->outputs_fit =
          result.summary->outputs_fit && largest_output < std::numeric_limits<std::int32_t>::max();
    }
  }
}

std::size_t packed_size(const Network& network) {
  std::uint64_t bytes = kAlignment;
  for (std::size_t i = 0; i < network.header.op_count; ++i) {
    bytes += packed_bytes(operation(network, i));
  }
  return in_addresses(bytes);
}

void pack_weights(const Network& network, const Kernels& kernels, std::span<std::byte> memory) {
  std::int32_t offsets[kPanelWidth];
  std::int32_t sums[kPanelWidth];
  Carver carver(aligned(memory.data()));
  for (std::size_t i = 0; i < network.header.op_count; ++i) {
    const Op op = operation(network, i);
    if (!has_weights(op)) {
      continue;
    }
    const PackedOp packed(carver, op);
    if (has_wide_table(op)) {
      const auto* entries = tensor<std::uint8_t>(network, op.table);
      *packed.has_runs = kernels.make_code_runs != nullptr &&
                         kernels.make_code_runs(entries, op.table_size, *packed.runs);
    }
    const InputBytes bytes(tensor<std::int16_t>(network, op.decode), op.decode_size);
    for (std::size_t first = 0; first < weight_rows(op); first += kPanelWidth) {
      const WeightPanel panel(carver, op);
      fill_weight_panel(network, op, bytes, first, kernels, offsets, sums, panel);
    }
  }
}

}  // namespace bitlog2::runtime
