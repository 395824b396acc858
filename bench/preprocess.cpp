// bench_preprocess FOLDER [N]: reads, decodes, resizes and crops the first N images below
// a folder (without N, all) on one thread, as for DeiT, and prints images per second.
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <exception>
#include <filesystem>
#include <string_view>
#include <vector>

#include "bitlog2/dataset.h"
#include "bitlog2/error.h"
#include "bitlog2/image.h"

namespace {

std::size_t parse_count(std::string_view text) {
  std::size_t count = 0;
  const auto result = std::from_chars(text.data(), text.data() + text.size(), count);
  if (result.ec != std::errc() || count == 0) {
    throw bitlog2::Error(fmt::format("'{}' is no number of images", text));
  }
  return count;
}

double images_per_second(const std::vector<std::filesystem::path>& paths) {
  const auto start = std::chrono::steady_clock::now();
  for (const std::filesystem::path& path : paths) {
    bitlog2::resize_and_crop(bitlog2::read_image(path), {});
  }
  const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
  return static_cast<double>(paths.size()) / elapsed.count();
}

}  // namespace

int main(int argc, char** argv) {
  try {
    if (argc != 2 && argc != 3) {
      fmt::print(stderr, "usage: bench_preprocess FOLDER [N]\n");
      return 2;
    }
    std::vector<std::filesystem::path> paths = bitlog2::list_images(argv[1]);
    if (argc == 3) {
      paths.resize(std::min(paths.size(), parse_count(argv[2])));
    }
    fmt::print("{:.1f}\n", images_per_second(paths));
    return 0;
  } catch (const std::exception& error) {
    fmt::print(stderr, "bench_preprocess: error: {}\n", error.what());
    return 1;
  }
}
