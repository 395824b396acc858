#include "resize.h"

#include "binary64.h"
#include "scratch.h"

namespace bitlog2::runtime {
namespace {

constexpr std::size_t kChannels = 3;
using Side = ResizedSide<Binary64>;

/// The resize's working memory. Rows that are filtered horizontally wait in a ring until the
/// last output row that sums them is made.
struct CropMemory {
  CropMemory(std::byte* memory, const Side& columns, const Side& rows)
      : carver(memory),
        row_bytes(columns.shown() * kChannels),
        ring_rows(rows.most_inputs()),
        exact(carver.take<Binary64>(columns.most_inputs() > ring_rows ? columns.most_inputs()
                                                                      : ring_rows)),
        inputs(carver.take<InputRun>(columns.shown())),
        weights(carver.take<std::int32_t>(columns.shown() * columns.most_inputs())),
        row_weights(carver.take<std::int32_t>(ring_rows)),
        ring(carver.take<std::uint8_t>(ring_rows * row_bytes)),
        sums(carver.take<std::int32_t>(row_bytes)) {}

  std::uint8_t* ring_row(std::size_t row) const { return ring + row % ring_rows * row_bytes; }

  Carver carver;
  std::size_t row_bytes;
  std::size_t ring_rows;
  Binary64* exact;
  InputRun* inputs;       // of each column
  std::int32_t* weights;  // [columns, most inputs]
  std::int32_t* row_weights;
  std::uint8_t* ring;
  std::int32_t* sums;
};

std::uint8_t pixel_of(std::int32_t sum) {
  const std::int32_t value = sum >> kWeightBits;
  return static_cast<std::uint8_t>(value < 0 ? 0 : value > 255 ? 255 : value);
}

constexpr std::int32_t kRounding = 1 << (kWeightBits - 1);

void filter_row(const Side& columns, const CropMemory& memory, const std::uint8_t* input,
                std::uint8_t* output) {
  for (std::size_t x = 0; x < columns.shown(); ++x) {
    const InputRun inputs = memory.inputs[x];
    const std::int32_t* weights = memory.weights + x * columns.most_inputs();
    const std::uint8_t* pixel = input + inputs.first * kChannels;
    std::int32_t sums[kChannels] = {kRounding, kRounding, kRounding};
    for (std::size_t i = 0; i < inputs.count; ++i) {
      for (std::int32_t& sum : sums) {
        sum += *pixel++ * weights[i];
      }
    }
    for (const std::int32_t sum : sums) {
      *output++ = pixel_of(sum);
    }
  }
}

void sum_rows(const CropMemory& memory, const InputRun& inputs, std::uint8_t* output) {
  for (std::size_t i = 0; i < memory.row_bytes; ++i) {
    memory.sums[i] = kRounding;
  }
  for (std::size_t row = 0; row < inputs.count; ++row) {
    const std::uint8_t* values = memory.ring_row(inputs.first + row);
    const std::int32_t weight = memory.row_weights[row];
    for (std::size_t i = 0; i < memory.row_bytes; ++i) {
      memory.sums[i] += values[i] * weight;
    }
  }
  for (std::size_t i = 0; i < memory.row_bytes; ++i) {
    output[i] = pixel_of(memory.sums[i]);
  }
}

bool in_range(const ImageCrop& how, std::size_t width, std::size_t height) {
  const auto is_side = [](std::size_t side) { return side >= 1 && side <= kLargestSide; };
  return is_side(how.resize) && is_side(how.crop) && is_side(width) && is_side(height) &&
         how.filter <= Filter::lanczos && how.mode <= ResizeMode::squash &&
         how.rounding <= CropRounding::transformers;
}

Side side_of(const ImageCrop& how, std::size_t length, std::size_t shorter) {
  return {length, how.resized(length, shorter), how};
}

}  // namespace

std::size_t crop_memory(const ImageCrop& how, std::size_t width, std::size_t height) {
  if (!in_range(how, width, height)) {
    return 0;
  }
  const std::size_t shorter = width < height ? width : height;
  return kAlignment +
         CropMemory(nullptr, side_of(how, width, shorter), side_of(how, height, shorter))
             .carver.used();
}

Status resize_and_crop(const ImageCrop& how, const std::uint8_t* rgb, std::size_t width,
                       std::size_t height, std::size_t stride, std::span<std::byte> memory,
                       std::uint8_t* crop) {
  if (!in_range(how, width, height) || stride < width * kChannels) {
    return Status::wrong_size;
  }
  if (memory.size() < crop_memory(how, width, height)) {
    return Status::small_arena;
  }
  const std::size_t shorter = width < height ? width : height;
  Side columns = side_of(how, width, shorter);
  Side rows = side_of(how, height, shorter);
  const CropMemory work(aligned(memory.data()), columns, rows);
  for (std::size_t x = 0; x < columns.shown(); ++x) {
    work.inputs[x] = columns.next(work.exact, work.weights + x * columns.most_inputs());
  }
  const std::size_t crop_stride = how.crop * kChannels;
  __builtin_memset(crop, 0, how.crop * crop_stride);
  std::size_t filtered = 0;  // input rows so far
  for (std::size_t y = 0; y < rows.shown(); ++y) {
    const InputRun inputs = rows.next(work.exact, work.row_weights);
    filtered = filtered < inputs.first ? inputs.first : filtered;
    for (; filtered < inputs.first + inputs.count; ++filtered) {
      filter_row(columns, work, rgb + filtered * stride, work.ring_row(filtered));
    }
    sum_rows(work, inputs,
             crop + (rows.padding() + y) * crop_stride + columns.padding() * kChannels);
  }
  return Status::ok;
}

}  // namespace bitlog2::runtime
