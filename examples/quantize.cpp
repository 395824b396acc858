// Quantizes a vision transformer to 4 bits.
//
//   quantize CHECKPOINT.safetensors DATASET OUTPUT.safetensors
//
// CHECKPOINT is a checkpoint of timm whose metadata describes the model, or a published name such
// as deit_tiny, whose checkpoint is in the Hugging Face cache. DATASET has the calibration images.
#include <bitlog2/calibrate.h>
#include <bitlog2/dataset.h>
#include <bitlog2/error.h>
#include <bitlog2/files.h>
#include <bitlog2/integer.h>
#include <bitlog2/load.h>

#include <filesystem>
#include <iostream>
#include <string>
#include <thread>

namespace {

void quantize(const std::string& model, const std::string& dataset, const std::string& output) {
  const bool is_file = std::filesystem::exists(model);
  const bitlog2::LoadedModel loaded = bitlog2::load_model(
      is_file ? bitlog2::ModelSource{.weights = model} : bitlog2::ModelSource{.model = model});
  const bitlog2::ModelConfig& config = loaded.model.config;

  bitlog2::ThreadPool pool(std::thread::hardware_concurrency());
  const bitlog2::DatasetSplits splits =
      bitlog2::open_dataset({.path = dataset,
                             .num_classes = static_cast<int>(config.num_classes),
                             .calibration_images = 32,
                             .class_names = loaded.class_names});
  const bitlog2::CalibrationImages images =
      bitlog2::read_calibration(splits, config.preprocessing, pool, /*strict=*/true);

  const bitlog2::QuantizationSettings settings = {
      .w_bits = 4,
      .a_bits = 4,
      .scheme = bitlog2::find_attention_scheme("BitLog2_Half_16"),
      .recipe = bitlog2::find_recipe("best")};
  const auto calibration = bitlog2::calibrate(loaded.model, settings, images.crops, pool);
  const auto file = bitlog2::lower(calibration.quantized, loaded.class_names);
  bitlog2::write_file_atomically(output, file);
  std::cout << output << ": " << config.name << ", " << settings.name() << ", " << file.size()
            << " bytes\n";
}

}  // namespace

int main(int argc, char** argv) try {
  if (argc != 4) {
    std::cerr << "usage: quantize CHECKPOINT DATASET OUTPUT\n";
    return 2;
  }
  quantize(argv[1], argv[2], argv[3]);
} catch (const std::exception& error) {  // the message of bitlog2::Error says what to do
  std::cerr << "quantize: " << error.what() << '\n';
  return 1;
}
