#include "model_content.h"

#include <fmt/format.h>

#include <map>
#include <string>

#include "bitlog2/error.h"
#include "bitlog2/safetensors.h"

namespace bitlog2::python {
namespace {

constexpr const char* kName = "a pickled model";  // for messages
constexpr const char* kConfigKey = "pickled_config";

}  // namespace

std::vector<std::byte> content_of_model(Model model) {
  std::vector<TensorToWrite> tensors;
  for_each_parameter(model, [&](const Parameter& parameter) {
    tensors.push_back(
        {parameter.name, DType::f32, parameter.shape, std::as_bytes(std::span(parameter.values))});
  });
  return serialize_safetensors(tensors, {{kConfigKey, config_to_json(model.config)}});
}

Model model_from_content(std::span<const std::byte> content) {
  const Safetensors file = Safetensors::parse(content, kName);
  const auto config = file.metadata().find(kConfigKey);
  if (config == file.metadata().end()) {
    throw Error(fmt::format("{}: it has no config; pickle the model again", kName));
  }
  Model model = make_model(parse_config(config->second, kName));
  for_each_parameter(model, [&](const Parameter& parameter) {
    if (file.at(parameter.name).shape != parameter.shape) {
      throw Error(
          fmt::format("{}: '{}' has another shape than its config says; pickle the model "
                      "again",
                      kName, parameter.name));
    }
    parameter.values = file.read_floats(parameter.name);
  });
  return model;
}

}  // namespace bitlog2::python
