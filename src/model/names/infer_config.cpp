#include "model/names/infer_config.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <string_view>

#include "bitlog2/error.h"
#include "model/names/assembly.h"
#include "model/names/position_resize.h"
#include "model/preprocessing.h"

namespace bitlog2 {
namespace {

constexpr std::size_t kMostSize = 1 << 20;

/// Parts of the names of timm's architectures with rotary positions; those that are supported have
/// a rope_theta. Not all can be told from others by their tensors.
constexpr std::array<std::string_view, 3> kRotary = {"eva02", "_rope", "vit_pe_"};

class Inference {
 public:
  Inference(const TensorFile& file, const std::optional<LibraryConfig>& said)
      : file_(file), names_(file), said_(said) {}

  InferredConfig infer(std::size_t img_size, std::size_t num_heads) {
    config_ = config_of(names_.contains_prefix("layers.0.blocks.0.") ? Family::swin : Family::vit);
    const auto kernel = shape("patch_embed.proj.weight", 4);
    config_.embed_dim = kernel[0];
    config_.patch_size = kernel[2];
    config_.name = said_ ? said_->name : "custom";
    if (config_.family == Family::vit) {
      infer_vit(num_heads);
    } else {
      infer_swin();
    }
    infer_output();
    infer_numbers();
    infer_size(img_size);
    const bool is_original_dinov2 = !said_ && names_.library() == Library::timm &&
                                    names_.contains_part("mask_token") &&
                                    !names_.contains("reg_token");
    const PositionResize usual = names_.library() == Library::torchvision
                                     ? PositionResize::align_corners
                                 : names_.library() == Library::transformers ? PositionResize::plain
                                 : is_original_dinov2 ? PositionResize::offset
                                                      : PositionResize::antialias;
    return {config_, said_ ? said_->position_resize.value_or(usual) : usual, notes_};
  }

 private:
  /// The shape of a tensor that must be there, of `dimensions`; none of them large or zero.
  std::vector<std::size_t> shape(const std::string& name, std::size_t dimensions) const {
    const TensorView* tensor = names_.find(name);
    if (tensor == nullptr) {
      fail(fmt::format("no vision transformer that is known: it has no '{}' (docs/models.md)",
                       name));
    }
    const auto is_odd = [](std::uint64_t size) { return size == 0 || size > kMostSize; };
    if (tensor->shape.size() != dimensions || std::ranges::any_of(tensor->shape, is_odd)) {
      fail(fmt::format("'{}' has {} dimensions or odd sizes; {} are needed", names_.in_file(name),
                       tensor->shape.size(), dimensions));
    }
    return {tensor->shape.begin(), tensor->shape.end()};
  }

  std::size_t first_size(const std::string& name, std::size_t dimensions) const {
    return names_.contains(name) ? shape(name, dimensions)[0] : 0;
  }

  /// Rows of `channels` values each; 0 where there is no such tensor.
  std::size_t rows(const std::string& name) const {
    const TensorView* tensor = names_.find(name);
    return tensor == nullptr ? 0
                             : static_cast<std::size_t>(std::min<std::uint64_t>(
                                   tensor->element_count / config_.embed_dim, kMostSize));
  }

  std::size_t count_prefixes(const std::string& begin, const std::string& end) const {
    std::size_t count = 0;
    while (names_.contains_prefix(fmt::format("{}{}{}", begin, count, end))) {
      ++count;
    }
    return count;
  }

  [[noreturn]] void fail(const std::string& what) const {
    throw Error(fmt::format("{}: {}", file_.name(), what));
  }

  void infer_vit(std::size_t num_heads) {
    config_.depths = {count_prefixes("blocks.", ".")};
    if (config_.depths[0] == 0) {
      fail("no vision transformer that is known: it has no blocks (docs/models.md)");
    }
    const std::size_t hidden = shape("blocks.0.mlp.fc1.weight", 2)[0];
    const std::size_t width = shape("blocks.0.mlp.fc2.weight", 2)[1];
    is_gated_ = hidden == 2 * width;
    config_.mlp_ratio =
        static_cast<double>(is_gated_ ? width : hidden) / static_cast<double>(config_.embed_dim);
    registers_ = rows("reg_token");
    config_.prefix_tokens = rows("cls_token") + rows("dist_token") + registers_;
    config_.embed_norm = names_.contains("norm_pre.weight");
    const std::string table = "relative_position_bias_table";
    const std::string own_table = "blocks.0.attn." + table;
    bias_ = names_.contains(own_table) ? own_table : names_.contains(table) ? table : "";
    config_.relative_position_bias = !bias_.empty();
    infer_rotary_positions();
    config_.num_heads = {heads_of_vit(num_heads)};
    infer_pooling();
  }

