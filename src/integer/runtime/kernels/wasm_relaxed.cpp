// WebAssembly with relaxed vectors, which have products of signed bytes and bytes of 7 bits.
// Engines differ only where a byte of 7 bits has the 8th bit set. So this table uses these products
// where all codes allow it, and has the same bits in every engine. All other products, and all
// other kernels, are those of wasm_simd128.cpp. For WebAssembly modules that are built for it as a
// whole (built_for.h).
#if defined(__wasm_relaxed_simd__)

#include "simd/wasm.h"
#include "target_region.h"
// Written once, over these vectors.
#include "generic/attend_values.h"
#include "generic/divide.h"

namespace bitlog2::runtime {

const Kernels& wasm_simd128_kernels();
const Kernels& wasm_relaxed_kernels();

namespace {

constexpr std::int32_t kLargest7Bits = 127;
constexpr std::int32_t kLargest16Bits = 32767;

/// Adds up pairs of products in 16 bits.
struct Pairs {
  static v128_t add(v128_t totals, v128_t signed_bytes, v128_t bytes_of_7_bits) {
    return wasm_i16x8_add(totals,
                          wasm_i16x8_relaxed_dot_i8x16_i7x16(signed_bytes, bytes_of_7_bits));
  }
  static v128_t sums(v128_t totals) { return wasm_i32x4_extadd_pairwise_i16x8(totals); }
};

/// Adds up four products at a time in 32 bits.
struct Fours {
  static v128_t add(v128_t totals, v128_t signed_bytes, v128_t bytes_of_7_bits) {
    return wasm_i32x4_relaxed_dot_i8x16_i7x16_add(signed_bytes, bytes_of_7_bits, totals);
  }
  static v128_t sums(v128_t totals) { return totals; }
};

/// Whether the engine makes one instruction of Fours::add, as it does for AVX-VNNI and Arm. Else it
/// makes several, and Pairs is faster. It is seen by a product that is not used for anything else:
/// only where pairs are instructions of their own, they saturate in 16 bits.
bool fours_are_fast() {
  volatile std::int8_t signed_byte = 127;
  volatile std::int8_t other_byte = -1;
  const v128_t sums =
      Fours::add(wasm_i32x4_splat(0), wasm_i8x16_splat(signed_byte), wasm_i8x16_splat(other_byte));
  return wasm_i32x4_extract_lane(sums, 0) != 2 * kLargest16Bits;
}

/// The inputs are of 7 bits.
struct SmallInputs {
  template <class Products>
  v128_t add(v128_t totals, v128_t inputs, v128_t values) const {
    return Products::add(totals, values, inputs);
  }
};

/// The signed bytes that are 128 less than bytes.
v128_t less_128(v128_t bytes) {
  return wasm_v128_xor(bytes, wasm_u8x16_splat(128));
}

/// No magnitude of a value v is above `largest`, at most 63. v + largest has 7 bits, and u - 128 is
/// signed:
///   sum v u = sum (v + largest) (u - 128) + 128 sum v - largest sum (u - 128)
struct SmallValues {
  template <class Products>
  v128_t add(v128_t totals, v128_t inputs, v128_t values) const {
    return Products::add(totals, less_128(inputs), wasm_i8x16_add(values, largest));
  }

