#include "model/names/assembly.h"

#include <algorithm>
#include <cmath>

namespace bitlog2 {
namespace {

using Values = std::vector<float>;

std::uint64_t count_of(const std::vector<std::uint64_t>& shape) {
  std::uint64_t count = 1;
  for (const std::uint64_t size : shape) {
    count *= size;
  }
  return count;
}

Values concatenated(const std::vector<Values>& parts) {
  Values result;
  for (const Values& part : parts) {
    result.insert(result.end(), part.begin(), part.end());
  }
  return result;
}

Assembly whole(std::string name, std::vector<std::uint64_t> shape) {
  return {{{std::move(name), std::move(shape)}}, concatenated};
}

/// Zeros where there is no such tensor.
Assembly whole_or_zeros(std::string name, std::vector<std::uint64_t> shape) {
  const auto count = static_cast<std::size_t>(count_of(shape));
  return {{{std::move(name), std::move(shape), true}}, [count](std::vector<Values> parts) {
            return parts[0].empty() ? Values(count) : std::move(parts[0]);
          }};
}

/// Side by side what `first` and `second` call [n, c]: half of each, [n, 2c].
Values half_of_both(const std::vector<Values>& parts, std::size_t columns) {
  Values result;
  for (std::size_t begin = 0; begin < parts[0].size(); begin += columns) {
    for (const Values& part : parts) {
      for (std::size_t i = begin; i < begin + columns; ++i) {
        result.push_back(part[i] / 2);
      }
    }
  }
  return result;
}

Values mean_of_both(const std::vector<Values>& parts) {
  Values result = parts[0];
  for (std::size_t i = 0; i < result.size(); ++i) {
    result[i] = (result[i] + parts[1][i]) / 2;
  }
  return result;
}

Values identity_weights(std::size_t size) {
  Values result(size * size);
  for (std::size_t i = 0; i < size; ++i) {
    result[i * size + i] = 1.0F;
  }
  return result;
}

class Assembler {
 public:
  Assembler(const Parameter& parameter, const ModelConfig& config, const CheckpointNames& names,
            std::optional<PositionResize> position_resize)
      : parameter_(parameter), config_(config), names_(names), position_resize_(position_resize) {}

  Assembly assemble() const {
    const std::string& name = parameter_.name;
    if (name == "cls_token" || name == "prefix_tokens") {
      return prefix_tokens();
    }
    if (name == "pos_embed") {
      return positions();
    }
    if (name == "patch_embed.proj.bias") {
      return config_.embed_norm && config_.family == Family::vit ? or_zeros() : as_it_is();
    }
    if (name == "norm.weight" || name == "norm.bias") {
      const std::string other = "fc_" + name;
      return names_.contains(other) ? whole(other, parameter_.shape) : as_it_is();
    }
    if (name.starts_with("attn_pool.qkv.")) {
      return pooling_qkv();
    }
    if (name.starts_with("head.")) {
      return head();
    }
    return of_block();
  }

 private:
  Assembly as_it_is() const { return whole(parameter_.name, parameter_.shape); }
  Assembly or_zeros() const { return whole_or_zeros(parameter_.name, parameter_.shape); }

  /// The parameter's name without its end, with another one.
  std::string beside(std::string_view end, std::string_view other) const {
    const std::string& name = parameter_.name;
    return name.substr(0, name.size() - end.size()) + std::string(other);
  }

  Assembly of_block() const {
    const std::string& name = parameter_.name;
    if (name.ends_with(".attn.qkv.weight") || name.ends_with(".attn.qkv.bias")) {
      return qkv();
    }
    if (config_.relative_position_bias && name.ends_with(".relative_position_bias_table")) {
      return relative_positions();
    }
    for (const char* end : {".weight", ".bias"}) {
      if (name.ends_with(std::string(".attn.proj") + end)) {
        return scaled(beside(std::string("attn.proj") + end, "ls1.gamma"));
      }
      if (name.ends_with(std::string(".mlp.fc2") + end) && !name.starts_with("attn_pool.")) {
        return scaled(beside(std::string("mlp.fc2") + end, "ls2.gamma"));
      }
    }
    return as_it_is();
  }

  /// LayerScale: rows times what a branch's channels are scaled by.
  Assembly scaled(const std::string& scale) const {
    const std::uint64_t rows = parameter_.shape[0];
    return {{{parameter_.name, parameter_.shape}, {scale, {rows}, true}},
            [rows](std::vector<Values> parts) {
              Values& values = parts[0];
              const std::size_t columns = values.size() / static_cast<std::size_t>(rows);
              for (std::size_t i = 0; i < values.size() && !parts[1].empty(); ++i) {
                values[i] *= parts[1][i / columns];
              }
              return std::move(values);
            }};
  }

