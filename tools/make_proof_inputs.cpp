// Inputs for scripts/prove_integer_only, made on the host: a quantized network, crops as the
// bare program reads them, and the logits that the host computes from both. Part of the proof,
// not of the product; the runtime and the bare program must never depend on it.
//
//   make_proof_inputs CHECKPOINT SCHEME BITS RECIPE FOLDER [DATASET]
//   make_proof_inputs random:NAME SCHEME BITS RECIPE FOLDER
//   make_proof_inputs architectures
//
// writes FOLDER/network.safetensors, FOLDER/crops.bin and FOLDER/host_logits.txt. Without a
// data set, calibration images and crops are drawn with a fixed seed. random:NAME is a small model
// with random weights; the last form lists the names.
#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <exception>
#include <filesystem>
#include <iostream>
#include <iterator>
#include <random>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "bitlog2/calibrate.h"
#include "bitlog2/dataset.h"
#include "bitlog2/engine.h"
#include "bitlog2/error.h"
#include "bitlog2/files.h"
#include "bitlog2/integer.h"
#include "integer/architectures.h"

namespace bitlog2 {
namespace {

constexpr std::size_t kCalibrationImages = 8;
constexpr std::size_t kCrops = 4;

struct Images {
  std::vector<RgbImage> calibration;
  std::vector<RgbImage> crops;
};

Images random_images(std::size_t side) {
  std::mt19937 random(20);
  const auto draw = [&] {
    RgbImage image = {static_cast<int>(side), static_cast<int>(side), {}};
    image.pixels.resize(3 * side * side);
    for (std::uint8_t& pixel : image.pixels) {
      pixel = static_cast<std::uint8_t>(random() & 255U);
    }
    return image;
  };
  Images images;
  std::generate_n(std::back_inserter(images.calibration), kCalibrationImages, draw);
  std::generate_n(std::back_inserter(images.crops), kCrops, draw);
  return images;
}

std::vector<RgbImage> read_crops(const Dataset& dataset, std::size_t count,
                                 const Preprocessing& preprocessing) {
  std::vector<RgbImage> crops;
  for (std::size_t i = 0; i < std::min(count, dataset.size()); ++i) {
    crops.push_back(resize_and_crop(dataset.read(i), preprocessing));
  }
  return crops;
}

Images images_of(const std::string& dataset, const ModelConfig& config) {
  if (dataset.empty()) {
    return random_images(config.img_size);
  }
  const DatasetSplits splits =
      open_dataset({dataset, static_cast<int>(config.num_classes), kCalibrationImages, 0});
  return {read_crops(splits.calibration, kCalibrationImages, config.preprocessing),
          read_crops(splits.validation, kCrops, config.preprocessing)};
}

void write_crops(const std::filesystem::path& path, std::span<const RgbImage> crops) {
  std::vector<std::uint8_t> bytes;
  for (const RgbImage& crop : crops) {
    bytes.insert(bytes.end(), crop.pixels.begin(), crop.pixels.end());
  }
  write_file_atomically(path, std::as_bytes(std::span(bytes)));
}

void write_logits(const std::filesystem::path& path, const IntegerEngine& engine,
                  std::span<const RgbImage> crops) {
  std::string text;
  for (const RgbImage& crop : crops) {
    for (const std::int32_t logit : engine.integer_logits(crop)) {
      text += fmt::format("{}\n", logit);
    }
  }
  write_file_atomically(path, text);
}

Model read_model(const std::string& checkpoint) {
  constexpr std::string_view kRandom = "random:";
  if (checkpoint.starts_with(kRandom)) {
    return testing::random_model(testing::architecture(checkpoint.substr(kRandom.size())));
  }
  const Safetensors weights = Safetensors::open(checkpoint);
  const auto config = weights.metadata().find("config");
  if (config == weights.metadata().end()) {
    throw Error(fmt::format("{}: no config in its metadata", checkpoint));
  }
  return load_model(weights, parse_config(config->second, checkpoint));
}

void make_inputs(const std::string& checkpoint, const QuantizationSettings& settings,
                 const std::filesystem::path& folder, const std::string& dataset) {
  const Model model = read_model(checkpoint);
  const Images images = images_of(dataset, model.config);
  ThreadPool pool(1);
  const Calibration calibration = calibrate(model, settings, images.calibration, pool);
  std::filesystem::create_directories(folder);
  const auto network = folder / "network.safetensors";
  write_file_atomically(network, lower(calibration.quantized, {}));
  write_crops(folder / "crops.bin", images.crops);
  write_logits(folder / "host_logits.txt", *IntegerEngine::open(network), images.crops);
}

int parse_bits(const std::string& text) {
  const int bits = text.size() == 1 ? text[0] - '0' : 0;
  if (bits < kMinBits || bits > kMaxBits) {
    throw Error(fmt::format("'{}' is not a width from {} to {}", text, kMinBits, kMaxBits));
  }
  return bits;
}

}  // namespace
}  // namespace bitlog2

int main(int argc, char** argv) {
  const std::vector<std::string> arguments(argv + 1, argv + argc);
  if (arguments == std::vector<std::string>{"architectures"}) {
    for (const auto& [name, config] : bitlog2::testing::architectures()) {
      std::cout << name << '\n';
    }
    return 0;
  }
  if (arguments.size() != 5 && arguments.size() != 6) {
    std::cerr << "usage: make_proof_inputs CHECKPOINT SCHEME BITS RECIPE FOLDER [DATASET]\n"
                 "       make_proof_inputs architectures\n";
    return 2;
  }
  try {
    const int bits = bitlog2::parse_bits(arguments[2]);
    bitlog2::make_inputs(arguments[0],
                         {bits, bits, bitlog2::find_attention_scheme(arguments[1]),
                          bitlog2::find_recipe(arguments[3])},
                         arguments[4], arguments.size() == 6 ? arguments[5] : "");
  } catch (const std::exception& error) {
    std::cerr << "make_proof_inputs: " << error.what() << '\n';
    return 1;
  }
  return 0;
}
