// The arithmetic with which the forward pass (model/forward.h) lowers a model: it computes nothing
// and decides which operation of the runtime each layer becomes. What a layer must write depends on
// the layer that reads it, so every layer is held back until its reader is known.
//
// The runtime has one residual stream and one value on its way from layer to layer. A model that
// needs more has no integer form: then a function here throws Error that names the layers. No
// result of a layer may be dropped silently.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <variant>

#include "bitlog2/quantized_model.h"
#include "integer/lower/emit.h"

namespace bitlog2::integer {

class LoweringOps {
 public:
  /// A tensor of the network. It holds no values; `id` says which one it is.
  struct Tensor {
    std::size_t tokens = 0;
    std::size_t channels = 0;
    std::size_t id = 0;
  };

  /// `quantized` and `program` must outlive this.
  LoweringOps(const QuantizedModel& quantized, ProgramBuilder& program)
      : model_(quantized.model), emitter_(quantized, program) {}

  Tensor embed_patches(const Linear& projection);
  Tensor add_positions(std::span<const float> prefix_tokens, std::span<const float> pos_embed,
                       const Tensor& patches);
  Tensor layer_norm(const LayerNorm& norm, const Tensor& x);
  Tensor linear(const Linear& layer, const Tensor& x);
  Tensor attention(const Attention& attention, const Tensor& qkv);
  Tensor activation(Activation function, const Tensor& x);
  Tensor add(const Tensor& x, const Tensor& y);
  Tensor merge_patches(std::size_t grid, const Tensor& x);
  Tensor first_tokens(std::size_t count, const Tensor& x);
  Tensor mean_of_tokens(std::size_t first, const Tensor& x);
  Tensor join_tokens(const Tensor& x);
  Tensor first_and_mean(std::size_t first, const Tensor& x);

  /// Tokens of the last block that no later layer reads are not computed.
  static bool drops_unread_tokens() { return true; }

  /// Makes `logits`, which a linear layer has just given, the network's output.
  void finish(const Tensor& logits);

 private:
  // What is held back.
  struct Embedding {
    const Linear* projection;
  };
  struct Activated {
    LinearStep linear;
    Activation function;  // behind it
  };
  struct Merging {
    std::size_t grid;
  };
  using Pending = std::variant<std::monostate, Embedding, NormStep, LinearStep, AttentionStep,
                               Activated, Merging, MeanStep>;

  Tensor hold_mean(std::size_t first, const Tensor& x, std::size_t rows);
  Tensor new_tensor(std::size_t tokens, std::size_t channels);
  Tensor hold(Pending pending, std::size_t tokens, std::size_t channels);
  bool is_pending(const Tensor& x) const;
  bool is_stream(const Tensor& x) const;
  std::string describe_pending() const;
  [[noreturn]] void refuse(std::string_view reader, const Tensor& x) const;
  template <class Step>
  const Step& pending_step(const Tensor& x, std::string_view reader) const;
  void bring_to_stream(const Tensor& x, std::string_view reader);
  void set_stream(const Tensor& x);
  void require_whole_stream(const Tensor& x, std::string_view reader) const;

  const Model& model_;
  Emitter emitter_;
  std::size_t tensors_ = 0;  // the number of tensors made so far; the id of the last one
  Pending pending_;
  Tensor pending_tensor_;  // the output of what is held back; no tensor if nothing is
  Tensor stream_;  // the content of the residual stream, or of its first rows; none at first
  std::size_t stream_rows_ = 0;  // number of rows that it holds
};

}  // namespace bitlog2::integer