  void infer_rotary_positions() {
    if (said_ && said_->rope_theta) {
      config_.rope_theta = *said_->rope_theta;
      config_.rope_grid = said_->rope_grid;
      return;
    }
    const bool is_said = std::ranges::any_of(kRotary, [&](std::string_view part) {
      return config_.name.find(part) != std::string::npos;
    });
    // A file of EVA-02's without a config.json: no other model has a gate and no bias of k beside
    // q's.
    const bool is_eva02 = is_gated_ && names_.contains("blocks.0.attn.q.bias") &&
                          !names_.contains("blocks.0.attn.k.bias");
    if (is_said || is_eva02) {
      fail(is_eva02 ? "it has EVA-02's rotary positions, but no config.json (docs/models.md)"
                    : "it has rotary positions that are not supported (docs/models.md)");
    }
    if (bias_.empty() && !names_.contains("pos_embed")) {
      fail(
          "it has no position embedding; of models with rotary positions, DINOv3 is supported, "
          "with "
          "its config.json (docs/models.md)");
    }
  }

  std::size_t heads_of_vit(std::size_t asked) {
    if (!bias_.empty()) {
      return shape(bias_, 2)[1];
    }
    if (asked > 0 || (said_ && said_->num_heads)) {
      return asked > 0 ? asked : *said_->num_heads;
    }
    // Of the models that libraries have, those whose heads are not 64 channels wide.
    const std::size_t channels = config_.embed_dim;
    const bool is_odd =
        channels == 1152 || channels == 1280 || channels == 1408 || channels == 1664;
    const std::size_t heads = is_odd ? 16 : channels / 64;
    if (!is_odd && channels % 64 != 0) {
      fail(
          fmt::format("it does not say how many heads it has; give --config FILE.json with "
                      "{{\"num_heads\": N}} ({} channels)",
                      channels));
    }
    if (!said_) {
      notes_.push_back(fmt::format("it does not say how many heads it has; {} are assumed", heads));
    }
    return heads;
  }

  void infer_pooling() {
    const bool is_mean = said_ && said_->mean_pooling.value_or(false);
    // SiglipForImageClassification has attention pooling and does not use it.
    const bool has_own_pooling =
        names_.library() == Library::transformers && names_.contains("head.weight");
    if (names_.contains("attn_pool.latent") && !has_own_pooling) {
      config_.pooling = Pooling::map;
    } else if (names_.contains("fc_norm.weight")) {
      config_.pooling = Pooling::mean_then_norm;
    } else if (names_.contains("head_dist.weight")) {
      config_.pooling = Pooling::class_tokens;
    } else if (is_mean || !names_.contains("cls_token")) {
      config_.pooling = Pooling::mean;
    } else if (names_.contains("head.weight") &&
               shape("head.weight", 2)[1] == 2 * config_.embed_dim) {
      config_.pooling = Pooling::class_and_mean;
    }
  }

  void infer_swin() {
    config_.depths.clear();
    config_.num_heads.clear();
    const std::size_t stages = count_prefixes("layers.", ".blocks.0.");
    for (std::size_t stage = 0; stage < stages; ++stage) {
      const std::string name = fmt::format("layers.{}.blocks.", stage);
      config_.depths.push_back(count_prefixes(name, "."));
      const auto table = shape(name + "0.attn.relative_position_bias_table", 2);
      config_.num_heads.push_back(table[1]);
      if (stage == 0) {
        const auto side =
            static_cast<std::size_t>(std::lround(std::sqrt(static_cast<double>(table[0]))));
        config_.window_size = (side + 1) / 2;
      }
    }
    config_.mlp_ratio = static_cast<double>(shape("layers.0.blocks.0.mlp.fc1.weight", 2)[0]) /
                        static_cast<double>(config_.embed_dim);
    config_.layer_norm_eps = 1e-5F;
  }