  /// q, k and v in one tensor or in three; some or all may have no bias.
  Assembly qkv() const {
    const std::string& name = parameter_.name;
    const bool is_bias = name.ends_with(".bias");
    const std::string_view end = is_bias ? "qkv.bias" : "qkv.weight";
    const std::string_view own = is_bias ? ".bias" : ".weight";
    if (names_.contains(name)) {
      return in_halves(as_it_is());
    }
    std::vector<std::uint64_t> shape = parameter_.shape;
    shape[0] /= 3;
    const auto count = static_cast<std::size_t>(count_of(shape));
    Assembly result;
    bool any = false;
    for (const char* part : {"q", "k", "v"}) {
      result.pieces.push_back({beside(end, part + std::string(own)), shape, is_bias});
      any = any || names_.contains(result.pieces.back().name);
    }
    if (!any && (!is_bias || some_qkv_has_a_bias())) {
      return as_it_is();  // which is missing
    }
    result.combine = [count](std::vector<Values> parts) {
      for (Values& part : parts) {
        part.resize(count);
      }
      return concatenated(parts);
    };
    return in_halves(std::move(result));
  }

  /// EVA-02 turns channels 2i and 2i + 1 of a head of q and k; here these are i and i + half.
  Assembly in_halves(Assembly qkv) const {
    if (config_.rope_grid == 0) {
      return qkv;
    }
    const auto rows = static_cast<std::size_t>(parameter_.shape[0]);
    const std::size_t head_dim = config_.embed_dim / config_.num_heads[0];
    qkv.combine = [rows, head_dim, combine = std::move(qkv.combine)](std::vector<Values> parts) {
      const Values values = combine(std::move(parts));
      Values result = values;
      const std::size_t columns = values.size() / rows;
      for (std::size_t row = 0; row < rows / 3 * 2; ++row) {
        const std::size_t i = row % head_dim;
        const std::size_t to = row - i + i / 2 + i % 2 * (head_dim / 2);
        std::copy_n(values.begin() + static_cast<std::ptrdiff_t>(row * columns), columns,
                    result.begin() + static_cast<std::ptrdiff_t>(to * columns));
      }
      return result;
    };
    return qkv;
  }

  bool some_qkv_has_a_bias() const {
    return std::ranges::any_of(names_.all(), [](const auto& entry) {
      const std::string& name = entry.first;
      return name.ends_with(".attn.qkv.bias") || name.ends_with(".attn.q.bias");
    });
  }

  /// The class token, those of distillation, registers.
  Assembly prefix_tokens() const {
    Assembly result;
    std::uint64_t left = config_.prefix_tokens;
    for (const char* name : {"cls_token", "dist_token"}) {
      if (left > 0 && (names_.contains(name) || name == std::string_view("cls_token"))) {
        result.pieces.push_back({name, {1, 1, config_.embed_dim}});
        --left;
      }
    }
    if (left > 0) {
      result.pieces.push_back({"reg_token", {1, left, config_.embed_dim}});
    }
    result.combine = concatenated;
    return result;
  }

  /// Tokens without a position of their own get zeros.
  Assembly positions() const {
    const TensorView* tensor = names_.find("pos_embed");
    const auto count = static_cast<std::size_t>(count_of(parameter_.shape));
    if (tensor == nullptr && (config_.relative_position_bias || config_.rope_theta > 0)) {
      return or_zeros();
    }
    const std::size_t channels = config_.embed_dim;
    const std::size_t side = config_.img_size / config_.patch_size;
    const std::size_t tokens =
        tensor == nullptr ? 0 : static_cast<std::size_t>(tensor->element_count) / channels;
    const TensorView* registers = names_.find("reg_token");
    const PositionGrid grid = grid_of_positions(
        tokens, config_.prefix_tokens,
        registers == nullptr ? 0 : static_cast<std::size_t>(registers->element_count) / channels);
    const bool has_channels =
        tensor != nullptr && !tensor->shape.empty() && tensor->shape.back() == channels;
    if (grid.side == 0 || !has_channels || (grid.side != side && !position_resize_)) {
      return as_it_is();  // which does not fit
    }
    const std::size_t prefix = config_.prefix_tokens;
    const PositionResize rule = position_resize_.value_or(PositionResize::plain);
    return {{{"pos_embed", {}}}, [=](std::vector<Values> parts) {
              const std::span<const float> values = parts[0];
              Values result(prefix * channels);
              std::ranges::copy(values.first(grid.prefix * channels), result.begin());
              const auto patches = values.subspan(grid.prefix * channels);
              if (grid.side == side) {
                result.insert(result.end(), patches.begin(), patches.end());
              } else {
                const Values resized = resize_positions(patches, grid.side, side, rule);
                result.insert(result.end(), resized.begin(), resized.end());
              }
              result.resize(count);
              return result;
            }};
  }

