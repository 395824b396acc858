// Reads the class names and the preprocessing from a file's JSON part, in place and without a heap.
// open() has not checked that part: whatever the bytes are, reading stays inside them, and
// malformed data counts as absent.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "resize.h"

namespace bitlog2::runtime {

/// The JSON part of an opened file: safetensors' header.
std::span<const std::byte> json_of(std::span<const std::byte> file);

/// The name of a class as UTF-8, from the metadata's class_names. Writes at most `capacity`
/// bytes, the terminating 0 included (none at all if it is 0), and returns the whole name's
/// length without it. kNoName: the file has no such name.
std::size_t read_class_name(std::span<const std::byte> json, std::size_t index, char* name,
                            std::size_t capacity);

inline constexpr std::size_t kNoName = ~std::size_t{0};

/// How the metadata's config wants images prepared.
struct ImagePreparation {
  ImageCrop crop;
  std::int32_t mean_millionths[3];  // of channels in [0, 1]
  std::int32_t std_millionths[3];
};

/// Returns false if there is no config, or if it has numbers out of range or unknown choices.
/// `image_size` is the header's.
bool read_preparation(std::span<const std::byte> json, std::uint32_t image_size,
                      ImagePreparation& preparation);

}  // namespace bitlog2::runtime
