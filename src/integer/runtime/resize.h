// An image becomes a model's crop: Pillow's resize and the centre crop of torchvision or
// transformers, in integers, with the bytes that bitlog2::resize_and_crop gives.
#pragma once

#include <cstddef>
#include <cstdint>

#include "network.h"
#include "resized_side.h"

namespace bitlog2::runtime {

/// The largest `resize` and `crop` of an ImageCrop, and the largest side of an image; the smallest
/// is 1.
inline constexpr std::uint32_t kLargestSide = 1 << 16;

/// Bytes of working memory that resize_and_crop() needs, alignment included; 0 if an argument is
/// out of range.
std::size_t crop_memory(const ImageCrop& how, std::size_t width, std::size_t height);

/// `rgb` [height, width, 3], rows `stride` bytes apart, to `crop` [crop, crop, 3]. Returns
/// Status::wrong_size if an argument is out of range, and Status::small_arena for too little
/// memory.
Status resize_and_crop(const ImageCrop& how, const std::uint8_t* rgb, std::size_t width,
                       std::size_t height, std::size_t stride, std::span<std::byte> memory,
                       std::uint8_t* crop);

}  // namespace bitlog2::runtime
