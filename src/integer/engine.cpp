// The integer engine: a quantized file, opened in place, and the runtime behind Engine's
// interface. No arithmetic of the network happens here but turning logits into floats.
#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <mutex>
#include <nlohmann/json.hpp>
#include <set>
#include <thread>

#include "bitlog2/error.h"
#include "bitlog2/files.h"
#include "bitlog2/integer.h"
#include "integer/runtime/kernels/select.h"
#include "integer/runtime/network.h"
#include "quant/attention/scheme.h"

namespace bitlog2 {
namespace {

/// Working memory that is used again, so that no run waits for pages of it.
class ArenaPool {
 public:
  using Arena = std::vector<std::byte>;

  /// An arena of at least `bytes`, until `use` returns.
  template <class Use>
  void with_arena(std::size_t bytes, Use use) {
    Arena arena = take();
    arena.resize(std::max(bytes, arena.size()));
    use(std::span<std::byte>(arena));
    const std::lock_guard lock(mutex_);
    free_.push_back(std::move(arena));
  }

 private:
  Arena take() {
    const std::lock_guard lock(mutex_);
    if (free_.empty()) {
      return {};
    }
    Arena arena = std::move(free_.back());
    free_.pop_back();
    return arena;
  }

  std::mutex mutex_;
  std::vector<Arena> free_;
};

}  // namespace

struct IntegerEngine::State {
  std::string name;
  std::unique_ptr<MappedFile> file;  // or
  std::vector<std::byte> owned;
  std::span<const std::byte> bytes;
  runtime::Network network;
  QuantizedFileInfo info;
  std::vector<std::string> layers;  // one name per operation
  const runtime::Kernels* kernels = nullptr;
  std::string isa;
  std::vector<std::byte> prepared;
  ArenaPool arenas;
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
                   find_attention_scheme(metadata_at(file, "scheme")), Recipe{}};
  if (const auto recipe = file.metadata().find("recipe"); recipe != file.metadata().end()) {
    info.settings.recipe = parse_recipe(recipe->second, file.name());
  }
  info.class_names = class_names(file, info.config.num_classes);
  return info;
}

/// How many codes an operation can write.
std::size_t code_count(const runtime::Network& network, const runtime::Op& op) {
  if (op.table == 0) {
    return op.output_top + std::size_t{1};
  }
  const auto table = std::span(network.data + op.table, op.table_size);
  return std::set<std::byte>(table.begin(), table.end()).size();
}