  v128_t largest;
};

constexpr std::size_t kRows = 4;
constexpr std::size_t kColumns = 2;  // registers of channels

/// kRows rows by kColumns registers of channels from c on. Products are added up for steps_at_once
/// steps before they are added to sums.
template <class Products, class Factors>
void multiply_tile(const Inputs& inputs, std::size_t r, const Panel& panel, std::size_t c,
                   const Factors& factors, std::size_t steps_at_once, std::int32_t* sums,
                   std::size_t stride) {
  const std::uint8_t* first = inputs.row(r);
  const std::int8_t* values = panel.values + c * kDepthStep;
  const std::size_t steps = panel.steps();
  for (std::size_t begin = 0; begin < steps; begin += steps_at_once) {
    const std::size_t end = begin + steps_at_once < steps ? begin + steps_at_once : steps;
    // Every loop over totals is unrolled, or they would not stay in registers.
    v128_t totals[kRows][kColumns];
#pragma GCC unroll 4
    for (std::size_t i = 0; i < kRows; ++i) {
#pragma GCC unroll 4
      for (std::size_t j = 0; j < kColumns; ++j) {
        totals[i][j] = wasm_i32x4_splat(0);
      }
    }
    for (std::size_t step = begin; step < end; ++step) {
#pragma GCC unroll 4
      for (std::size_t i = 0; i < kRows; ++i) {
        const v128_t four = wasm_v128_load32_splat(first + i * inputs.stride + step * kDepthStep);
#pragma GCC unroll 4
        for (std::size_t j = 0; j < kColumns; ++j) {
          totals[i][j] = factors.template add<Products>(totals[i][j], four,
                                                        wasm_v128_load(values + j * kBytes));
        }
      }
      values += panel.width * kDepthStep;
    }
    const v128_t has_sums = wasm_i32x4_splat(begin == 0 ? 0 : -1);
#pragma GCC unroll 4
    for (std::size_t i = 0; i < kRows; ++i) {
#pragma GCC unroll 4
      for (std::size_t j = 0; j < kColumns; ++j) {
        std::int32_t* target = sums + (r + i) * stride + c + j * kValues;
        const v128_t before = wasm_v128_and(wasm_v128_load(target), has_sums);
        wasm_v128_store(target, wasm_i32x4_add(before, Products::sums(totals[i][j])));
      }
    }
  }
}

/// At least kRows rows. The last ones are multiplied twice where rows are no multiple of kRows.
template <class Products, class Factors>
void multiply_tiles(const Inputs& inputs, std::size_t rows, const Panel& panel,
                    const Factors& factors, std::size_t steps_at_once, std::int32_t* sums,
                    std::size_t stride) {
  for (std::size_t c = 0; c < panel.width; c += kColumns * kValues) {
    for (std::size_t r = 0; r < rows; r += kRows) {
      const std::size_t first = r + kRows <= rows ? r : rows - kRows;
      multiply_tile<Products>(inputs, first, panel, c, factors, steps_at_once, sums, stride);
    }
  }
}

/// `largest_pair`: no sum of two products is above it.
template <class Factors>
void multiply_by(const Inputs& inputs, std::size_t rows, const Panel& panel, const Factors& factors,
                 std::int32_t largest_pair, std::int32_t* sums, std::size_t stride) {
  if (fours_are_fast()) {
    return multiply_tiles<Fours>(inputs, rows, panel, factors, panel.steps(), sums, stride);
  }
  const std::int32_t steps = kLargest16Bits / (largest_pair > 0 ? largest_pair : 1);
  multiply_tiles<Pairs>(inputs, rows, panel, factors, static_cast<std::size_t>(steps), sums,
                        stride);
}

/// sums += 128 sum v - largest sum (u - 128), for the products of SmallValues. What an input is
/// behind the end of its row does not matter, since it is the same here and there.
void correct(const Inputs& inputs, std::size_t rows, const Panel& panel, std::int32_t* sums,
             std::size_t stride) {
  I32 of_channels[kPanelWidth / kValues];
  for (std::size_t c = 0; c < panel.width; c += kValues) {
    I32 sum = I32::all(0);
    for (std::size_t step = 0; step < panel.steps(); ++step) {
      sum = U8::load(panel.values + (step * panel.width + c) * kDepthStep).add_fours_to(sum);
    }
    of_channels[c / kValues] = {wasm_i32x4_shl(sum.v, 7)};
  }
  for (std::size_t r = 0; r < rows; ++r) {
    I32 sum = I32::all(0);
    for (std::size_t step = 0; step < panel.steps(); ++step) {
      const v128_t four = wasm_v128_load32_splat(inputs.row(r) + step * kDepthStep);
      sum = U8{less_128(four)}.add_fours_to(sum);
    }
    const I32 of_row = sum * I32::all(panel.largest);
    for (std::size_t c = 0; c < panel.width; c += kValues) {
      std::int32_t* target = sums + r * stride + c;
      (I32::load(target) + of_channels[c / kValues] - of_row).store(target);
    }
  }
}

void multiply(const Inputs& inputs, std::size_t rows, const Panel& panel, std::int32_t* sums,
              std::size_t stride) {
  if (rows < kRows) {
    wasm_simd128_kernels().multiply(inputs, rows, panel, sums, stride);
  } else if (inputs.largest <= kLargest7Bits) {
    const std::int32_t largest_pair = 2 * inputs.largest * panel.largest;
    multiply_by(inputs, rows, panel, SmallInputs(), largest_pair, sums, stride);
  } else if (2 * panel.largest <= kLargest7Bits) {
    const SmallValues factors = {wasm_i8x16_splat(static_cast<std::int8_t>(panel.largest))};
    multiply_by(inputs, rows, panel, factors, 2 * 128 * (2 * panel.largest), sums, stride);
    correct(inputs, rows, panel, sums, stride);
  } else {
    wasm_simd128_kernels().multiply(inputs, rows, panel, sums, stride);
  }
}

}  // namespace

const Kernels& wasm_relaxed_kernels() {
  static const Kernels kernels = [] {
    Kernels own = wasm_simd128_kernels();
    own.name = "wasm_relaxed";
    own.multiply = multiply;
    own.attend_values = attend_values<DivideInLanes>;
    return own;
  }();
  return kernels;
}

}  // namespace bitlog2::runtime

#endif
