// Weights packed into panels for the kernels, with the factors that turn sums into outputs. run()
// packs a panel when it needs it, in scratch memory; pack_weights() packs all of them once, for
// callers who have the memory.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/kernels.h"
#include "network.h"
#include "scratch.h"

namespace bitlog2::runtime {

template <class T>
const T* tensor(const Network& network, std::uint32_t offset) {
  return reinterpret_cast<const T*>(network.data + offset);
}

/// The offset that is subtracted from codes in [0, qmax] so that they fit in signed bytes: the zero
/// point, or the nearest number to it that does this.
constexpr std::int32_t signed_offset(std::int32_t qmax, std::int32_t zero) {
  const std::int32_t least = qmax > 127 ? qmax - 127 : 0;
  return zero < least ? least : zero > 128 ? 128 : zero;
}

/// The largest magnitude of codes in [0, qmax] after that.
constexpr std::int32_t signed_largest(std::int32_t qmax, std::int32_t offset) {
  return qmax - offset > offset ? qmax - offset : offset;
}

/// The decoded values of an operation's input codes, as bytes: decode[code] - smallest.
struct InputBytes {
  InputBytes(const std::int16_t* decode, std::size_t decode_size);

  /// The largest magnitude of what a code stands for.
  std::int64_t largest_value() const;

  std::size_t size;
  std::int32_t smallest;
  std::int32_t largest = 0;  // of the bytes
  bool is_identity = true;   // the bytes are the codes
  std::uint8_t table[256];
};

/// Packs the weights of an operation's outputs from `first` on, which expect `bytes` as
/// inputs, into `result`. `offsets` and `sums` have room for kPanelWidth values.
void fill_weight_panel(const Network& network, const Op& op, const InputBytes& bytes,
                       std::size_t first, const Kernels& kernels, std::int32_t* offsets,
                       std::int32_t* sums, const WeightPanel& result);

}  // namespace bitlog2::runtime
