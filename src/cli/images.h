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

/// The files that the arguments name, directly or as a folder; notes on folders go to stderr. A
/// folder that cannot be listed or is empty is returned itself, and reading it gives the error.
std::vector<std::string> images_named(const std::vector<std::string>& arguments);

/// The image at `path`, a file or a stream, as a model takes it. Throws Error naming it, also when
/// `stop` is set before a stream ends.
RgbImage read_crop(const std::string& path, const Preprocessing& preprocessing,
                   const std::atomic<bool>& stop);

/// Says on stderr how many values were cut off (Engine::saturations), if any.
void tell_saturations(const std::string& name, const Engine& engine);

/// The files that a command reads which is given images and a quantized file or, where that is
/// empty, a checkpoint.
std::vector<std::filesystem::path> files_read(const std::vector<std::string>& images,
                                              const std::string& quantized,
                                              const ModelSource& source);

}  // namespace bitlog2::cli
