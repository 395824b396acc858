#include "images.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <iterator>
#include <span>
#include <utility>

#include "bitlog2/error.h"

namespace bitlog2::python {
namespace {

namespace nb = nanobind;

/// An array in words, such as "uint8 [2, 224, 224, 3]".
std::string description(const AnyArray& array) {
  constexpr std::array<const char*, 7> kKinds = {"int",    "uint",    "float", "opaque",
                                                 "bfloat", "complex", "bool"};
  const nb::dlpack::dtype type = array.dtype();
  const std::string kind = type.code < kKinds.size() ? kKinds[type.code] : "dtype";
  std::vector<std::size_t> shape;
  for (std::size_t i = 0; i < array.ndim(); ++i) {
    shape.push_back(array.shape(i));
  }
  return fmt::format("{}{} {}", kind, kind == "bool" ? "" : fmt::to_string(type.bits), shape);
}

/// Whether the last three dimensions of `array` are `expected`, with at most one before them.
bool has_shape(const AnyArray& array, const std::array<std::size_t, 3>& expected) {
  if (array.ndim() != 3 && array.ndim() != 4) {
    return false;
  }
  for (std::size_t i = 0; i < expected.size(); ++i) {
    if (array.shape(array.ndim() - 3 + i) != expected[i]) {
      return false;
    }
  }
  return true;
}

/// Calls `take(values)` with `value_at(i, j, k)` of every image of an array of images.
template <class Value, class Take>
void for_each_image(const AnyArray& array, Take take) {
  const bool batch = array.ndim() == 4;
  const std::size_t first = batch ? 1 : 0;
  const std::array<std::int64_t, 3> strides = {array.stride(first), array.stride(first + 1),
                                               array.stride(first + 2)};
  const auto* base = static_cast<const Value*>(array.data());
  const std::size_t count = batch ? array.shape(0) : 1;
  for (std::size_t n = 0; n < count; ++n) {
    const Value* image = base + (batch ? static_cast<std::int64_t>(n) * array.stride(0) : 0);
    take(image, strides);
  }
}

/// Copies pixels [height, width, 3] with any strides.
RgbImage copy_pixels(const std::uint8_t* pixels, const std::array<std::int64_t, 3>& strides,
                     std::size_t height, std::size_t width) {
  RgbImage image = {static_cast<int>(width), static_cast<int>(height), {}};
  const std::size_t row_size = 3 * width;
  image.pixels.resize(height * row_size);
  for (std::size_t y = 0; y < height; ++y) {
    const std::uint8_t* row = pixels + static_cast<std::int64_t>(y) * strides[0];
    std::uint8_t* out = image.pixels.data() + y * row_size;
    if (strides[2] == 1 && strides[1] == 3) {
      std::copy_n(row, row_size, out);
      continue;
    }
    for (std::size_t x = 0; x < width; ++x) {
      for (std::size_t c = 0; c < 3; ++c) {
        out[3 * x + c] = row[static_cast<std::int64_t>(x) * strides[1] +
                             static_cast<std::int64_t>(c) * strides[2]];
      }
    }
  }
  return image;
}

/// The pixel whose normalised value is `value`. Throws Error if there is none.
std::uint8_t denormalised(double value, std::size_t channel, const Preprocessing& preprocessing) {
  constexpr double kTolerance = 0.1;  // in steps of a pixel; the rounding of float16 is smaller
  const double pixel = 255.0 * (value * static_cast<double>(preprocessing.std[channel]) +
                                static_cast<double>(preprocessing.mean[channel]));
  const double nearest = std::round(pixel);
  if (std::isnan(value)) {
    throw Error("the array of floats holds NaN; give the pixels, uint8 [N, S, S, 3]");
  }
  if (!(nearest >= 0 && nearest <= 255 && std::abs(pixel - nearest) <= kTolerance)) {
    throw Error(fmt::format(
        "the array holds {:.6g} in channel {}, which no 8-bit pixel becomes by this model's mean "
        "[{}] and std [{}]; normalise with them, or give the pixels, uint8 [N, S, S, 3]",
        value, channel, fmt::join(preprocessing.mean, ", "), fmt::join(preprocessing.std, ", ")));
  }
  return static_cast<std::uint8_t>(nearest);
}

}  // namespace

void Images::add_pixels(const AnyArray& array) {
  const auto side = static_cast<std::size_t>(preprocessing_.crop);
  for_each_image<std::uint8_t>(array, [&](const std::uint8_t* pixels, const auto& strides) {
    items_.emplace_back(Crop{copy_pixels(pixels, strides, side, side)});
  });
}

template <class Value>
void Images::add_normalised(const AnyArray& array) {
  const auto side = static_cast<std::size_t>(preprocessing_.crop);
  for_each_image<Value>(array, [&](const Value* planes, const auto& strides) {
    RgbImage image = {preprocessing_.crop, preprocessing_.crop, {}};
    image.pixels.resize(3 * side * side);
    for (std::size_t c = 0; c < 3; ++c) {
      for (std::size_t y = 0; y < side; ++y) {
        for (std::size_t x = 0; x < side; ++x) {
          const Value value = planes[static_cast<std::int64_t>(c) * strides[0] +
                                     static_cast<std::int64_t>(y) * strides[1] +
                                     static_cast<std::int64_t>(x) * strides[2]];
          image.pixels[3 * (y * side + x) + c] =
              denormalised(static_cast<double>(value), c, preprocessing_);
        }
      }
    }
    items_.emplace_back(Crop{std::move(image)});
  });
}

void Images::add_crops(const AnyArray& array) {
  const auto side = static_cast<std::size_t>(preprocessing_.crop);
  if (array.ndim() > 0 && array.size() == 0) {
    throw Error(fmt::format("there are no images in an array of {}", description(array)));
  }
  if (array.dtype() == nb::dtype<std::uint8_t>() && has_shape(array, {side, side, 3})) {
    add_pixels(array);
  } else if (array.dtype() == nb::dtype<float>() && has_shape(array, {3, side, side})) {
    add_normalised<float>(array);
  } else if (array.dtype() == nb::dtype<double>() && has_shape(array, {3, side, side})) {
    add_normalised<double>(array);
  } else {
    throw Error(fmt::format(
        "an array of {0} is not what this model sees; give pixels, uint8 [N, {1}, {1}, 3], or "
        "normalised ones, float32 [N, 3, {1}, {1}]; photographs of other sizes go through "
        "preprocess()",
        description(array), side));
  }
}

void Images::add_photograph(const AnyArray& array) {
  const bool fits = array.dtype() == nb::dtype<std::uint8_t>() && array.ndim() == 3 &&
                    array.shape(2) == 3 && array.size() > 0;
  if (!fits || array.shape(0) * array.shape(1) > kMaxPixels) {
    throw Error(
        fmt::format("an array of {} is no photograph; give uint8 [height, width, 3]"
                    "{}",
                    description(array), fits ? ", fewer pixels" : ""));
  }
  for_each_image<std::uint8_t>(array, [&](const std::uint8_t* pixels, const auto& strides) {
    items_.emplace_back(Photograph{copy_pixels(pixels, strides, array.shape(0), array.shape(1))});
  });
}

void Images::add_encoded(const nb::bytes& content, std::string name) {
  items_.emplace_back(Encoded{{content.c_str(), content.size()}, std::move(name)});
}

std::size_t Images::byte_count() const {
  std::size_t bytes = 0;
  for (const auto& item : items_) {
    if (const auto* crop = std::get_if<Crop>(&item)) {
      bytes += crop->image.pixels.size();
    } else if (const auto* photograph = std::get_if<Photograph>(&item)) {
      bytes += photograph->image.pixels.size();
    } else if (const auto* encoded = std::get_if<Encoded>(&item)) {
      bytes += encoded->content.size();
    }
  }
  return bytes;
}

void Images::replace_by_crop(std::size_t index, RgbImage crop) {
  items_.at(index) = Crop{std::move(crop)};
}

void Images::take(Images& other, std::size_t count) {
  const auto end =
      other.items_.begin() + static_cast<std::ptrdiff_t>(std::min(count, other.items_.size()));
  std::move(other.items_.begin(), end, std::back_inserter(items_));
  other.items_.clear();
}

std::vector<RgbImage> Images::take_crops() {
  std::vector<RgbImage> crops;
  crops.reserve(items_.size());
  for (auto& item : items_) {
    crops.push_back(std::move(std::get<Crop>(item).image));
  }
  items_.clear();
  return crops;
}

const RgbImage& Images::crop(std::size_t index, RgbImage& made) const {
  const auto& item = items_.at(index);
  if (const auto* crop = std::get_if<Crop>(&item)) {
    return crop->image;
  }
  if (const auto* photograph = std::get_if<Photograph>(&item)) {
    made = resize_and_crop(photograph->image, preprocessing_);
  } else if (const auto* file = std::get_if<File>(&item)) {
    made = resize_and_crop(read_image(file->path), preprocessing_);
  } else {
    const auto& encoded = std::get<Encoded>(item);
    made = resize_and_crop(decode_image(std::as_bytes(std::span(encoded.content)), encoded.name),
                           preprocessing_);
  }
  return made;
}

}  // namespace bitlog2::python
