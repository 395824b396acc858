// Tensors of any file: their dtypes, and their values as float32.
#include "bitlog2/tensors.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include "bitlog2/error.h"
#include "io/dtypes.h"

namespace bitlog2 {
namespace {

static_assert(std::endian::native == std::endian::little,
              "tensors' data is little-endian and is used in place");

constexpr std::array kDTypes = {
    DTypeEntry{DType::f32, "F32", 32},
    DTypeEntry{DType::f16, "F16", 16},
    DTypeEntry{DType::bf16, "BF16", 16},
    DTypeEntry{DType::f64, "F64", 64},
    DTypeEntry{DType::u8, "U8", 8, true},
    DTypeEntry{DType::i8, "I8", 8, true},
    DTypeEntry{DType::i16, "I16", 16},
    DTypeEntry{DType::i32, "I32", 32, true},
    DTypeEntry{DType::i64, "I64", 64},
    // The format's other dtypes, which may stand in a file but are never read.
    DTypeEntry{DType::other, "BOOL", 8},
    DTypeEntry{DType::other, "U16", 16},
    DTypeEntry{DType::other, "U32", 32, true},
    DTypeEntry{DType::other, "U64", 64},
    DTypeEntry{DType::other, "C64", 64},
    DTypeEntry{DType::other, "F8_E4M3", 8, true},
    DTypeEntry{DType::other, "F8_E5M2", 8, true},
    DTypeEntry{DType::other, "F8_E4M3FNUZ", 8, true},
    DTypeEntry{DType::other, "F8_E5M2FNUZ", 8, true},
    DTypeEntry{DType::other, "F8_E8M0", 8, true},
    DTypeEntry{DType::other, "F6_E2M3", 6, true},
    DTypeEntry{DType::other, "F6_E3M2", 6, true},
    DTypeEntry{DType::other, "F4", 4, true},
};

/// Why a tensor's values are no weights, and what to do.
std::string refusal_of_dtype(const TensorView& view) {
  const DTypeEntry* dtype = find_dtype(view.dtype_name);
  return fmt::format("is {}{}; weights must be F32, F16, BF16 or F64{}",
                     dtype == nullptr ? "of the unknown dtype " : "", view.dtype_name,
                     dtype != nullptr && dtype->codes
                         ? "; it holds quantized codes: give the float checkpoint"
                         : "");
}

template <class Stored>
Stored stored_at(std::span<const std::byte> bytes, std::size_t index) {
  Stored stored;
  std::memcpy(&stored, bytes.data() + index * sizeof(Stored), sizeof(Stored));
  return stored;
}

template <class Stored, class Convert>
void convert(std::span<const std::byte> bytes, std::span<float> values, Convert to_float) {
  for (std::size_t i = 0; i < values.size(); ++i) {
    values[i] = to_float(stored_at<Stored>(bytes, i));
  }
}

bool is_float(DType dtype) {
  return dtype == DType::f32 || dtype == DType::f16 || dtype == DType::bf16 || dtype == DType::f64;
}

float double_to_float(double value) {
  // Beyond float32's range the conversion is undefined.
  constexpr double kLargest = std::numeric_limits<float>::max();
  return std::abs(value) > kLargest ? std::numeric_limits<float>::infinity()
                                    : static_cast<float>(value);
}

void to_floats(const TensorView& view, std::span<float> values) {
  switch (view.dtype) {
    case DType::f16:
      return convert<std::uint16_t>(view.bytes, values, half_to_float);
    case DType::bf16:
      return convert<std::uint16_t>(view.bytes, values, [](std::uint16_t stored) {
        return std::bit_cast<float>(static_cast<std::uint32_t>(stored) << 16);
      });
    case DType::f64:
      return convert<double>(view.bytes, values, double_to_float);
    default:
      if (!values.empty()) {
        std::memcpy(values.data(), view.bytes.data(), view.bytes.size());
      }
  }
}

/// What is wrong with the value at `index`, which as float32 is not finite.
std::string complaint_about(const TensorView& view, std::size_t index, float value) {
  if (view.dtype == DType::f64 && std::isfinite(stored_at<double>(view.bytes, index))) {
    return fmt::format("holds {} at element {}, which float32 cannot hold; scale the weights down",
                       stored_at<double>(view.bytes, index), index);
  }
  return fmt::format("holds {} at element {}; the checkpoint is damaged",
                     std::isnan(value) ? "NaN" : "infinity", index);
}

}  // namespace

const DTypeEntry* find_dtype(std::string_view name) {
  const auto* found = std::ranges::find(kDTypes, name, &DTypeEntry::name);
  return found == kDTypes.end() ? nullptr : found;
}

std::string_view dtype_name(DType dtype) {
  const auto* found = std::ranges::find(kDTypes, dtype, &DTypeEntry::dtype);
  return found == kDTypes.end() || dtype == DType::other ? "?" : found->name;
}

float half_to_float(std::uint16_t half) {
  const std::uint32_t sign = static_cast<std::uint32_t>(half & 0x8000U) << 16;
  const std::uint32_t exponent = (half >> 10) & 0x1FU;
  const std::uint32_t fraction = half & 0x3FFU;
  if (exponent == 0) {  // zero or subnormal: fraction * 2^-24
    const float magnitude = static_cast<float>(fraction) * 0x1p-24F;
    return std::bit_cast<float>(std::bit_cast<std::uint32_t>(magnitude) | sign);
  }
  const std::uint32_t wide_exponent = exponent == 31 ? 255 : exponent + 112;
  return std::bit_cast<float>(sign | wide_exponent << 23 | fraction << 13);
}

const TensorView* TensorFile::find(const std::string& tensor) const {
  const auto found = content_.tensors.find(tensor);
  return found == content_.tensors.end() ? nullptr : &found->second;
}

const TensorView& TensorFile::at(const std::string& tensor) const {
  const TensorView* view = find(tensor);
  if (view == nullptr) {
    throw Error(fmt::format("{}: tensor '{}' is missing", name(), tensor));
  }
  return *view;
}

std::vector<float> TensorFile::read_floats(const std::string& tensor) const {
  const TensorView& view = at(tensor);
  if (!is_float(view.dtype)) {
    throw Error(fmt::format("{}: tensor '{}' {}", name(), tensor, refusal_of_dtype(view)));
  }
  // element_count is backed by bytes that exist: it cannot be larger than the file.
  std::vector<float> values(static_cast<std::size_t>(view.element_count));
  to_floats(view, values);
  const auto bad =
      std::find_if(values.begin(), values.end(), [](float value) { return !std::isfinite(value); });
  if (bad != values.end()) {
    throw Error(
        fmt::format("{}: tensor '{}' {}", name(), tensor,
                    complaint_about(view, static_cast<std::size_t>(bad - values.begin()), *bad)));
  }
  return values;
}

}  // namespace bitlog2
