// The images that a command's arguments name.
#pragma once

#include <atomic>
#include <filesystem>
#include <string>
#include <vector>

#include "bitlog2/engine.h"
#include "bitlog2/image.h"
#include "bitlog2/load.h"

namespace bitlog2::cli {

/// Files, and those in folders, as they were named; notes on folders are told. A folder that cannot
/// be listed or is empty stands for itself: reading it says what is wrong.
std::vector<std::string> images_named(const std::vector<std::string>& arguments);

/// The image at `path`, a file or a stream, as a model takes it. Throws Error naming it, also when
/// `stop` is set before a stream ends.
RgbImage read_crop(const std::string& path, const Preprocessing& preprocessing,
                   const std::atomic<bool>& stop);

/// Tells how many values of the residual stream were cut off, if any.
void tell_saturations(const std::string& name, const Engine& engine);

/// What a command reads that is given images and a quantized file or, where that is empty, a
/// checkpoint.
std::vector<std::filesystem::path> files_read(const std::vector<std::string>& images,
                                              const std::string& quantized,
                                              const ModelSource& source);

}  // namespace bitlog2::cli