/// Whether the metadata's scheme and widths are the program's.
bool settings_match(const QuantizationSettings& settings, const runtime::Network& network) {
  const IntegerAttention attention =
      settings.scheme.method->in_integers(settings.a_bits, settings.attention_options());
  const std::size_t codes = std::size_t{1} << static_cast<unsigned>(settings.a_bits);
  bool match = network.header.attention_kind == static_cast<std::uint32_t>(attention.kind);
  for (std::size_t i = 0; i < network.header.op_count; ++i) {
    const runtime::Op op = runtime::operation(network, i);
    const auto kind = static_cast<runtime::OpKind>(op.kind);
    if (kind == runtime::OpKind::linear) {
      match = match && op.weight_bits == static_cast<std::uint32_t>(settings.w_bits);
    } else if (kind == runtime::OpKind::attention) {
      match = match && code_count(network, op) == codes;
    }
    if (kind != runtime::OpKind::embed && op.table != 0) {
      match = match && code_count(network, op) <= codes;
    }
  }
  return match;
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

const runtime::Kernels& choose_kernels(std::string isa) {
  if (isa.empty()) {
    const char* wanted = std::getenv("BITLOG2_ISA");  // NOLINT(concurrency-mt-unsafe)
    isa = wanted == nullptr ? "" : wanted;
  }
  if (isa.empty()) {
    return *runtime::available_kernels().front();
  }
  for (const runtime::Kernels* kernels : runtime::available_kernels()) {
    if (isa == kernels->name) {
      return *kernels;
    }
  }
  throw Error(fmt::format("instruction set '{}' (--isa, BITLOG2_ISA): this machine runs {}", isa,
                          fmt::join(available_isas(), ", ")));
}

/// Unpacks the weights, unless a damaged file's operations share them more than real ones do.
void prepare_weights(IntegerEngine::State& state) {
  constexpr std::size_t kMostGrowth = 8;
  const std::size_t bytes = runtime::prepared_size(state.network);
  if (bytes / kMostGrowth <= state.bytes.size()) {
    state.prepared.resize(bytes);
    runtime::prepare(state.network, *state.kernels, state.prepared);
  }
}

runtime::RunOptions run_options(IntegerEngine::State& state) {
  runtime::RunOptions options;
  options.kernels = state.kernels;
  options.prepared = state.prepared.empty() ? nullptr : state.prepared.data();
  return options;
}

void open_state(IntegerEngine::State& state, const std::string& isa) {
  state.kernels = &choose_kernels(isa);
  state.isa = state.kernels->name;
  const Safetensors file = Safetensors::parse(state.bytes, state.name);
  state.info = read_info(file);
  const runtime::Status status = runtime::open(state.bytes, state.network);
  if (status != runtime::Status::ok) {
    throw Error(fmt::format("{}: {}", state.name, runtime::status_text(status)));
  }
  check_against_config(state.name, state.info.config, state.network.header);
  if (!settings_match(state.info.settings, state.network)) {
    throw Error(
        fmt::format("{}: its program contradicts its metadata's scheme or widths ({}); it "
                    "is damaged",
                    state.name, state.info.settings.name()));
  }
  state.layers = layer_names(file, state.network.header.op_count);
  prepare_weights(state);
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

void require_ok(runtime::Status status) {
  if (status != runtime::Status::ok) {
    throw Error(fmt::format("integer engine: {}", runtime::status_text(status)));
  }
}

/// Where the members of a team meet. Waits are short, so that it is not worth sleeping.
class SpinBarrier {
 public:
  explicit SpinBarrier(std::size_t members) : members_(members) {}

  void wait() {
    constexpr int kSpins = 4096;
    const std::size_t round = round_.load(std::memory_order_acquire);
    if (arrived_.fetch_add(1, std::memory_order_acq_rel) + 1 == members_) {
      arrived_.store(0, std::memory_order_relaxed);
      round_.fetch_add(1, std::memory_order_release);
      return;
    }
    for (int spins = 0; round_.load(std::memory_order_acquire) == round; ++spins) {
      if (spins > kSpins) {
        std::this_thread::yield();
      }
    }
  }

 private:
  std::size_t members_;
  std::atomic<std::size_t> arrived_ = 0;
  std::atomic<std::size_t> round_ = 0;
};

/// Runs one image alone, and says after every operation what it wrote if anybody wants to know.
std::vector<std::int32_t> run_alone(IntegerEngine::State& state, const RgbImage& crop,
                                    const runtime::Observer* observer) {
  std::vector<std::int32_t> logits(state.network.header.num_classes);
  runtime::RunStatistics statistics;
  state.arenas.with_arena(runtime::arena_size(state.network), [&](std::span<std::byte> arena) {
    runtime::RunOptions options = run_options(state);
    options.statistics = &statistics;
    options.observer = observer;
    require_ok(runtime::run(state.network, crop.pixels, arena, logits, options));
  });
  state.saturations += statistics.saturations;
  return logits;
}

std::vector<std::int32_t> run_together(IntegerEngine::State& state, const RgbImage& crop,
                                       ThreadPool& pool) {
  std::vector<std::int32_t> logits(state.network.header.num_classes);
  SpinBarrier barrier(pool.size());
  const runtime::Team team = {
      pool.size(), [](void* context) { static_cast<SpinBarrier*>(context)->wait(); }, &barrier};
  const std::size_t bytes = runtime::arena_size(state.network, team.members);
  state.arenas.with_arena(bytes, [&](std::span<std::byte> arena) {
    // As many members as threads, and none returns before all have come.
    pool.parallel_for(team.members, 1, [&](std::size_t member, std::size_t) {
      runtime::RunStatistics statistics;
      runtime::RunOptions options = run_options(state);
      options.statistics = &statistics;
      options.team = team;
      options.member = member;
      require_ok(runtime::run(state.network, crop.pixels, arena, logits, options));
      barrier.wait();
      state.saturations += statistics.saturations;
    });
  });
  return logits;
}

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

const char* kind_name(const runtime::Op& op) {
  switch (static_cast<runtime::OpKind>(op.kind)) {
    case runtime::OpKind::embed:
      return "embed";
    case runtime::OpKind::layer_norm:
      return "layer_norm";
    case runtime::OpKind::linear:
      return "linear";
    case runtime::OpKind::attention:
      return "attention";
    case runtime::OpKind::mean:
      return "mean";
  }
  return "";
}

std::uint64_t multiply_adds(const runtime::Op& op) {
  const std::uint64_t outputs = std::uint64_t{op.rows} * op.out_features;
  switch (static_cast<runtime::OpKind>(op.kind)) {
    case runtime::OpKind::embed:
      return (outputs - std::uint64_t{op.class_token} * op.out_features) * op.in_features;
    case runtime::OpKind::linear:
      return outputs * op.in_features;
    case runtime::OpKind::attention:  // queries times keys, and the map times V
      return 2 * outputs * (op.window == 0 ? op.grid : op.window * op.window);
    default:
      return 0;
  }
}

/// Takes the time of every operation.
struct Stopwatch {
  const std::vector<std::string>& layers;
  std::vector<OperationCost> costs;
  Clock::time_point last;

  void stop(std::size_t index, const runtime::Op& op) {
    costs.push_back({layers[index], kind_name(op), multiply_adds(op), seconds_since(last)});
    last = Clock::now();
  }
};

}  // namespace

double peak_multiply_adds_per_second(const std::string& isa) {
  constexpr int kTries = 20;
  constexpr std::uint64_t kRounds = 200000;
  const runtime::Kernels& kernels = choose_kernels(isa);
  double best = 0;
  for (int i = 0; i < kTries; ++i) {
    const Clock::time_point start = Clock::now();
    const auto products = static_cast<double>(kernels.multiply_in_registers(kRounds));
    best = std::max(best, products / seconds_since(start));
  }
  return best;
}

std::vector<std::string> available_isas() {
  std::vector<std::string> names;
  for (const runtime::Kernels* kernels : runtime::available_kernels()) {
    names.emplace_back(kernels->name);
  }
  return names;
}

IntegerEngine::IntegerEngine(std::unique_ptr<State> state) : state_(std::move(state)) {}
IntegerEngine::~IntegerEngine() = default;

std::unique_ptr<IntegerEngine> IntegerEngine::open(const std::filesystem::path& path,
                                                   const std::string& isa) {
  auto state = std::make_unique<State>();
  state->name = path.string();
  state->file = std::make_unique<MappedFile>(path);
  state->bytes = state->file->bytes();
  open_state(*state, isa);
  return std::unique_ptr<IntegerEngine>(new IntegerEngine(std::move(state)));
}

std::unique_ptr<IntegerEngine> IntegerEngine::from_bytes(std::vector<std::byte> bytes,
                                                         const std::string& name,
                                                         const std::string& isa) {
  auto state = std::make_unique<State>();
  state->name = name;
  state->owned = std::move(bytes);
  state->bytes = state->owned;
  open_state(*state, isa);
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
  return run_alone(*state_, crop, nullptr);
}

std::vector<std::int32_t> IntegerEngine::integer_logits(const RgbImage& crop,
                                                        ThreadPool& pool) const {
  return pool.size() == 1 ? run_alone(*state_, crop, nullptr) : run_together(*state_, crop, pool);
}

const std::string& IntegerEngine::isa() const {
  return state_->isa;
}

void IntegerEngine::observe(const RgbImage& crop, const LayerObserver& observer) const {
  Observation observation = {state_->layers, observer};
  const runtime::Observer callback = {after_operation, &observation};
  run_alone(*state_, crop, &callback);
}

std::vector<OperationCost> IntegerEngine::profile(const RgbImage& crop) const {
  Stopwatch stopwatch = {state_->layers, {}, Clock::now()};
  const runtime::Observer callback = {
      [](void* context, std::size_t index, const runtime::Op& op, std::span<const std::uint8_t>,
         std::span<const std::int32_t>) { static_cast<Stopwatch*>(context)->stop(index, op); },
      &stopwatch};
  run_alone(*state_, crop, &callback);
  return stopwatch.costs;
}

std::size_t IntegerEngine::arena_bytes() const {
  return runtime::arena_size(state_->network);
}

std::size_t IntegerEngine::prepared_bytes() const {
  return state_->prepared.size();
}

std::size_t IntegerEngine::file_bytes() const {
  return state_->bytes.size();
}

std::uint64_t IntegerEngine::saturations() const {
  return state_->saturations;
}

}  // namespace bitlog2