  /// A block's own table, or one for all blocks, for this size of the image.
  Assembly relative_positions() const {
    constexpr const char* kShared = "relative_position_bias_table";
    const std::string name = names_.contains(parameter_.name) ? parameter_.name : kShared;
    const TensorView* tensor = names_.find(name);
    const std::size_t heads = config_.num_heads[0];
    const std::size_t to = config_.img_size / config_.patch_size;
    if (tensor == nullptr || tensor->shape.size() != 2 || tensor->shape[1] != heads) {
      return as_it_is();  // which is missing or does not fit
    }
    const std::size_t from = side_of_relative_positions(static_cast<std::size_t>(tensor->shape[0]));
    if (from == 0 || from == to || !position_resize_) {
      return whole(name, parameter_.shape);
    }
    return {{{name, tensor->shape}},
            [=, rule = *position_resize_](const std::vector<Values>& parts) {
              return resize_relative_positions(parts[0], heads, from, to, rule);
            }};
  }

  Assembly head() const {
    const bool is_weight = parameter_.name == "head.weight";
    const std::string end = is_weight ? "weight" : "bias";
    if (config_.num_classes == 0) {
      for (const char* name : {"projection.", "head."}) {
        if (names_.contains(name + std::string("weight"))) {
          return is_weight ? whole(name + end, parameter_.shape)
                           : whole_or_zeros(name + end, parameter_.shape);
        }
      }
      if (config_.projection > 0) {
        return whole("projection." + end, parameter_.shape);  // which is missing
      }
      const auto size = static_cast<std::size_t>(parameter_.shape[0]);
      return {{}, [=](const std::vector<Values>&) {
                return is_weight ? identity_weights(size) : Values(size);
              }};
    }
    if (config_.pooling == Pooling::class_tokens) {
      std::vector<std::uint64_t> shape = parameter_.shape;
      if (!is_weight) {
        return {{{"head.bias", shape}, {"head_dist.bias", shape}}, mean_of_both};
      }
      shape[1] /= 2;
      const auto columns = static_cast<std::size_t>(shape[1]);
      return {{{"head.weight", shape}, {"head_dist.weight", shape}},
              [columns](const std::vector<Values>& parts) { return half_of_both(parts, columns); }};
    }
    return as_it_is();
  }

  /// The query is qkv's bias of q: what the learned one becomes.
  Assembly pooling_qkv() const {
    const bool is_weight = parameter_.name.ends_with(".weight");
    const std::uint64_t channels = config_.embed_dim;
    const auto size = static_cast<std::size_t>(channels);
    const bool in_one = names_.contains("attn_pool.qkv.weight");
    if (is_weight) {
      const auto without_query = [size, in_one](std::vector<Values> parts) {
        Values result(size * size);
        const auto begin = parts[0].begin() + static_cast<std::ptrdiff_t>(in_one ? size * size : 0);
        result.insert(result.end(), begin, parts[0].end());
        return result;
      };
      return in_one ? Assembly{{{"attn_pool.qkv.weight", {3 * channels, channels}}}, without_query}
                    : Assembly{{{"attn_pool.kv.weight", {2 * channels, channels}}}, without_query};
    }
    Assembly result;
    result.pieces.push_back({"attn_pool.latent", {channels}});
    if (in_one) {
      result.pieces.push_back({"attn_pool.qkv.weight", {3 * channels, channels}});
      result.pieces.push_back({"attn_pool.qkv.bias", {3 * channels}});
    } else {
      result.pieces.push_back({"attn_pool.q.weight", {channels, channels}});
      result.pieces.push_back({"attn_pool.q.bias", {channels}});
      result.pieces.push_back({"attn_pool.kv.bias", {2 * channels}});
    }
    result.combine = [size](std::vector<Values> parts) {
      Values bias(size);
      for (std::size_t row = 0; row < size; ++row) {
        double sum = parts[2][row];
        for (std::size_t i = 0; i < size; ++i) {
          sum += static_cast<double>(parts[1][row * size + i]) * parts[0][i];
        }
        bias[row] = static_cast<float>(sum);
      }
      const Values& rest = parts.back();
      const std::size_t skip = parts.size() == 3 ? size : 0;
      bias.insert(bias.end(), rest.begin() + static_cast<std::ptrdiff_t>(skip), rest.end());
      return bias;
    };
    return result;
  }

  const Parameter& parameter_;
  const ModelConfig& config_;
  const CheckpointNames& names_;
  std::optional<PositionResize> position_resize_;
};

}  // namespace

Assembly assembly_of(const Parameter& parameter, const ModelConfig& config,
                     const CheckpointNames& names, std::optional<PositionResize> position_resize) {
  return Assembler(parameter, config, names, position_resize).assemble();
}

PositionGrid grid_of_positions(std::size_t tokens, std::size_t prefix, std::size_t registers) {
  for (const std::size_t before : {prefix, prefix - std::min(prefix, registers), std::size_t{0}}) {
    const std::size_t patches = tokens - std::min(tokens, before);
    const auto side =
        static_cast<std::size_t>(std::lround(std::sqrt(static_cast<double>(patches))));
    if (side > 0 && side * side == patches) {
      return {side, before};
    }
  }
  return {};
}

}  // namespace bitlog2
