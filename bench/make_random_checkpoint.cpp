// make_random_checkpoint MODEL|CONFIG FILE: writes a published model, or the model of a config file
// (*.json), with random F32 weights. With them time and memory can be measured without the model's
// checkpoint.
#include <fmt/format.h>

#include <cstddef>
#include <exception>
#include <fstream>
#include <iterator>
#include <span>
#include <string>
#include <vector>

#include "bitlog2/model.h"
#include "bitlog2/safetensors.h"

namespace {

bitlog2::ModelConfig read_config(const std::string& path) {
  std::ifstream file(path);
  return bitlog2::parse_config(
      std::string(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()), path);
}

void write_random_checkpoint(const char* model_name, const char* path) {
  const std::string name = model_name;
  const bitlog2::ModelConfig config =
      name.ends_with(".json") ? read_config(name) : bitlog2::find_named_model(name).config;
  bitlog2::Model model = bitlog2::make_random_model(config, 0);
  std::vector<bitlog2::TensorToWrite> tensors;
  bitlog2::for_each_parameter(model, [&](const bitlog2::Parameter& parameter) {
    tensors.push_back({parameter.name, bitlog2::DType::f32, parameter.shape,
                       std::as_bytes(std::span(parameter.values))});
  });
  bitlog2::write_safetensors(path, tensors, {{"config", bitlog2::config_to_json(model.config)}});
}

}  // namespace

int main(int argc, char** argv) {
  try {
    if (argc != 3) {
      fmt::print(stderr, "usage: make_random_checkpoint MODEL|CONFIG FILE\n");
      return 2;
    }
    write_random_checkpoint(argv[1], argv[2]);
    return 0;
  } catch (const std::exception& error) {
    fmt::print(stderr, "make_random_checkpoint: error: {}\n", error.what());
    return 1;
  }
}
