// An image becomes a model's crop: Pillow's bicubic resize and torchvision's centre crop, in
// integers, with the bytes that bitlog2::resize_and_crop gives.
#pragma once

#include <cstddef>
#include <cstdint>

#include "network.h"

namespace bitlog2::runtime {

/// The shorter side becomes `resize` pixels; the crop has `crop` pixels a side. Both from 1 to
/// kLargestSide.
struct CropSize {
  std::uint32_t resize;
  std::uint32_t crop;
};

inline constexpr std::uint32_t kLargestSide = 1 << 16;

/// Bytes of working memory that resize_and_crop() needs, alignment included; 0 for sizes out of
/// range.
std::size_t crop_memory(const CropSize& size, std::size_t width, std::size_t height);

/// `rgb` [height, width, 3], rows `stride` bytes apart, to `crop` [crop, crop, 3]. Returns
/// Status::wrong_size for sizes out of range and Status::small_arena for too little memory.
Status resize_and_crop(const CropSize& size, const std::uint8_t* rgb, std::size_t width,
                       std::size_t height, std::size_t stride, std::span<std::byte> memory,
                       std::uint8_t* crop);

}  // namespace bitlog2::runtime
