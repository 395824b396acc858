// Digests of quantized files, for scripts/test_bits: the same on every machine, with every
// instruction set and any number of threads.
//
//   quantize_digests THREADS CHECKPOINT...
//
// calibrates each checkpoint, which has its config in its metadata, on images that are drawn with a
// fixed seed, by each recipe, and prints a line for each: digest, recipe, checkpoint.
#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <exception>
#include <iostream>
#include <random>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "bitlog2/calibrate.h"
#include "bitlog2/error.h"
#include "bitlog2/integer.h"
#include "bitlog2/safetensors.h"

namespace bitlog2 {
namespace {

constexpr std::size_t kCalibrationImages = 4;
constexpr std::uint32_t kSteps = 2;  // of reconstruction

/// FNV-1a.
std::uint64_t digest(std::span<const std::byte> bytes) {
  std::uint64_t result = 0xCBF29CE484222325;
  for (const std::byte byte : bytes) {
    result = (result ^ std::to_integer<std::uint64_t>(byte)) * 0x100000001B3;
  }
  return result;
}

/// Noise that is smoother than one pixel.
std::vector<RgbImage> random_images(std::size_t side) {
  std::mt19937 random(20);
  std::vector<RgbImage> images(kCalibrationImages);
  for (RgbImage& image : images) {
    image = {static_cast<int>(side), static_cast<int>(side), {}};
    std::uint32_t value = 128;
    for (std::size_t i = 0; i < 3 * side * side; ++i) {
      value = (3 * value + static_cast<std::uint32_t>(random() & 255U)) / 4;
      image.pixels.push_back(static_cast<std::uint8_t>(value));
    }
  }
  return images;
}

void print_digests(const std::string& checkpoint, ThreadPool& pool) {
  const Safetensors weights = Safetensors::open(checkpoint);
  const auto config = weights.metadata().find("config");
  if (config == weights.metadata().end()) {
    throw Error(fmt::format("{}: no config in its metadata", checkpoint));
  }
  const Model model = load_model(weights, parse_config(config->second, checkpoint));
  for (const std::string_view recipe : kRecipeNames) {
    QuantizationSettings settings = {4, 4, find_attention_scheme("BitLog2_Half_16"),
                                     find_recipe(recipe)};
    settings.recipe.reconstruction_steps = std::min(settings.recipe.reconstruction_steps, kSteps);
    const Calibration calibration =
        calibrate(model, settings, random_images(model.config.img_size), pool);
    std::cout << fmt::format("{:016x} {} {}\n", digest(lower(calibration.quantized, {})), recipe,
                             checkpoint);
  }
}

}  // namespace
}  // namespace bitlog2

int main(int argc, char** argv) {
  const std::vector<std::string> arguments(argv + 1, argv + argc);
  if (arguments.size() < 2) {
    std::cerr << "usage: quantize_digests THREADS CHECKPOINT...\n";
    return 2;
  }
  try {
    bitlog2::ThreadPool pool(static_cast<std::size_t>(std::stoi(arguments[0])));
    for (std::size_t i = 1; i < arguments.size(); ++i) {
      bitlog2::print_digests(arguments[i], pool);
    }
  } catch (const std::exception& error) {
    std::cerr << "quantize_digests: " << error.what() << '\n';
    return 1;
  }
  return 0;
}
