// Building a model's structure from its config: names, sizes, token groups. No weights
// are read or allocated here: a config may come from a file that has not been checked yet.
#include "bitlog2/model.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numbers>
#include <numeric>
#include <random>

#include "base/elementary.h"

namespace bitlog2 {
namespace {

Linear make_linear(Role role, std::string name, std::size_t in, std::size_t out,
                   bool with_bias = true) {
  Linear linear;
  linear.role = role;
  linear.name = std::move(name);
  linear.in_features = in;
  linear.out_features = out;
  linear.has_bias = with_bias;
  return linear;
}

LayerNorm make_layer_norm(std::string name, std::size_t channels, float eps) {
  LayerNorm norm;
  norm.name = std::move(name);
  norm.channels = channels;
  norm.eps = eps;
  return norm;
}

AttentionGroups one_group(std::size_t tokens) {
  AttentionGroups groups;
  groups.tokens = tokens;
  groups.token_indices.resize(tokens);
  std::iota(groups.token_indices.begin(), groups.token_indices.end(), 0U);
  return groups;
}

/// Swin's windows over a grid that is rolled by `shift` towards the origin first.
AttentionGroups shifted_windows(std::size_t grid, std::size_t window, std::size_t shift) {
  AttentionGroups groups;
  const std::size_t per_side = grid / window;
  groups.count = per_side * per_side;
  groups.tokens = window * window;
  // Which of the three bands of the rolled grid a coordinate lies in: the last window is
  // cut where the roll brought the other edge in.
  const auto band = [&](std::size_t at) -> std::size_t {
    return at < grid - window ? 0 : at < grid - shift ? 1 : 2;
  };
  for (std::size_t group = 0; group < groups.count; ++group) {
    for (std::size_t token = 0; token < groups.tokens; ++token) {
      const std::size_t row = group / per_side * window + token / window;
      const std::size_t column = group % per_side * window + token % window;
      groups.token_indices.push_back(
          static_cast<std::uint32_t>((row + shift) % grid * grid + (column + shift) % grid));
      if (shift > 0) {
        groups.regions.push_back(static_cast<std::uint8_t>(band(row) * 3 + band(column)));
      }
    }
  }
  return groups;
}

std::vector<std::uint32_t> relative_position_index(std::size_t window) {
  const std::size_t tokens = window * window;
  std::vector<std::uint32_t> index;
  index.reserve(tokens * tokens);
  for (std::size_t i = 0; i < tokens; ++i) {
    for (std::size_t j = 0; j < tokens; ++j) {
      const std::size_t rows = i / window + window - 1 - j / window;
      const std::size_t columns = i % window + window - 1 - j % window;
      index.push_back(static_cast<std::uint32_t>(rows * (2 * window - 1) + columns));
    }
  }
  return index;
}

/// The same with a class token before the square of tokens, as BEiT has it.
std::vector<std::uint32_t> relative_position_index_with_class(std::size_t side) {
  const std::vector<std::uint32_t> patches = relative_position_index(side);
  const std::size_t tokens = side * side;
  const auto offsets = static_cast<std::uint32_t>((2 * side - 1) * (2 * side - 1));
  std::vector<std::uint32_t> index = {offsets + 2};
  index.reserve((tokens + 1) * (tokens + 1));
  index.insert(index.end(), tokens, offsets);
  for (std::size_t i = 0; i < tokens; ++i) {
    index.push_back(offsets + 1);
    const auto row = patches.begin() + static_cast<std::ptrdiff_t>(i * tokens);
    index.insert(index.end(), row, row + static_cast<std::ptrdiff_t>(tokens));
  }
  return index;
}

std::size_t mlp_width(const ModelConfig& config, std::size_t channels) {
  return static_cast<std::size_t>(std::lround(config.mlp_ratio * static_cast<double>(channels)));
}

Block make_block(const std::string& name, const ModelConfig& config, std::size_t channels,
                 std::size_t heads) {
  Block block;
  block.norm1 = make_layer_norm(name + ".norm1", channels, config.layer_norm_eps);
  block.attn.name = name + ".attn";
  block.attn.num_heads = heads;
  block.attn.qkv = make_linear(Role::qkv, name + ".attn.qkv", channels, 3 * channels);
  block.attn.proj = make_linear(Role::proj, name + ".attn.proj", channels, channels);
  block.norm2 = make_layer_norm(name + ".norm2", channels, config.layer_norm_eps);
  block.fc1 = make_linear(Role::fc1, name + ".mlp.fc1", channels,
                          branches(config.activation) * mlp_width(config, channels));
  block.fc2 = make_linear(Role::fc2, name + ".mlp.fc2", mlp_width(config, channels), channels);
  return block;
}

/// In turns, for a frequency of 1: of the patch's centre, from -1 to 1 (DINOv3); or of its number
/// in the reference grid, which is in radians (EVA-02).
double place_of(std::size_t at, std::size_t grid, std::size_t reference) {
  const double share = static_cast<double>(at) / static_cast<double>(grid);
  return reference == 0 ? 2 * share + 1 / static_cast<double>(grid) - 1
                        : share * static_cast<double>(reference) / (2 * std::numbers::pi);
}

std::vector<float> rotation_of(const ModelConfig& config, std::size_t grid) {
  constexpr std::size_t kSteps = 1 << 24;  // of a whole turn; float32 has no more
  const std::size_t count = config.embed_dim / config.num_heads[0] / 4;
  std::vector<float> rotation;
  rotation.reserve(grid * count * 2);
  for (std::size_t at = 0; at < grid; ++at) {
    const double place = place_of(at, grid, config.rope_grid);
    for (std::size_t i = 0; i < count; ++i) {
      const double share = static_cast<double>(i) / static_cast<double>(count);
      const double frequency = elementary::exp(-share * elementary::log(config.rope_theta));
      const double turns = place * frequency - std::floor(place * frequency);
      const auto step = static_cast<std::size_t>(std::lround(turns * kSteps)) % kSteps;
      const elementary::UnitVector turned = elementary::turn(step, kSteps);
      rotation.push_back(static_cast<float>(turned.cosine));
      rotation.push_back(static_cast<float>(turned.sine));
    }
  }
  return rotation;
}

void add_vit_stages(Model& model) {
  const ModelConfig& config = model.config;
  const std::size_t grid = config.img_size / config.patch_size;
  const std::size_t tokens = grid * grid + config.prefix_tokens;
  if (config.embed_norm) {
    model.embed_norm = make_layer_norm("norm_pre", config.embed_dim, config.layer_norm_eps);
  }
  Stage stage;
  stage.grid = grid;
  stage.channels = config.embed_dim;
  for (std::size_t i = 0; i < config.depths[0]; ++i) {
    stage.blocks.push_back(
        make_block(fmt::format("blocks.{}", i), config, config.embed_dim, config.num_heads[0]));
    Attention& attn = stage.blocks.back().attn;
    attn.groups = one_group(tokens);
    if (config.relative_position_bias) {
      attn.bias_rows = (2 * grid - 1) * (2 * grid - 1) + 3;
      attn.bias_index = relative_position_index_with_class(grid);
    }
    if (config.rope_theta > 0) {
      attn.rotation = rotation_of(config, grid);
    }
  }
  model.stages.push_back(std::move(stage));
}

void add_swin_stages(Model& model) {
  const ModelConfig& config = model.config;
  std::size_t grid = config.img_size / config.patch_size;
  std::size_t channels = config.embed_dim;
  model.embed_norm = make_layer_norm("patch_embed.norm", channels, config.layer_norm_eps);
  for (std::size_t s = 0; s < config.depths.size(); ++s) {
    Stage stage;
    stage.grid = grid;
    stage.channels = channels;
    const std::size_t window = std::min(config.window_size, grid);
    for (std::size_t i = 0; i < config.depths[s]; ++i) {
      Block block = make_block(fmt::format("layers.{}.blocks.{}", s, i), config, channels,
                               config.num_heads[s]);
      // Every second block shifts, unless one window covers the grid.
      const std::size_t shift = i % 2 == 1 && grid > config.window_size ? window / 2 : 0;
      block.attn.groups = shifted_windows(grid, window, shift);
      block.attn.scale_query = true;
      block.attn.bias_rows = (2 * window - 1) * (2 * window - 1);
      block.attn.bias_index = relative_position_index(window);
      stage.blocks.push_back(std::move(block));
    }
    if (s + 1 < config.depths.size()) {
      const std::string name = fmt::format("layers.{}.downsample", s);
      stage.downsample.push_back(
          {make_layer_norm(name + ".norm", 4 * channels, config.layer_norm_eps),
           make_linear(Role::reduction, name + ".reduction", 4 * channels, 2 * channels, false)});
      grid /= 2;
      channels *= 2;
    }
    model.stages.push_back(std::move(stage));
  }
}

AttentionPooling make_attention_pooling(const ModelConfig& config, std::size_t tokens) {
  const std::size_t channels = config.embed_dim;
  AttentionPooling pooling;
  pooling.attn.name = "attn_pool";
  pooling.attn.num_heads = config.num_heads.back();
  pooling.attn.qkv = make_linear(Role::qkv, "attn_pool.qkv", channels, 3 * channels);
  pooling.attn.proj = make_linear(Role::pool_proj, "attn_pool.proj", channels, channels);
  pooling.attn.groups = one_group(tokens);
  pooling.norm = make_layer_norm("attn_pool.norm", channels, config.layer_norm_eps);
  pooling.fc1 = make_linear(Role::fc1, "attn_pool.mlp.fc1", channels,
                            branches(config.activation) * mlp_width(config, channels));
  pooling.fc2 = make_linear(Role::fc2, "attn_pool.mlp.fc2", mlp_width(config, channels), channels);
  return pooling;
}

}  // namespace

ModelConfig config_of(Family family) {
  ModelConfig config;
  config.family = family;
  if (family == Family::swin) {
    config.prefix_tokens = 0;
    config.pooling = Pooling::mean;
  }
  return config;
}

std::size_t output_size(const ModelConfig& config) {
  const std::size_t channels = config.embed_dim << (config.depths.size() - 1);
  return config.num_classes > 0  ? config.num_classes
         : config.projection > 0 ? config.projection
                                 : channels * pooled_tokens(config.pooling);
}

Model make_model(const ModelConfig& config) {
  Model model;
  model.config = config;
  model.patch_embed = make_linear(Role::patch_embed, "patch_embed.proj",
                                  3 * config.patch_size * config.patch_size, config.embed_dim);
  if (config.family == Family::vit) {
    add_vit_stages(model);
  } else {
    add_swin_stages(model);
  }
  const Stage& last = model.stages.back();
  model.norm = make_layer_norm("norm", last.channels, config.layer_norm_eps);
  if (config.pooling == Pooling::map) {
    model.attention_pooling =
        make_attention_pooling(config, last.grid * last.grid + config.prefix_tokens);
  }
  std::size_t features = last.channels * pooled_tokens(config.pooling);
  if (config.pre_logits > 0) {
    model.pre_logits = make_linear(Role::pre_logits, "pre_logits.fc", features, config.pre_logits);
    features = config.pre_logits;
  }
  const Role role = config.num_classes > 0 ? Role::head : Role::projection;
  model.head = make_linear(role, "head", features, output_size(config));
  return model;
}

Model make_random_model(const ModelConfig& config, std::uint64_t seed) {
  Model model = make_model(config);
  std::mt19937_64 generator(seed);
  for_each_parameter(model, [&](const Parameter& parameter) {
    std::uint64_t count = 1;
    for (const std::uint64_t size : parameter.shape) {
      count *= size;
    }
    parameter.values.assign(static_cast<std::size_t>(count), 0.0F);
    if (parameter.name.ends_with(".bias")) {
      return;
    }
    if (parameter.name.find("norm") != std::string::npos) {
      std::fill(parameter.values.begin(), parameter.values.end(), 1.0F);
      return;
    }
    const bool is_matrix = parameter.name.ends_with(".weight");
    const double fan_in = is_matrix ? static_cast<double>(parameter.values.size()) /
                                          static_cast<double>(parameter.shape[0])
                                    : 2500.0;
    std::normal_distribution<float> normal(0.0F, static_cast<float>(1 / std::sqrt(fan_in)));
    for (float& value : parameter.values) {
      value = normal(generator);
    }
  });
  return model;
}

void for_each_norm(Model& model, const std::function<void(LayerNorm&)>& visit) {
  if (model.embed_norm) {
    visit(*model.embed_norm);
  }
  for (Stage& stage : model.stages) {
    for (Block& block : stage.blocks) {
      visit(block.norm1);
      visit(block.norm2);
    }
    for (PatchMerging& merging : stage.downsample) {
      visit(merging.norm);
    }
  }
  visit(model.norm);
  if (model.attention_pooling) {
    visit(model.attention_pooling->norm);
  }
}

namespace {

/// For models that may be changed, and for those that may not.
template <class AnyModel, class Visit>
void visit_linears(AnyModel& model, const Visit& visit) {
  visit(model.patch_embed);
  for (auto& stage : model.stages) {
    for (auto& block : stage.blocks) {
      visit(block.attn.qkv);
      visit(block.attn.proj);
      visit(block.fc1);
      visit(block.fc2);
    }
    for (auto& merging : stage.downsample) {
      visit(merging.reduction);
    }
  }
  if (model.attention_pooling) {
    visit(model.attention_pooling->attn.qkv);
    visit(model.attention_pooling->attn.proj);
    visit(model.attention_pooling->fc1);
    visit(model.attention_pooling->fc2);
  }
  if (model.pre_logits) {
    visit(*model.pre_logits);
  }
  visit(model.head);
}

}  // namespace

void for_each_linear(Model& model, const std::function<void(Linear&)>& visit) {
  visit_linears(model, visit);
}

void for_each_linear(const Model& model, const std::function<void(const Linear&)>& visit) {
  visit_linears(model, visit);
}

void for_each_norm_pair(Model& model, const std::function<void(LayerNorm&, Linear&)>& visit) {
  for (Stage& stage : model.stages) {
    for (Block& block : stage.blocks) {
      visit(block.norm1, block.attn.qkv);
      visit(block.norm2, block.fc1);
    }
    for (PatchMerging& merging : stage.downsample) {
      visit(merging.norm, merging.reduction);
    }
  }
  if (model.attention_pooling) {
    visit(model.norm, model.attention_pooling->attn.qkv);
    visit(model.attention_pooling->norm, model.attention_pooling->fc1);
  }
}

void for_each_parameter(Model& model, const std::function<void(const Parameter&)>& visit) {
  const ModelConfig& config = model.config;
  const auto norm = [&](LayerNorm& layer) {
    visit({layer.name + ".weight", {layer.channels}, layer.gamma});
    visit({layer.name + ".bias", {layer.channels}, layer.beta});
  };
  const auto linear = [&](Linear& layer) {
    const bool is_convolution = &layer == &model.patch_embed;
    visit({layer.name + ".weight",
           is_convolution ? std::vector<std::uint64_t>{layer.out_features, 3, config.patch_size,
                                                       config.patch_size}
                          : std::vector<std::uint64_t>{layer.out_features, layer.in_features},
           layer.weight});
    if (layer.has_bias) {
      visit({layer.name + ".bias", {layer.out_features}, layer.bias});
    }
  };
  if (config.family == Family::vit) {
    const std::size_t grid = model.stages[0].grid;
    if (config.prefix_tokens > 0) {
      visit({config.prefix_tokens == 1 ? "cls_token" : "prefix_tokens",
             {1, config.prefix_tokens, config.embed_dim},
             model.prefix_tokens});
    }
    visit(
        {"pos_embed", {1, grid * grid + config.prefix_tokens, config.embed_dim}, model.pos_embed});
  }
  if (model.embed_norm) {
    norm(*model.embed_norm);
  }
  for (Stage& stage : model.stages) {
    for (Block& block : stage.blocks) {
      Attention& attn = block.attn;
      if (attn.bias_rows > 0) {
        visit({attn.name + ".relative_position_bias_table",
               {attn.bias_rows, attn.num_heads},
               attn.bias_table});
      }
    }
  }
  for_each_norm_pair(model, [&](LayerNorm& layer, Linear&) {
    if (&layer != &model.norm) {
      norm(layer);
    }
  });
  norm(model.norm);
  for_each_linear(model, linear);
}

}  // namespace bitlog2
