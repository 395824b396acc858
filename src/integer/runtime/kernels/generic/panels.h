// Packing of codes into panels, and sums of rows.
#pragma once

#include "../kernels.h"
#include "lanes.h"

namespace bitlog2::runtime {
namespace {

/// `count` bytes of kBytes, which are the whole of them.
inline AllBytes which_bytes(std::true_type, std::size_t) {
  return {};
}
inline FirstBytes which_bytes(std::false_type, std::size_t count) {
  return FirstBytes(count);
}

/// kValues channels from c on by kBytes of depth from k on, or what there is of both if they are
/// not Whole; returns `sums` of the channels with theirs added.
template <bool Whole, bool Nibbles>
[[gnu::always_inline]] inline I32 pack_block(const Codes& codes, std::size_t c,
                                             std::size_t channels, std::size_t k,
                                             const std::int32_t* offsets, const Panel& panel,
                                             I32 sums) {
  const std::size_t depth = Whole || panel.depth - k >= kBytes ? kBytes : panel.depth - k;
  const auto which = which_bytes(std::bool_constant<Whole>(), depth);
  U8 rows[kValues];
  for (std::size_t i = 0; i < kValues; ++i) {
    rows[i] = U8::all(0);
    if (Whole || c + i < channels) {
      const std::uint8_t* row = codes.first + (c + i) * codes.stride;
      const U8 values = Nibbles ? which.load_nibbles_from(row + k / 2) : which.load_from(row + k);
      rows[i] = which.keep(values - U8::all(static_cast<unsigned>(offsets[c + i])));
    }
  }
  transpose(rows);
  for (std::size_t i = 0; i < (depth + kDepthStep - 1) / kDepthStep; ++i) {
    rows[i].store(panel.values + ((k / kDepthStep + i) * panel.width + c) * kDepthStep);
    sums = rows[i].add_fours_to(sums);
  }
  return sums;
}

/// A function of its own, so that it does not spill registers of the loop over whole parts.
template <bool Nibbles>
[[gnu::noinline]] I32 pack_edge(const Codes& codes, std::size_t c, std::size_t channels,
                                std::size_t k, const std::int32_t* offsets, const Panel& panel,
                                I32 sums) {
  return pack_block<false, Nibbles>(codes, c, channels, k, offsets, panel, sums);
}

template <bool Nibbles>
inline void pack_rows_of(const Codes& codes, std::size_t channels, const std::int32_t* offsets,
                         const Panel& panel, std::int32_t* sums) {
  for (std::size_t c = 0; c < panel.width; c += kValues) {
    I32 totals = I32::all(0);
    std::size_t k = 0;
    if (c + kValues <= channels) {
      for (; k + kBytes <= panel.depth; k += kBytes) {
        totals = pack_block<true, Nibbles>(codes, c, channels, k, offsets, panel, totals);
      }
    }
    for (; k < panel.depth; k += kBytes) {
      totals = pack_edge<Nibbles>(codes, c, channels, k, offsets, panel, totals);
    }
    totals.store(sums + c);
  }
}

inline void pack_rows(const Codes& codes, std::size_t channels, const std::int32_t* offsets,
                      const Panel& panel, std::int32_t* sums) {
  codes.nibbles ? pack_rows_of<true>(codes, channels, offsets, panel, sums)
                : pack_rows_of<false>(codes, channels, offsets, panel, sums);
}

/// kBytes channels from c on, or what there is of them, of the rows from the k-th on, four deep.
template <class WhichBytes>
inline void pack_four_rows(const Codes& codes, std::size_t k, std::size_t c,
                           const WhichBytes& which, U8 offset, const Panel& panel) {
  U8 rows[kDepthStep];
  for (std::size_t i = 0; i < kDepthStep; ++i) {
    rows[i] = U8::all(0);
    if (k + i < panel.depth) {
      const std::uint8_t* row = codes.first + (k + i) * codes.stride + c;
      rows[i] = which.keep(which.load_from(row) - offset);
    }
  }
  interleave(rows);
  for (std::size_t i = 0; i < kDepthStep && c + i * kValues < panel.width; ++i) {
    rows[i].store(panel.values + k * panel.width + (c + i * kValues) * kDepthStep);
  }
}

inline void pack_columns(const Codes& codes, std::size_t channels, std::int32_t offset,
                         const Panel& panel) {
  const U8 offsets = U8::all(static_cast<unsigned>(offset));
  for (std::size_t k = 0; k < panel.depth; k += kDepthStep) {
    for (std::size_t c = 0; c < panel.width; c += kBytes) {
      if (c + kBytes <= channels) {
        pack_four_rows(codes, k, c, AllBytes(), offsets, panel);
      } else {
        const FirstBytes which(c < channels ? channels - c : 0);
        pack_four_rows(codes, k, c, which, offsets, panel);
      }
    }
  }
}

inline void sum_rows(const Inputs& inputs, std::size_t rows, std::size_t count,
                     std::int32_t* sums) {
  for (std::size_t r = 0; r < rows; ++r) {
    const std::uint8_t* row = inputs.row(r);
    Sum64 sum;
    std::size_t k = 0;
    for (; k + kBytes <= count; k += kBytes) {
      U8::load(row + k).add_to(sum);
    }
    std::int64_t total = sum.total();
    if (k < count) {
      Sum64 rest;
      FirstBytes(count - k).load_from(row + k).add_to(rest);
      total += rest.total();
    }
    sums[r] = static_cast<std::int32_t>(total);
  }
}

}  // namespace
}  // namespace bitlog2::runtime
