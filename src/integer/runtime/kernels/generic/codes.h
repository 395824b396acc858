// Requantization to codes, and tables of codes.
#pragma once

#include <cstddef>
#include <cstdint>

#include "../code_lookup.h"
#include "../kernels.h"
#include "../portable.h"
#include "rescale.h"

namespace bitlog2::runtime {
namespace {

/// Each byte becomes the table's entry for it.
inline U8 look_up(const CodeLookup& lookup, U8 bytes) {
  U8 values = U8::all(0);
  for (std::size_t part = 0; part < lookup.parts; ++part) {
    // 0 where the byte is of another part.
    const U8 first = U8::all(static_cast<unsigned>(part * CodeLookup::kPart));
    values = values | U8::look_up_16(lookup.entries[part], bytes - first);
  }
  return values;
}

inline void decode(const CodeLookup& lookup, const std::uint8_t* codes, std::size_t count,
                   std::uint8_t* inputs) {
  for_each_bytes(count, [&](std::size_t i, const auto& which) {
    which.store_to(inputs + i, look_up(lookup, which.load_from(codes + i)));
  });
}

inline void decode(const std::uint8_t* codes, std::size_t count, const std::uint8_t* table,
                   std::size_t size, std::uint8_t* inputs) {
  if (size > kMostLookUps * CodeLookup::kPart) {
    return portable::decode(codes, count, table, size, inputs);
  }
  decode(CodeLookup(table, size), codes, count, inputs);
}

/// Registers of kValues channels from c on, the rest of kBytes filled up with zeros.
template <std::size_t Registers, class Way, class ToBytes, class WhichBytes>
[[gnu::always_inline]] inline void rescale_registers_to_codes(
    const Rescale& how, const Way& way, const ToBytes& to_bytes, const Sums& sums, std::size_t c,
    const WhichBytes& which, std::uint8_t* codes, std::size_t stride) {
  const RescaleLanes lanes[4] = {{how, c},
                                 {how, c + (Registers > 1 ? kValues : 0)},
                                 {how, c + (Registers > 2 ? 2 * kValues : 0)},
                                 {how, c + (Registers > 3 ? 3 * kValues : 0)}};
  const U16 largest = U16::all(how.high);
  const Sums own = sums;  // as stores of bytes may change what the caller's says
  const std::int32_t* row = own.values + c;
  codes += c;
  for (std::size_t r = 0; r < own.rows; ++r, row += own.stride, codes += stride) {
    I32 values[4];
#pragma GCC unroll 4
    for (std::size_t i = 0; i < 4; ++i) {
      values[i] = i < Registers ? way.as_int32(lanes[i], row + i * kValues, own, r) : I32::all(0);
    }
    // Packing clamps to [0, 65535].
    which.store_to(codes, to_bytes(U16::pack(values).min(largest)).in_order());
  }
}

/// codes[r * stride + c] = what `to_bytes` makes of U16 values in [0, how.high].
template <class ToBytes>
inline void rescale_to_codes_by(const ToBytes& to_bytes, const Rescale& how, const Sums& sums,
                                std::uint8_t* codes, std::size_t stride) {
  choose_rescaling(how, [&](const auto& way) {
    std::size_t c = 0;
    for (; c + kBytes <= sums.channels; c += kBytes) {
      rescale_registers_to_codes<4>(how, way, to_bytes, sums, c, AllBytes(), codes, stride);
    }
    const FirstBytes rest(sums.channels - c);
    switch ((sums.width() - c) / kValues) {
      case 4:
        return rescale_registers_to_codes<4>(how, way, to_bytes, sums, c, rest, codes, stride);
      case 3:
        return rescale_registers_to_codes<3>(how, way, to_bytes, sums, c, rest, codes, stride);
      case 2:
        return rescale_registers_to_codes<2>(how, way, to_bytes, sums, c, rest, codes, stride);
      case 1:
        return rescale_registers_to_codes<1>(how, way, to_bytes, sums, c, rest, codes, stride);
      default:
        return;
    }
  });
}

inline void rescale_to_codes(const Rescale& how, const Sums& sums, const CodeTable& table,
                             std::uint8_t* codes, std::size_t stride) {
  if (table.entries != nullptr && table.size > CodeLookup::kMost) {
    rescale(how, sums);
    return portable::store_codes(sums, table, codes, stride);
  }
  rescale_to_codes_by([](U16 values) { return values.packed(); }, how, sums, codes, stride);
  if (table.entries != nullptr) {
    for (std::size_t r = 0; r < sums.rows; ++r) {
      decode(codes + r * stride, sums.channels, table.entries, table.size, codes + r * stride);
    }
  }
}

}  // namespace
}  // namespace bitlog2::runtime
