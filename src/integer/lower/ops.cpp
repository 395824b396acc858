#include "integer/lower/ops.h"

#include <fmt/format.h>

#include <utility>
#include <vector>

#include "bitlog2/error.h"
#include "integer/lower/activation_table.h"

namespace bitlog2::integer {
namespace {

using runtime::Buffer;

constexpr std::string_view kAddition = "a residual addition";
constexpr std::string_view kFirstTokens = "the choice of the first tokens";
constexpr std::string_view kLogits = "the logits";
constexpr std::string_view kMean = "the mean over tokens";
constexpr std::string_view kJoining = "the joining of tokens";
constexpr std::string_view kMerging = "the merging of patches";
constexpr std::string_view kPositions = "the position embedding";

template <class... Visitors>
struct Overloaded : Visitors... {
  using Visitors::operator()...;
};
template <class... Visitors>
Overloaded(Visitors...) -> Overloaded<Visitors...>;

void require_square(std::size_t grid, std::size_t tokens, std::string_view reader) {
  if (grid == 0 || grid * grid != tokens) {
    throw Error(fmt::format("{} takes {} tokens, which are no square of {}", reader, tokens, grid));
  }
}

}  // namespace

LoweringOps::Tensor LoweringOps::new_tensor(std::size_t tokens, std::size_t channels) {
  return {tokens, channels, ++tensors_};
}

LoweringOps::Tensor LoweringOps::hold(Pending pending, std::size_t tokens, std::size_t channels) {
  pending_ = std::move(pending);
  pending_tensor_ = new_tensor(tokens, channels);
  return pending_tensor_;
}

bool LoweringOps::is_pending(const Tensor& x) const {
  return x.id != 0 && x.id == pending_tensor_.id;
}

bool LoweringOps::is_stream(const Tensor& x) const {
  return x.id != 0 && x.id == stream_.id;
}

std::string LoweringOps::describe_pending() const {
  return std::visit(Overloaded{
                        [](std::monostate) { return std::string("nothing"); },
                        [](const Embedding& step) { return step.projection->name; },
                        [](const NormStep& step) { return step.norm->name; },
                        [](const LinearStep& step) { return step.layer->name; },
                        [](const AttentionStep& step) { return step.attention->name; },
                        [](const Activated& step) {
                          return fmt::format("{} behind {}", display_name(step.function),
                                             step.linear.layer->name);
                        },
                        [](const Merging&) { return std::string(kMerging); },
                        [](const MeanStep&) { return std::string(kMean); },
                    },
                    pending_);
}

void LoweringOps::refuse(std::string_view reader, const Tensor& x) const {
  if (is_pending(x)) {
    throw Error(fmt::format("no integer form: {} cannot follow {}", reader, describe_pending()));
  }
  if (is_stream(x) && pending_tensor_.id != 0) {
    throw Error(fmt::format("no integer form: {} comes before the output of {} is used", reader,
                            describe_pending()));
  }
  if (is_stream(x)) {
    throw Error(fmt::format("no integer form: {} cannot read the residual stream", reader));
  }
  throw Error(fmt::format(
      "no integer form: {} reads a tensor that is neither the residual stream nor the output of "
      "the layer before it",
      reader));
}

template <class Step>
const Step& LoweringOps::pending_step(const Tensor& x, std::string_view reader) const {
  const Step* step = is_pending(x) ? std::get_if<Step>(&pending_) : nullptr;
  if (step == nullptr) {
    refuse(reader, x);
  }
  return *step;
}

void LoweringOps::set_stream(const Tensor& x) {
  stream_ = x;
  stream_rows_ = x.tokens;
  pending_ = std::monostate();
  pending_tensor_ = {};
}

/// Writes `x` to the residual stream, for `reader`. Afterwards nothing is held back.
void LoweringOps::bring_to_stream(const Tensor& x, std::string_view reader) {
  if (is_stream(x) && pending_tensor_.id == 0) {
    return;
  }
  if (!is_pending(x)) {
    refuse(reader, x);
  }
  if (const auto* embedding = std::get_if<Embedding>(&pending_)) {
    emitter_.embed(*embedding->projection, x.tokens, {}, 0);
  } else if (const auto* norm = std::get_if<NormStep>(&pending_);
             norm != nullptr && norm->merge_grid == 0 && norm->rows == stream_rows_ &&
             norm->rows == x.tokens) {
    emitter_.norm_to_residual(*norm);
  } else if (const auto* mean = std::get_if<MeanStep>(&pending_);
             mean != nullptr && mean->rows == 1) {
    emitter_.mean_to_residual(*mean);
  } else if (const auto* linear = std::get_if<LinearStep>(&pending_)) {
    emitter_.linear(*linear, Buffer::residual);
  } else {
    refuse(reader, x);
  }
  set_stream(x);
}

void LoweringOps::require_whole_stream(const Tensor& x, std::string_view reader) const {
  if (x.tokens != stream_rows_) {
    throw Error(
        fmt::format("no integer form: {} leaves out a part of the residual stream", reader));
  }
}

LoweringOps::Tensor LoweringOps::embed_patches(const Linear& projection) {
  if (tensors_ != 0) {
    throw Error(fmt::format("no integer form: {} is not the first layer", projection.name));
  }
  const std::size_t grid = model_.config.img_size / model_.config.patch_size;
  return hold(Embedding{&projection}, grid * grid, projection.out_features);
}

LoweringOps::Tensor LoweringOps::add_positions(std::span<const float> prefix_tokens,
                                               std::span<const float> pos_embed,
                                               const Tensor& patches) {
  const auto& embedding = pending_step<Embedding>(patches, kPositions);
  const std::size_t prefix = prefix_tokens.size() / patches.channels;
  const std::size_t tokens = patches.tokens + prefix;
  if (pos_embed.size() != tokens * patches.channels) {
    throw Error(fmt::format("{} has {} values for {} tokens of {} channels", kPositions,
                            pos_embed.size(), tokens, patches.channels));
  }
  std::vector<double> positions(pos_embed.begin(), pos_embed.end());
  for (std::size_t i = 0; i < prefix_tokens.size(); ++i) {
    positions[i] += prefix_tokens[i];
  }
  emitter_.embed(*embedding.projection, tokens, positions, prefix);
  const Tensor result = new_tensor(tokens, patches.channels);
  set_stream(result);
  return result;
}

LoweringOps::Tensor LoweringOps::layer_norm(const LayerNorm& norm, const Tensor& x) {
  if (const auto* merging = std::get_if<Merging>(&pending_); merging != nullptr && is_pending(x)) {
    return hold(NormStep{&norm, x.tokens, merging->grid}, x.tokens, x.channels);
  }
  bring_to_stream(x, norm.name);
  return hold(NormStep{&norm, x.tokens, 0}, x.tokens, x.channels);
}

LoweringOps::Tensor LoweringOps::linear(const Linear& layer, const Tensor& x) {
  if (is_stream(x) && x.tokens == 1 && stream_rows_ == 1) {
    return linear(layer, mean_of_tokens(0, x));  // of one token
  }
  if (!is_pending(x)) {
    refuse(layer.name, x);
  }
  const ActivationCodes codes = emitter_.input_codes(layer);
  Buffer source = Buffer::codes_a;
  if (const auto* norm = std::get_if<NormStep>(&pending_)) {
    emitter_.norm_to_codes(*norm, codes);
  } else if (const auto* attention = std::get_if<AttentionStep>(&pending_)) {
    emitter_.attention(*attention, codes);
  } else if (const auto* activated = std::get_if<Activated>(&pending_)) {
    if (activated->function == Activation::swiglu) {
      emitter_.gated_linear(activated->linear, codes);
    } else {
      emitter_.linear_and_activation(activated->linear, activated->function, codes);
    }
    source = Buffer::codes_b;
  } else if (const auto* mean = std::get_if<MeanStep>(&pending_)) {
    emitter_.mean_to_codes(*mean, codes);
  } else {
    refuse(layer.name, x);
  }
  return hold(LinearStep{&layer, source, codes, x.tokens}, x.tokens, layer.out_features);
}

LoweringOps::Tensor LoweringOps::attention(const Attention& attention, const Tensor& qkv) {
  emitter_.qkv(pending_step<LinearStep>(qkv, attention.name), attention);
  return hold(AttentionStep{&attention, qkv.tokens, qkv.tokens}, qkv.tokens, qkv.channels / 3);
}

LoweringOps::Tensor LoweringOps::activation(Activation function, const Tensor& x) {
  return hold(Activated{pending_step<LinearStep>(x, display_name(function)), function}, x.tokens,
              x.channels / branches(function));
}

LoweringOps::Tensor LoweringOps::add(const Tensor& x, const Tensor& y) {
  const auto& step = pending_step<LinearStep>(y, kAddition);
  if (!is_stream(x) || x.tokens != y.tokens || x.channels != y.channels) {
    throw Error(fmt::format(
        "no integer form: the output of {} is added to another tensor than the residual stream",
        step.layer->name));
  }
  emitter_.linear(step, Buffer::residual_add);
  const std::size_t rows = stream_rows_;
  const Tensor result = new_tensor(x.tokens, x.channels);
  set_stream(result);
  stream_rows_ = rows;  // those behind the first ones stay as they are
  return result;
}

LoweringOps::Tensor LoweringOps::merge_patches(std::size_t grid, const Tensor& x) {
  require_square(grid, x.tokens, kMerging);
  bring_to_stream(x, kMerging);
  require_whole_stream(x, kMerging);
  return hold(Merging{grid}, x.tokens / 4, x.channels * 4);
}

LoweringOps::Tensor LoweringOps::first_tokens(std::size_t count, const Tensor& x) {
  if (auto* step = std::get_if<AttentionStep>(&pending_); step != nullptr && is_pending(x)) {
    if (has_windows(*step->attention)) {
      refuse(kFirstTokens, x);  // windows attend as a whole
    }
    step->rows = count;
    pending_tensor_ = new_tensor(count, x.channels);
    return pending_tensor_;
  }
  if (!is_stream(x)) {
    bring_to_stream(x, kFirstTokens);
  }
  // The first rows of the stream; what is held back beside it stays so.
  stream_ = new_tensor(count, x.channels);
  return stream_;
}

LoweringOps::Tensor LoweringOps::hold_mean(std::size_t first, const Tensor& x, std::size_t rows) {
  const std::size_t patches = x.tokens < first ? 0 : x.tokens - first;
  const std::size_t grid = side_of_square(patches);
  require_square(grid, patches, kMean);
  bring_to_stream(x, kMean);
  require_whole_stream(x, kMean);
  return hold(MeanStep{first, grid, x.channels, rows}, 1, rows * x.channels);
}

LoweringOps::Tensor LoweringOps::mean_of_tokens(std::size_t first, const Tensor& x) {
  return hold_mean(first, x, 1);
}

LoweringOps::Tensor LoweringOps::first_and_mean(std::size_t first, const Tensor& x) {
  return hold_mean(first, x, 2);
}

/// Rows of codes lie one behind the other, so that only the shape changes.
LoweringOps::Tensor LoweringOps::join_tokens(const Tensor& x) {
  pending_step<NormStep>(x, kJoining);
  pending_tensor_ = new_tensor(1, x.tokens * x.channels);
  return pending_tensor_;
}

void LoweringOps::finish(const Tensor& logits) {
  emitter_.linear(pending_step<LinearStep>(logits, kLogits), Buffer::logits);
  pending_ = std::monostate();
  pending_tensor_ = {};
}

}  // namespace bitlog2::integer
