// make_random_checkpoint MODEL FILE: writes a published model with random F32 weights, so
// that time and memory can be measured where its checkpoint is not at hand.
#include <fmt/format.h>

#include <cstddef>
#include <exception>
#include <span>
#include <vector>

#include "bitlog2/model.h"
#include "bitlog2/safetensors.h"

namespace {

void write_random_checkpoint(const char* model_name, const char* path) {
  bitlog2::Model model =
      bitlog2::make_random_model(bitlog2::find_named_model(model_name).config, 0);
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
      fmt::print(stderr, "usage: make_random_checkpoint MODEL FILE\n");
      return 2;
    }
    write_random_checkpoint(argv[1], argv[2]);
    return 0;
  } catch (const std::exception& error) {
    fmt::print(stderr, "make_random_checkpoint: error: {}\n", error.what());
    return 1;
  }
}
