#include "metadata.h"

#include <type_traits>

#include "binary64.h"
#include "json.h"

namespace bitlog2::runtime {
namespace {

/// Calls `use` with a reader of the JSON text in a string of the metadata.
template <class Use>
bool with_metadata(std::span<const std::byte> json, const char* key, Use use) {
  Bytes bytes(json);
  JsonReader reader(bytes);
  if (!reader.find("__metadata__") || !reader.find(key) || !reader.take_if('"')) {
    return false;
  }
  StringBytes text(reader);
  JsonReader inner(text);
  return use(inner);
}

using Decimal = JsonReader<Bytes>::Decimal;

constexpr std::uint64_t power_of_ten(int exponent) {
  std::uint64_t power = 1;
  for (int i = 0; i < exponent; ++i) {
    power *= 10;
  }
  return power;
}

/// Rounded. False if the magnitude is a thousand or more.
bool to_millionths(const Decimal& number, std::int32_t& result) {
  std::uint64_t digits = number.digits;
  int exponent = number.exponent + 6;
  while (exponent < -1 && digits != 0) {
    digits /= 10;
    ++exponent;
  }
  if (exponent < 0 && digits != 0) {
    digits = (digits + 5) / 10;
    exponent = 0;
  }
  constexpr std::uint64_t kLimit = 1'000'000'000;
  for (; exponent > 0 && digits != 0 && digits < kLimit; --exponent) {
    digits *= 10;
  }
  if (digits >= kLimit) {
    return false;
  }
  const auto magnitude = static_cast<std::int32_t>(digits);
  result = number.negative ? -magnitude : magnitude;
  return true;
}

/// floor(crop / share), as of numbers of 64 bits: the size of the shorter side after the resize.
bool resize_of(std::uint32_t crop, const Decimal& share, std::uint32_t& resize) {
  if (share.negative || share.digits == 0 || share.exponent > 0 || share.exponent < -19) {
    return false;
  }
  const Binary64 real = Binary64::ratio(share.digits, power_of_ten(-share.exponent));
  if (real < Binary64::ratio(1, 10) || Binary64::integer(1) < real) {
    return false;
  }
  resize = static_cast<std::uint32_t>((Binary64::integer(crop) / real).truncated());
  return true;
}

/// Three numbers, if the config has them.
bool read_channels(std::span<const std::byte> json, const char* key, std::int32_t* values) {
  bool valid = true;
  with_metadata(json, "config", [&](auto& config) {
    if (!config.find(key)) {
      return false;
    }
    typename std::remove_reference_t<decltype(config)>::Decimal number;
    for (std::size_t i = 0; i < 3; ++i) {
      valid = valid && config.take_if(i == 0 ? '[' : ',') && config.take_number(number) &&
              to_millionths({number.digits, number.exponent, number.negative}, values[i]);
    }
    return valid;
  });
  return valid;
}

// In the orders of Filter, ResizeMode and CropRounding.
constexpr const char* kFilters[] = {"bicubic", "nearest", "box", "bilinear", "hamming", "lanczos"};
constexpr const char* kResizeModes[] = {"shorter", "squash"};
constexpr const char* kCropRoundings[] = {"torchvision", "transformers"};

/// The place of the key's text among `names`, if the config has the key.
bool read_choice(std::span<const std::byte> json, const char* key,
                 std::span<const char* const> names, std::uint32_t& choice) {
  bool has_key = false;
  for (std::uint32_t i = 0; i < names.size(); ++i) {
    const bool is_name = with_metadata(json, "config", [&](auto& config) {
      has_key = config.find(key);
      return has_key && config.take_string(names[i]);
    });
    if (is_name) {
      choice = i;
      return true;
    }
  }
  return !has_key;
}

}  // namespace

std::span<const std::byte> json_of(std::span<const std::byte> file) {
  constexpr std::size_t kLengthBytes = 8;
  std::uint64_t size = 0;
  for (std::size_t i = 0; i < kLengthBytes; ++i) {
    size |= static_cast<std::uint64_t>(file[i]) << (8 * i);
  }
  return file.subspan(kLengthBytes, static_cast<std::size_t>(size));
}

std::size_t read_class_name(std::span<const std::byte> json, std::size_t index, char* name,
                            std::size_t capacity) {
  std::size_t length = 0;
  const bool found = with_metadata(json, "class_names", [&](auto& names) {
    if (!names.find_element(index) || !names.take_if('"')) {
      return false;
    }
    StringBytes string(names);
    for (int c = string.take(); c != kEnd; c = string.take()) {
      if (length + 1 < capacity) {
        name[length] = static_cast<char>(c);
      }
      ++length;
    }
    return string.close();
  });
  if (capacity > 0) {
    name[!found ? 0 : length < capacity ? length : capacity - 1] = '\0';
  }
  return found ? length : kNoName;
}

bool read_preparation(std::span<const std::byte> json, std::uint32_t image_size,
                      ImagePreparation& preparation) {
  // The default of crop_pct.
  constexpr Decimal kCropShare = {875, -3, false};
  ImagePreparation result = {
      {.resize = 0, .crop = image_size}, {485000, 456000, 406000}, {229000, 224000, 225000}};
  Decimal share = kCropShare;
  bool valid = true;
  const bool has_config = with_metadata(json, "config", [&](auto& config) {
    typename std::remove_reference_t<decltype(config)>::Decimal number;
    if (config.find("crop_pct")) {
      valid = config.take_number(number);
      share = {number.digits, number.exponent, number.negative};
    }
    return true;
  });
  std::uint32_t filter = 0;
  std::uint32_t mode = 0;
  std::uint32_t rounding = 0;
  if (!has_config || !valid || !resize_of(image_size, share, result.crop.resize) ||
      !read_channels(json, "mean", result.mean_millionths) ||
      !read_channels(json, "std", result.std_millionths) ||
      !read_choice(json, "interpolation", kFilters, filter) ||
      !read_choice(json, "resize_mode", kResizeModes, mode) ||
      !read_choice(json, "crop_rounding", kCropRoundings, rounding)) {
    return false;
  }
  result.crop.filter = static_cast<Filter>(filter);
  result.crop.mode = static_cast<ResizeMode>(mode);
  result.crop.rounding = static_cast<CropRounding>(rounding);
  preparation = result;
  return true;
}

}  // namespace bitlog2::runtime
