// The integer engine: a quantized file, opened in place, and the runtime behind Engine's
// interface. The only arithmetic here turns logits into floats.
#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <mutex>

#include "bitlog2/error.h"
#include "bitlog2/files.h"
#include "bitlog2/integer.h"
#include "integer/file.h"
#include "integer/isa.h"
#include "integer/profile.h"
#include "integer/thread_group.h"

namespace bitlog2 {
namespace {

/// Working memory that is reused, so that a run does not wait for new pages. Nobody waits for the
/// lock: a process may be forked while one of its threads holds it, and in the new process nobody
/// would ever release it.
class ArenaPool {
 public:
  using Arena = std::vector<std::byte>;

  /// An arena of at least `bytes`, until `use` returns.
  template <class Use>
  void with_arena(std::size_t bytes, Use use) {
    Arena arena = take();
    arena.resize(std::max(bytes, arena.size()));
    use(std::span<std::byte>(arena));
    const std::unique_lock lock(mutex_, std::try_to_lock);
    if (lock.owns_lock()) {
      free_.push_back(std::move(arena));
    }
  }

 private:
  Arena take() {
    const std::unique_lock lock(mutex_, std::try_to_lock);
    if (!lock.owns_lock() || free_.empty()) {
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
  std::unique_ptr<MappedFile> mapped;  // or
  std::vector<std::byte> owned;
  std::span<const std::byte> bytes;
  integer::QuantizedFile file;
  const runtime::Kernels* kernels = nullptr;
  std::string isa;
  std::vector<std::byte> packed;  // weights; empty: run() packs them panel by panel
  ArenaPool arenas;
  std::atomic<std::uint64_t> saturations = 0;
};

namespace {

/// Packs the weights, unless the operations of a hostile file share them so often that this takes
/// far more memory than usual.
void pack_weights(IntegerEngine::State& state) {
  constexpr std::size_t kMostGrowth = 8;
  const std::size_t bytes = runtime::packed_size(state.file.network);
  if (bytes / kMostGrowth <= state.bytes.size()) {
    state.packed.resize(bytes);
    runtime::pack_weights(state.file.network, *state.kernels, state.packed);
  }
}

void open_state(IntegerEngine::State& state, const std::string& name, const std::string& isa) {
  state.kernels = &integer::choose_kernels(isa);
  state.isa = state.kernels->name;
  state.file = integer::open_quantized_file(state.bytes, name);
  pack_weights(state);
}

/// The context of observe() for the runtime's callback.
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
  const bool is_logits = static_cast<runtime::Buffer>(op.destination) == runtime::Buffer::logits;
  const int fraction = is_logits ? runtime::kLogitFraction : runtime::kResidualFraction;
  std::vector<float> reals;
  reals.reserve(values.size());
  for (const std::int32_t value : values) {
    reals.push_back(std::ldexp(static_cast<float>(value), -fraction));
  }
  observation.observer(observation.layers[index], reals);
}

/// Runs one image, or one rank's share of it, with the options that all runs of an engine have.
void run_image(IntegerEngine::State& state, const RgbImage& crop, std::span<std::byte> arena,
               std::span<std::int32_t> logits, runtime::RunOptions options) {
  runtime::RunStatistics statistics;
  options.kernels = state.kernels;
  options.packed = state.packed.empty() ? nullptr : state.packed.data();
  options.statistics = &statistics;
  const runtime::Status status =
      runtime::run(state.file.network, crop.pixels, arena, logits, options);
  if (status != runtime::Status::ok) {
    throw Error(fmt::format("integer engine: {}", runtime::status_text(status)));
  }
  state.saturations += statistics.saturations;
}

/// On the calling thread.
std::vector<std::int32_t> run_alone(IntegerEngine::State& state, const RgbImage& crop,
                                    const runtime::RunOptions& options) {
  const runtime::Network& network = state.file.network;
  std::vector<std::int32_t> logits(network.header.num_classes);
  state.arenas.with_arena(runtime::arena_size(network), [&](std::span<std::byte> arena) {
    run_image(state, crop, arena, logits, options);
  });
  return logits;
}

/// On the calling thread; `observer` is called after every operation.
void run_observed(IntegerEngine::State& state, const RgbImage& crop,
                  const runtime::Observer& observer) {
  runtime::RunOptions options;
  options.observer = &observer;
  run_alone(state, crop, options);
}

std::vector<std::int32_t> run_on_pool(IntegerEngine::State& state, const RgbImage& crop,
                                      ThreadPool& pool) {
  const runtime::Network& network = state.file.network;
  std::vector<std::int32_t> logits(network.header.num_classes);
  const std::size_t bytes = runtime::arena_size(network, pool.size());
  state.arenas.with_arena(bytes, [&](std::span<std::byte> arena) {
    integer::run_in_group(pool, [&](const runtime::ThreadGroup& group, std::size_t rank) {
      runtime::RunOptions options;
      options.group = group;
      options.rank = rank;
      run_image(state, crop, arena, logits, options);
    });
  });
  return logits;
}

}  // namespace

IntegerEngine::IntegerEngine(std::unique_ptr<State> state) : state_(std::move(state)) {}
IntegerEngine::~IntegerEngine() = default;

std::unique_ptr<IntegerEngine> IntegerEngine::open(const std::filesystem::path& path,
                                                   const std::string& isa) {
  auto state = std::make_unique<State>();
  state->mapped = std::make_unique<MappedFile>(path);
  state->bytes = state->mapped->bytes();
  open_state(*state, path.string(), isa);
  return std::unique_ptr<IntegerEngine>(new IntegerEngine(std::move(state)));
}

std::unique_ptr<IntegerEngine> IntegerEngine::from_bytes(std::vector<std::byte> bytes,
                                                         const std::string& name,
                                                         const std::string& isa) {
  auto state = std::make_unique<State>();
  state->owned = std::move(bytes);
  state->bytes = state->owned;
  open_state(*state, name, isa);
  return std::unique_ptr<IntegerEngine>(new IntegerEngine(std::move(state)));
}

const ModelConfig& IntegerEngine::config() const {
  return state_->file.info.config;
}

const QuantizedFileInfo& IntegerEngine::info() const {
  return state_->file.info;
}

std::vector<float> IntegerEngine::logits(std::span<const RgbImage> crops) const {
  ThreadPool serial(1);
  return logits(crops, serial);
}

std::vector<float> IntegerEngine::logits(std::span<const RgbImage> crops, ThreadPool& pool) const {
  std::vector<float> result;
  for (const RgbImage& crop : crops) {
    for (const std::int32_t value : integer_logits(crop, pool)) {
      result.push_back(std::ldexp(static_cast<float>(value), -runtime::kLogitFraction));
    }
  }
  return result;
}

std::vector<std::int32_t> IntegerEngine::integer_logits(const RgbImage& crop) const {
  return run_alone(*state_, crop, {});
}

std::vector<std::int32_t> IntegerEngine::integer_logits(const RgbImage& crop,
                                                        ThreadPool& pool) const {
  return pool.size() == 1 ? run_alone(*state_, crop, {}) : run_on_pool(*state_, crop, pool);
}

const std::string& IntegerEngine::isa() const {
  return state_->isa;
}

void IntegerEngine::observe(const RgbImage& crop, const LayerObserver& observer) const {
  Observation observation = {state_->file.layers, observer};
  run_observed(*state_, crop, {after_operation, &observation});
}

std::vector<OperationCost> IntegerEngine::profile(const RgbImage& crop) const {
  integer::Profiler profiler(state_->file.layers);
  run_observed(*state_, crop, profiler.observer());
  return profiler.costs();
}

std::optional<AttentionRow> IntegerEngine::attention_row(const RgbImage& crop,
                                                         std::size_t index) const {
  const runtime::Network& network = state_->file.network;
  std::vector<std::size_t> attentions;
  for (std::size_t i = 0; i < network.header.op_count; ++i) {
    if (runtime::attends_everywhere(runtime::operation(network, i))) {
      attentions.push_back(i);
    }
  }
  if (attentions.empty()) {
    return {};
  }
  const std::size_t chosen = attentions[std::min(index, attentions.size() - 1)];
  const runtime::Op op = runtime::operation(network, chosen);
  AttentionRow row = {attentions.size(), op.heads, runtime::attended_tokens(op), {}, {}};
  std::vector<std::int32_t> exact(row.heads * row.tokens);
  std::vector<std::int32_t> quantized(exact.size());
  const runtime::AttentionView view = {chosen, exact.data(), quantized.data()};
  runtime::RunOptions options;
  options.view = &view;
  run_alone(*state_, crop, options);
  const auto reals = [](const std::vector<std::int32_t>& values) {
    std::vector<float> result;
    result.reserve(values.size());
    for (const std::int32_t value : values) {
      result.push_back(std::ldexp(static_cast<float>(value), -16));
    }
    return result;
  };
  row.exact = reals(exact);
  row.quantized = reals(quantized);
  return row;
}

std::size_t IntegerEngine::arena_bytes() const {
  return runtime::arena_size(state_->file.network);
}

std::size_t IntegerEngine::packed_bytes() const {
  return state_->packed.size();
}

std::size_t IntegerEngine::file_bytes() const {
  return state_->bytes.size();
}

std::span<const std::byte> IntegerEngine::content() const {
  return state_->bytes;
}

std::uint64_t IntegerEngine::saturations() const {
  return state_->saturations;
}

}  // namespace bitlog2
