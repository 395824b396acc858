// Feeds arbitrary bytes to the safetensors reader, reads every tensor that it lists, and
// parses the model config that its metadata may hold. Whatever the bytes, nothing but Error
// may come out. Seeds: fuzz/corpus/safetensors.
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "bitlog2/error.h"
#include "bitlog2/model.h"
#include "bitlog2/safetensors.h"

namespace {

void read_tensors(const bitlog2::Safetensors& file) {
  for (const auto& [name, tensor] : file.tensors()) {
    try {
      file.read_floats(name);
    } catch (const bitlog2::Error&) {
    }
  }
}

void read_config(const bitlog2::Safetensors& file) {
  const auto config = file.metadata().find("config");
  if (config == file.metadata().end()) {
    return;
  }
  try {
    bitlog2::config_to_json(bitlog2::parse_config(config->second, file.name()));
  } catch (const bitlog2::Error&) {
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  try {
    const bitlog2::Safetensors file =
        bitlog2::Safetensors::parse(std::as_bytes(std::span(data, size)), "fuzz");
    read_tensors(file);
    read_config(file);
  } catch (const bitlog2::Error&) {
  }
  return 0;
}
