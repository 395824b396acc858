#include "integer/file.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <set>

#include "bitlog2/error.h"
#include "quant/attention/scheme.h"

namespace bitlog2::integer {
namespace {

// The keys of the metadata.
constexpr const char* kFormat = "format";
constexpr const char* kFormatVersion = "format_version";
constexpr const char* kConfig = "config";
constexpr const char* kScheme = "scheme";
constexpr const char* kWeightBits = "w_bits";
constexpr const char* kActivationBits = "a_bits";
constexpr const char* kRecipe = "recipe";
constexpr const char* kClassNames = "class_names";
constexpr const char* kLayers = "layers";

constexpr const char* kFormatName = "bitlog2";

int parse_bits(const Safetensors& file, const std::string& key) {
  const auto found = file.metadata().find(key);
  const bool one_digit = found != file.metadata().end() && found->second.size() == 1;
  const int bits = one_digit ? found->second[0] - '0' : 0;
  if (bits < kMinBits || bits > kMaxBits) {
    throw Error(fmt::format("{}: metadata '{}' is not a width from {} to {}", file.name(), key,
                            kMinBits, kMaxBits));
  }
  return bits;
}

const std::string& metadata_at(const Safetensors& file, const std::string& key) {
  const auto found = file.metadata().find(key);
  if (found == file.metadata().end()) {
    throw Error(
        fmt::format("{}: not a quantized model: metadata '{}' is missing; make one with "
                    "bitlog2 quantize",
                    file.name(), key));
  }
  return found->second;
}

std::vector<std::string> read_layers(const Safetensors& file, std::size_t count) {
  const auto names = nlohmann::json::parse(metadata_at(file, kLayers), nullptr, false);
  if (!names.is_array() || names.size() != count) {
    throw Error(
        fmt::format("{}: metadata 'layers' does not name {} operations", file.name(), count));
  }
  std::vector<std::string> result;
  for (const auto& name : names) {
    result.push_back(name.is_string() ? name.get<std::string>() : "");
  }
  return result;
}

QuantizedFileInfo read_info(const Safetensors& file) {
  if (metadata_at(file, kFormat) != kFormatName) {
    throw Error(
        fmt::format("{}: not a quantized model; make one with bitlog2 quantize", file.name()));
  }
  QuantizedFileInfo info;
  info.config = parse_config(metadata_at(file, kConfig), file.name());
  info.settings = {parse_bits(file, kWeightBits), parse_bits(file, kActivationBits),
                   find_attention_scheme(metadata_at(file, kScheme)), Recipe{}};
  if (const auto recipe = file.metadata().find(kRecipe); recipe != file.metadata().end()) {
    info.settings.recipe = parse_recipe(recipe->second, file.name());
  }
  info.class_names = class_names(file, info.config);
  return info;
}

/// How many codes an operation can write.
std::size_t code_count(const runtime::Network& network, const runtime::Op& op) {
  if (op.table == 0) {
    return op.output_qmax + std::size_t{1};
  }
  const auto table = std::span(network.data + op.table, op.table_size);
  return std::set<std::byte>(table.begin(), table.end()).size();
}

/// Whether an operation writes the output layer's codes, or is that layer. An encoder's has widths
/// of its own.
bool is_of_projection(const ModelConfig& config, const runtime::Network& network,
                      std::size_t index) {
  const std::size_t last = network.header.op_count - std::size_t{1};
  return config.num_classes == 0 && index + 1 >= last;
}

/// Whether the metadata's scheme and widths are the program's.
bool settings_match(const ModelConfig& config, const QuantizationSettings& settings,
                    const runtime::Network& network) {
  const IntegerAttention attention =
      settings.scheme.method->in_integers(settings.a_bits, settings.attention_options());
  bool match = network.header.attention_kind == static_cast<std::uint32_t>(attention.kind);
  for (std::size_t i = 0; i < network.header.op_count; ++i) {
    const runtime::Op op = runtime::operation(network, i);
    const auto kind = static_cast<runtime::OpKind>(op.kind);
    const bool is_output = static_cast<runtime::Buffer>(op.destination) == runtime::Buffer::logits;
    const Role role = is_of_projection(config, network, i) ? Role::projection : Role::fc1;
    const std::size_t codes = std::size_t{1}
                              << static_cast<unsigned>(settings.activation_bits(role));
    if (runtime::is_linear(op)) {
      const int bits = settings.weight_bits(is_output ? role : Role::fc1);
      match = match && op.weight_bits == static_cast<std::uint32_t>(bits);
    } else if (kind == runtime::OpKind::attention) {
      match = match && code_count(network, op) == codes;
    }
    if (runtime::has_code_table(op)) {
      match = match && code_count(network, op) <= codes;
    }
  }
  return match;
}

void check_against_config(const std::string& name, const ModelConfig& config,
                          const runtime::Header& header) {
  if (header.image_size != config.img_size || header.patch_size != config.patch_size ||
      header.num_classes != output_size(config)) {
    throw Error(
        fmt::format("{}: its program (image {}, patch {}, {} outputs) contradicts its "
                    "config (image {}, patch {}, {} outputs); it is damaged",
                    name, header.image_size, header.patch_size, header.num_classes, config.img_size,
                    config.patch_size, output_size(config)));
  }
}

}  // namespace

std::map<std::string, std::string> file_metadata(const QuantizedFileInfo& info,
                                                 const std::vector<std::string>& layers) {
  std::map<std::string, std::string> metadata = {
      {kFormat, kFormatName},
      {kFormatVersion, std::to_string(runtime::kVersion)},
      {kConfig, config_to_json(info.config)},
      {kScheme, std::string(info.settings.scheme.name)},
      {kWeightBits, std::to_string(info.settings.w_bits)},
      {kActivationBits, std::to_string(info.settings.a_bits)},
      {kRecipe, recipe_to_json(info.settings.recipe)},
      {kLayers, nlohmann::json(layers).dump()},
  };
  if (!info.class_names.empty()) {
    metadata.emplace(kClassNames, nlohmann::json(info.class_names).dump());
  }
  return metadata;
}

QuantizedFile open_quantized_file(std::span<const std::byte> bytes, const std::string& name) {
  const Safetensors file = Safetensors::parse(bytes, name);
  QuantizedFile result;
  result.info = read_info(file);
  const runtime::Status status = runtime::open(bytes, result.network);
  if (status != runtime::Status::ok) {
    throw Error(fmt::format("{}: {}", name, runtime::status_text(status)));
  }
  check_against_config(name, result.info.config, result.network.header);
  if (!settings_match(result.info.config, result.info.settings, result.network)) {
    throw Error(
        fmt::format("{}: its program contradicts its metadata's scheme or widths ({}); it "
                    "is damaged",
                    name, result.info.settings.name()));
  }
  result.layers = read_layers(file, result.network.header.op_count);
  return result;
}

}  // namespace bitlog2::integer
