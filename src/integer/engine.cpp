// The integer engine: a quantized file, opened in place, and the runtime behind Engine's
// interface. No arithmetic of the network happens here but turning logits into floats.
#include <fmt/format.h>

#include <atomic>
#include <cmath>
#include <nlohmann/json.hpp>

#include "bitlog2/error.h"
#include "bitlog2/files.h"
#include "bitlog2/integer.h"
#include "integer/runtime/network.h"

namespace bitlog2 {

struct IntegerEngine::State {
  std::string name;
  std::unique_ptr<MappedFile> file;  // or
  std::vector<std::byte> owned;
  std::span<const std::byte> bytes;
  runtime::Network network;
  QuantizedFileInfo info;
  std::vector<std::string> layers;  // one name per operation
  std::atomic<std::uint64_t> saturations = 0;
};

namespace {

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

std::vector<std::string> layer_names(const Safetensors& file, std::size_t count) {
  const auto names = nlohmann::json::parse(metadata_at(file, "layers"), nullptr, false);
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
  if (metadata_at(file, "format") != "bitlog2") {
    throw Error(
        fmt::format("{}: not a quantized model; make one with bitlog2 quantize", file.name()));
  }
  QuantizedFileInfo info;
  info.config = parse_config(metadata_at(file, "config"), file.name());
  info.settings = {parse_bits(file, "w_bits"), parse_bits(file, "a_bits"),
                   find_attention_scheme(metadata_at(file, "scheme"))};
  info.class_names = class_names(file, info.config.num_classes);
  return info;
}

void check_against_config(const std::string& name, const ModelConfig& config,
                          const runtime::Header& header) {
  if (header.image_size != config.img_size || header.patch_size != config.patch_size ||
      header.num_classes != config.num_classes) {
    throw Error(
        fmt::format("{}: its program (image {}, patch {}, {} classes) contradicts its "
                    "config (image {}, patch {}, {} classes); it is damaged",
                    name, header.image_size, header.patch_size, header.num_classes, config.img_size,
                    config.patch_size, config.num_classes));
  }
}

void open_state(IntegerEngine::State& state) {
  const Safetensors file = Safetensors::parse(state.bytes, state.name);
  state.info = read_info(file);
  const runtime::Status status = runtime::open(state.bytes, state.network);
  if (status != runtime::Status::ok) {
    throw Error(fmt::format("{}: {}", state.name, runtime::status_text(status)));
  }
  check_against_config(state.name, state.info.config, state.network.header);
  state.layers = layer_names(file, state.network.header.op_count);
}

/// What observe() passes through the runtime's callback.
struct Observation {
  const std::vector<std::string>& layers;
  const LayerObserver& observer;
};

void after_operation(void* context, std::size_t index, const runtime::Op& op,
                     std::span<const std::uint8_t>, std::span<const std::int32_t> values) {
  if (values.empty()) {
    return;
  }
  const auto& observation = *static_cast<const Observation*>(context);
  const bool is_logits = static_cast<runtime::Place>(op.destination) == runtime::Place::logits;
  const int fraction = is_logits ? runtime::kLogitFraction : runtime::kResidualFraction;
  std::vector<float> reals;
  reals.reserve(values.size());
  for (const std::int32_t value : values) {
    reals.push_back(std::ldexp(static_cast<float>(value), -fraction));
  }
  observation.observer(observation.layers[index], reals);
}

std::vector<std::int32_t> run_once(const runtime::Network& network, const RgbImage& crop,
                                   runtime::RunStatistics& statistics,
                                   const runtime::Observer* observer) {
  std::vector<std::byte> arena(runtime::arena_size(network));
  std::vector<std::int32_t> logits(network.header.num_classes);
  const runtime::Status status =
      runtime::run(network, crop.pixels, arena, logits, &statistics, observer);
  if (status != runtime::Status::ok) {
    throw Error(fmt::format("integer engine: {}", runtime::status_text(status)));
  }
  return logits;
}

}  // namespace

IntegerEngine::IntegerEngine(std::unique_ptr<State> state) : state_(std::move(state)) {}
IntegerEngine::~IntegerEngine() = default;

std::unique_ptr<IntegerEngine> IntegerEngine::open(const std::filesystem::path& path) {
  auto state = std::make_unique<State>();
  state->name = path.string();
  state->file = std::make_unique<MappedFile>(path);
  state->bytes = state->file->bytes();
  open_state(*state);
  return std::unique_ptr<IntegerEngine>(new IntegerEngine(std::move(state)));
}

std::unique_ptr<IntegerEngine> IntegerEngine::from_bytes(std::vector<std::byte> bytes,
                                                         const std::string& name) {
  auto state = std::make_unique<State>();
  state->name = name;
  state->owned = std::move(bytes);
  state->bytes = state->owned;
  open_state(*state);
  return std::unique_ptr<IntegerEngine>(new IntegerEngine(std::move(state)));
}

const ModelConfig& IntegerEngine::config() const {
  return state_->info.config;
}

const QuantizedFileInfo& IntegerEngine::info() const {
  return state_->info;
}

std::vector<float> IntegerEngine::logits(std::span<const RgbImage> crops) const {
  std::vector<float> result;
  for (const RgbImage& crop : crops) {
    for (const std::int32_t value : integer_logits(crop)) {
      result.push_back(std::ldexp(static_cast<float>(value), -runtime::kLogitFraction));
    }
  }
  return result;
}

std::vector<std::int32_t> IntegerEngine::integer_logits(const RgbImage& crop) const {
  runtime::RunStatistics statistics;
  std::vector<std::int32_t> logits = run_once(state_->network, crop, statistics, nullptr);
  state_->saturations += statistics.saturations;
  return logits;
}

void IntegerEngine::observe(const RgbImage& crop, const LayerObserver& observer) const {
  Observation observation = {state_->layers, observer};
  const runtime::Observer callback = {after_operation, &observation};
  runtime::RunStatistics statistics;
  run_once(state_->network, crop, statistics, &callback);
}

std::size_t IntegerEngine::arena_bytes() const {
  return runtime::arena_size(state_->network);
}

std::size_t IntegerEngine::file_bytes() const {
  return state_->bytes.size();
}

std::uint64_t IntegerEngine::saturations() const {
  return state_->saturations;
}

}  // namespace bitlog2
