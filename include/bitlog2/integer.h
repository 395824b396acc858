// Integer-only inference: lowering of a calibrated model to integers, and the engine that runs the
// quantized file.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "bitlog2/engine.h"
#include "bitlog2/quantized_model.h"

#pragma GCC visibility push(default)
namespace bitlog2 {

/// The metadata of a quantized file.
struct QuantizedFileInfo {
  ModelConfig config;
  QuantizationSettings settings;
  std::vector<std::string> class_names;  ///< one per class, or empty
};

/// Lowers a calibrated model to integers: the whole content of a quantized file (docs/format.md),
/// ready to be written or run. docs/integer-inference.md has the equations. Throws Error, naming
/// the layer, for numbers that the file's integers cannot hold.
std::vector<std::byte> lower(const QuantizedModel& quantized,
                             const std::vector<std::string>& class_names);

/// The instruction sets that this build has kernels for and this machine can run, the fastest
/// first, "portable" the last.
std::vector<std::string> available_isas();

/// How many products of bytes one core multiplies and adds in a second by an instruction set, with
/// all operands in registers; the best of several tries. No kernel can exceed it.
double peak_multiply_adds_per_second(const std::string& isa);

/// The cost of one operation of a network.
struct OperationCost {
  std::string layer;  ///< "blocks.0.attn.qkv"
  std::string kind;   ///< embed, layer_norm, linear, attention or mean
  std::uint64_t multiply_adds = 0;
  double seconds = 0;
};

/// How much the first token, a ViT's class token, attends to every token in one attention.
struct AttentionRow {
  std::size_t attentions = 0;  ///< number of such attention operations in the network
  std::size_t heads = 0;
  std::size_t tokens = 0;    ///< the patches are the last of them
  std::vector<float> exact;  ///< [heads, tokens], softmax's probabilities in steps of 2^-16
  /// [heads, tokens], the values that their codes stand for; of Sqrt2, divided by delta.
  std::vector<float> quantized;
};

/// An engine that runs in integers only. Thread-safe; the same bits on every machine, with every
/// instruction set and any number of threads.
class IntegerEngine final : public Engine {
 public:
  /// Opens a quantized file in place. Throws Error if it is damaged or of another version. `isa` is
  /// one of available_isas(); empty: the environment variable BITLOG2_ISA, else the fastest.
  static std::unique_ptr<IntegerEngine> open(const std::filesystem::path& path,
                                             const std::string& isa = {});

  /// Takes a file's content as lower() gives it; `name` is for messages.
  static std::unique_ptr<IntegerEngine> from_bytes(std::vector<std::byte> bytes,
                                                   const std::string& name,
                                                   const std::string& isa = {});

  ~IntegerEngine() override;
  IntegerEngine(const IntegerEngine&) = delete;
  IntegerEngine& operator=(const IntegerEngine&) = delete;

  const ModelConfig& config() const override;
  const QuantizedFileInfo& info() const;

  std::vector<float> logits(std::span<const RgbImage> crops) const override;
  std::vector<float> logits(std::span<const RgbImage> crops, ThreadPool& pool) const override;

  /// Logits of one crop as the runtime gives them, with 16 fraction bits: 2^16 times the logit.
  std::vector<std::int32_t> integer_logits(const RgbImage& crop) const;

  /// The same, computed by all threads of `pool` together.
  std::vector<std::int32_t> integer_logits(const RgbImage& crop, ThreadPool& pool) const;

  const std::string& isa() const;  ///< the instruction set whose kernels run

  /// Calls `observer` with the residual stream of one image after the patch embedding and after
  /// every layer that adds to or replaces it, and with the logits.
  void observe(const RgbImage& crop, const LayerObserver& observer) const;

  /// The first token's row of the attention map at `index`, or of the last one if there are fewer;
  /// nothing where all attention is within windows (Swin).
  std::optional<AttentionRow> attention_row(const RgbImage& crop, std::size_t index) const;

  /// The cost of every operation in one run on one thread, in order of execution.
  std::vector<OperationCost> profile(const RgbImage& crop) const;

  std::size_t arena_bytes() const;   ///< working memory for one image
  std::size_t packed_bytes() const;  ///< of packed weights; 0: every run packs them anew
  std::size_t file_bytes() const;

  /// The file's whole content, valid as long as the engine.
  std::span<const std::byte> content() const;

  std::uint64_t saturations() const override;

  struct State;

 private:
  explicit IntegerEngine(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace bitlog2
#pragma GCC visibility pop