  void infer_output() {
    config_.pre_logits = first_size("pre_logits.fc.weight", 2);
    config_.num_classes = first_size("head.weight", 2);
    config_.projection = first_size("projection.weight", 2);
    if (said_ && said_->output_is_embedding && config_.num_classes > 0) {
      notes_.push_back(fmt::format(
          "its head is taken for a projection to an embedding of {} values", config_.num_classes));
      config_.projection = config_.num_classes;
      config_.num_classes = 0;
    }
  }

  void infer_numbers() {
    const bool is_swin = config_.family == Family::swin;
    const bool has_small_eps = names_.library() == Library::transformers && !is_swin;
    config_.layer_norm_eps = is_swin || config_.embed_norm     ? 1e-5F
                             : config_.pooling == Pooling::map ? 1e-6F
                             : has_small_eps                   ? 1e-12F
                                                               : 1e-6F;
    if (names_.library() == Library::transformers) {
      config_.activation = config_.embed_norm                ? Activation::quick_gelu
                           : config_.pooling == Pooling::map ? Activation::gelu_tanh
                                                             : Activation::gelu;
    }
    if (said_) {
      config_.layer_norm_eps = said_->layer_norm_eps.value_or(config_.layer_norm_eps);
      config_.activation = said_->activation.value_or(config_.activation);
    } else if (names_.library() == Library::transformers) {
      notes_.emplace_back("there is no config.json; its library's usual numbers are assumed");
    }
    // transformers' configurations name the function of MLPs without a gate.
    config_.activation = is_gated_ ? Activation::swiglu : config_.activation;
  }

  /// The side of the image for which positions were learned; 0 if there are none.
  std::size_t learned_size() const {
    std::size_t side = 0;
    if (!bias_.empty()) {
      side = side_of_relative_positions(shape(bias_, 2)[0]);
    } else if (names_.contains("pos_embed")) {
      side = grid_of_positions(rows("pos_embed"), config_.prefix_tokens, registers_).side;
    }
    return side * config_.patch_size;
  }

  void infer_size(std::size_t asked) {
    const std::size_t learned = learned_size();
    config_.img_size = asked > 0                       ? asked
                       : said_ && said_->img_size      ? *said_->img_size
                       : learned > 0                   ? learned
                       : config_.window_size % 12 == 0 ? 384
                                                       : 224;
    if (config_.img_size % config_.patch_size != 0) {
      fail(
          fmt::format("images of {} pixels are no multiple of its patches, {} pixels; give "
                      "--image-size N",
                      config_.img_size, config_.patch_size));
    }
    if (learned > 0 && learned != config_.img_size) {
      notes_.push_back(fmt::format("its positions are interpolated from {} to {} pixels", learned,
                                   config_.img_size));
    }
    if (said_ && said_->preprocessing) {
      config_.preprocessing = preprocessing_at(*said_, config_.img_size);
    } else {
      assume_preprocessing();
    }
  }

  void assume_preprocessing() {
    const bool is_torchvision = names_.library() == Library::torchvision;
    const bool is_swin = config_.family == Family::swin;
    const double crop_pct = is_torchvision && is_swin ? 224.0 / 232 : 0.875;
    config_.preprocessing = preprocessing_for(config_.img_size, crop_pct);
    if (is_torchvision && !is_swin) {
      config_.preprocessing.filter = Filter::bilinear;
    }
    notes_.push_back(fmt::format(
        "it does not say how images are prepared; ImageNet's mean and std, {} and crop_pct {:.4g} "
        "are assumed (--config FILE.json says otherwise)",
        kFilterNames[static_cast<std::size_t>(config_.preprocessing.filter)], crop_pct));
  }

  const TensorFile& file_;
  CheckpointNames names_;
  const std::optional<LibraryConfig>& said_;
  ModelConfig config_;
  std::vector<std::string> notes_;
  std::size_t registers_ = 0;
  bool is_gated_ = false;  // fc1 of a ViT gives two channels for each one that fc2 reads
  std::string bias_;       // the name of the relative position bias of a ViT
};

}  // namespace

InferredConfig infer_config(const TensorFile& file, const std::optional<LibraryConfig>& said,
                            std::size_t img_size, std::size_t num_heads) {
  return Inference(file, said).infer(img_size, num_heads);
}

}  // namespace bitlog2
