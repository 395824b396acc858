#include "model/names/library_config.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <iterator>
#include <nlohmann/json.hpp>

#include "bitlog2/error.h"
#include "model/json_object.h"
#include "model/names/class_name_list.h"
#include "model/names/config_members.h"
#include "model/preprocessing.h"

namespace bitlog2 {
namespace {

using nlohmann::json;

constexpr Channels kHalf = {0.5F, 0.5F, 0.5F};
constexpr Channels kClipMean = {0.48145466F, 0.4578275F, 0.40821073F};
constexpr Channels kClipStd = {0.26862954F, 0.26130258F, 0.27577711F};
constexpr double kDinov3Theta = 100;
constexpr double kEva02Theta = 10000;
constexpr std::size_t kEva02Grid = 16;

bool contains(std::string_view text, std::string_view part) {
  return text.find(part) != std::string_view::npos;
}

/// A note on keys that `file` does not have, for which the defaults of `whose` are taken.
void note_absent(const Members& members, const std::vector<const char*>& keys,
                 std::string_view file, std::string_view whose, std::vector<std::string>& notes) {
  std::vector<std::string_view> absent;
  std::ranges::copy_if(keys, std::back_inserter(absent),
                       [&](const char* key) { return !members.has(key); });
  if (!absent.empty()) {
    notes.push_back(
        fmt::format("its {} has no {}; {}'s defaults are taken (--config FILE.json says otherwise)",
                    file, fmt::join(absent, ", "), whose));
  }
}

// ---- timm -----------------------------------------------------------------------------

Preprocessing timm_preprocessing(const Members& pretrained, LibraryConfig& config) {
  config.crop_pct = pretrained.number("crop_pct", 0.1, 1).value_or(0.875);
  config.resize_by_crop_pct = true;
  Preprocessing result = preprocessing_for(config.img_size.value_or(224), config.crop_pct);
  const Preprocessing usual;
  result.mean = pretrained.channels("mean", usual.mean);
  result.std = pretrained.channels("std", usual.std);
  note_absent(pretrained, {"mean", "std", "crop_pct", "interpolation"},
              "config.json's pretrained_cfg", "timm", config.notes);
  const std::string filter = pretrained.text("interpolation");
  if (filter == "random") {
    config.notes.emplace_back("its interpolation is random; bicubic is taken");
  } else if (!filter.empty()) {
    result.filter = find_filter(filter);
  }
  const std::string mode = pretrained.text("crop_mode");
  if (mode == "squash") {
    result.resize_mode = ResizeMode::squash;
  } else if (mode != "center") {
    config.unknown_crop_mode = mode;
  }
  return result;
}

LibraryConfig parse_timm(const Members& members) {
  LibraryConfig config;
  const std::string architecture = members.text("architecture");
  const Members arguments = members.object("model_args");
  const Members pretrained = members.object("pretrained_cfg");
  const std::string tag = pretrained.text("tag");
  config.name = tag.empty() ? architecture : architecture + "." + tag;
  config.position_resize = PositionResize::antialias;
  config.img_size = pretrained.side("input_size");
  if (const auto size = arguments.side("img_size"); size && !config.img_size) {
    config.img_size = size;
  }
  if (arguments.has("num_heads") && !arguments.at("num_heads").is_array()) {
    config.num_heads = arguments.size("num_heads", 1 << 10);
  }
  const bool is_clip = contains(architecture, "_clip_");
  const bool is_dinov3 = contains(architecture, "dinov3");
  config.layer_norm_eps = is_clip || is_dinov3 || architecture.starts_with("swin") ? 1e-5F : 1e-6F;
  if (is_dinov3) {
    config.rope_theta = kDinov3Theta;
  }
  if (contains(architecture, "eva02") && !is_clip) {
    config.rope_theta = kEva02Theta;
    config.rope_grid = arguments.side("ref_feat_shape").value_or(kEva02Grid);
  }
  const std::string function = arguments.text("act_layer");
  // timm says so in the architecture's code alone.
  const bool has_tanh = contains(architecture, "so400m_patch16_siglip") ||
                        contains(architecture, "giantopt") ||
                        contains(architecture, "base_patch32_siglip") ||
                        contains(architecture, "large_patch16_siglip_512") ||
                        contains(architecture, "large_patch16_siglip_gap_512");
  config.activation = function == "quick_gelu" || contains(architecture, "quickgelu")
                          ? Activation::quick_gelu
                      : function == "gelu_tanh" || has_tanh ? Activation::gelu_tanh
                                                            : Activation::gelu;
  std::string pool = members.text("global_pool");
  if (!arguments.text("global_pool").empty()) {
    pool = arguments.text("global_pool");
  }
  if (!pool.empty()) {
    config.mean_pooling = pool == "avg";
  }
  config.preprocessing = timm_preprocessing(pretrained, config);
  if (members.has("label_names")) {
    config.class_names = class_name_list(members.at("label_names"));
  }
  // OpenAI's and LAION's image towers have the projection in the head's place.
  config.output_is_embedding = is_clip && !contains(tag, "ft") && config.class_names.empty();
  return config;
}

// ---- transformers ----------------------------------------------------------------------

/// What a kind of model has where its config does not say.
struct Kind {
  std::string_view model_type;
  float eps;
  Activation activation;
};

constexpr auto kKinds =
    std::to_array<Kind>({{"vit", 1e-12F, Activation::gelu},
                         {"deit", 1e-12F, Activation::gelu},
                         {"beit", 1e-12F, Activation::gelu},
                         {"dinov2", 1e-6F, Activation::gelu},
                         {"dinov2_with_registers", 1e-6F, Activation::gelu},
                         {"dinov3_vit", 1e-5F, Activation::gelu},
                         {"swin", 1e-5F, Activation::gelu},
                         {"clip", 1e-5F, Activation::quick_gelu},
                         {"clip_vision_model", 1e-5F, Activation::quick_gelu},
                         {"siglip", 1e-6F, Activation::gelu_tanh},
                         {"siglip_vision_model", 1e-6F, Activation::gelu_tanh}});

Activation find_activation(const Members& members, Activation usual) {
  const std::string name = members.text("hidden_act");
  if (name.empty()) {
    return usual;
  }
  if (name == "gelu") {
    return Activation::gelu;
  }
  if (name == "quick_gelu") {
    return Activation::quick_gelu;
  }
  if (name == "gelu_pytorch_tanh" || name == "gelu_new") {
    return Activation::gelu_tanh;
  }
  members.fail(fmt::format("hidden_act '{}' is not supported", name));
}

/// What an image processor does where its file does not say.
struct Processor {
  std::string_view name;  ///< a part of its name
  std::size_t size;
  std::size_t crop;  ///< 0: none
  ResizeMode mode;   ///< of a size that is one number
  int resample;
  Channels mean;
  Channels std;
};

constexpr Channels kImagenetMean = {0.485F, 0.456F, 0.406F};
constexpr Channels kImagenetStd = {0.229F, 0.224F, 0.225F};

constexpr auto kProcessors = std::to_array<Processor>(
    {{"DeiT", 256, 224, ResizeMode::squash, 3, kImagenetMean, kImagenetStd},
     {"BEiT", 256, 224, ResizeMode::squash, 3, kHalf, kHalf},
     {"Beit", 256, 224, ResizeMode::squash, 3, kHalf, kHalf},
     {"CLIP", 224, 224, ResizeMode::shorter, 3, kClipMean, kClipStd},
     {"Bit", 224, 224, ResizeMode::shorter, 3, kClipMean, kClipStd},
     {"Siglip", 224, 0, ResizeMode::squash, 3, kHalf, kHalf},
     {"DINOv3", 224, 0, ResizeMode::squash, 2, kImagenetMean, kImagenetStd},
     {"ViT", 224, 0, ResizeMode::squash, 2, kHalf, kHalf}});

const Processor& find_processor(const Members& members, const std::string& model_type) {
  std::string name = members.text("image_processor_type");
  if (name.empty()) {
    name = members.text("feature_extractor_type");
  }
  if (name.empty()) {
    name = contains(model_type, "clip")     ? "CLIP"
           : contains(model_type, "siglip") ? "Siglip"
           : contains(model_type, "dinov2") ? "Bit"
           : contains(model_type, "dinov3") ? "DINOv3"
           : model_type == "deit"           ? "DeiT"
           : model_type == "beit"           ? "Beit"
                                            : "ViT";
  }
  const auto* found = std::ranges::find_if(
      kProcessors, [&](const Processor& processor) { return contains(name, processor.name); });
  if (found == kProcessors.end()) {
    members.fail(fmt::format("the image processor '{}' is not known", name));
  }
  return *found;
}

/// (p / 255 - mean) / std for pixels that are multiplied by `factor`, not by 1 / 255.
void fold_rescale(double factor, Preprocessing& preprocessing) {
  for (std::size_t i = 0; i < preprocessing.mean.size(); ++i) {
    preprocessing.mean[i] = static_cast<float>(preprocessing.mean[i] / (255 * factor));
    preprocessing.std[i] = static_cast<float>(preprocessing.std[i] / (255 * factor));
  }
}

Preprocessing transformers_preprocessing(const Members& members, const std::string& model_type) {
  const Processor& processor = find_processor(members, model_type);
  Preprocessing result;
  result.crop_rounding = CropRounding::transformers;
  const std::size_t resize = members.side("size").value_or(processor.size);
  result.resize = static_cast<int>(resize);
  result.resize_mode = processor.mode;
  if (members.has("size") && members.at("size").is_object()) {
    result.resize_mode =
        members.at("size").contains("shortest_edge") ? ResizeMode::shorter : ResizeMode::squash;
  }
  const bool crops = processor.crop > 0 && members.flag("do_center_crop", true);
  result.crop =
      crops ? static_cast<int>(members.side("crop_size").value_or(processor.crop)) : result.resize;
  if (!members.flag("do_resize", true)) {
    members.fail("do_resize is false: images would have to have the model's size already");
  }
  if (!crops && result.resize_mode == ResizeMode::shorter) {
    members.fail("the shorter side is resized and nothing is cropped: images would not be squares");
  }
  const auto resample = members.size("resample", 5);
  result.filter = filter_from_pillow(resample ? static_cast<int>(*resample) : processor.resample);
  if (members.flag("do_normalize", true)) {
    result.mean = members.channels("image_mean", processor.mean);
    result.std = members.channels("image_std", processor.std);
  } else {
    result.mean = {0, 0, 0};
    result.std = {1, 1, 1};
  }
  if (std::ranges::any_of(result.std, [](float value) { return !(value > 0); })) {
    members.fail("'image_std' must be greater than 0");
  }
  const double factor = members.flag("do_rescale", true)
                            ? members.number("rescale_factor", 1e-6, 1).value_or(1.0 / 255)
                            : 1.0;
  if (std::fabs(factor * 255 - 1) > 1e-6) {
    fold_rescale(factor, result);
  }
  return result;
}

bool has_sizes(const Members& processor) {
  return processor.has("size") || processor.has("crop_size");
}

/// Notes on what a preprocessor_config.json does not say. Its sizes are the model's, if that has
/// one.
void note_assumptions(const Members& processor, const std::string& model_type,
                      LibraryConfig& config) {
  std::vector<const char*> keys = {"resample"};
  if (!has_sizes(processor) && config.img_size) {
    config.notes.push_back(
        fmt::format("its preprocessor_config.json has no size; the model's {} pixels are taken",
                    *config.img_size));
  } else {
    keys.push_back("size");
  }
  if (processor.flag("do_normalize", true)) {
    keys.insert(keys.end(), {"image_mean", "image_std"});
  }
  note_absent(processor, keys, "preprocessor_config.json",
              find_processor(processor, model_type).name, config.notes);
}

LibraryConfig parse_transformers(const Members& members, std::string_view preprocessor,
                                 const std::string& where) {
  LibraryConfig config;
  config.library = Library::transformers;
  const std::string model_type = members.text("model_type");
  const auto* kind = std::ranges::find(kKinds, model_type, &Kind::model_type);
  if (kind == kKinds.end()) {
    members.fail(
        fmt::format("models of the type '{}' are not supported (docs/models.md)", model_type));
  }
  const Members vision = members.has("vision_config") ? members.object("vision_config") : members;
  config.name = model_type;
  if (members.has("architectures") && members.at("architectures").is_array() &&
      !members.at("architectures").empty() && members.at("architectures")[0].is_string()) {
    config.name = members.at("architectures")[0].get<std::string>();
  }
  if (config.name == "CLIPForImageClassification") {
    members.fail(
        "CLIPForImageClassification is not supported: its classifier reads tokens without the last "
        "norm (docs/models.md)");
  }
  config.num_heads = vision.size("num_attention_heads", 1 << 10);
  config.layer_norm_eps =
      static_cast<float>(vision.number("layer_norm_eps", 1e-12, 1).value_or(kind->eps));
  config.activation = find_activation(vision, kind->activation);
  config.img_size = vision.side("image_size");
  const bool has_registers = model_type == "dinov2_with_registers";
  config.position_resize = has_registers ? PositionResize::antialias : PositionResize::plain;
  config.output_is_embedding = (contains(model_type, "clip") || contains(model_type, "siglip")) &&
                               !config.name.ends_with("ForImageClassification");
  config.class_and_mean = model_type.starts_with("dinov2");
  if (model_type == "dinov3_vit") {
    config.rope_theta = members.number("rope_theta", 1, 1e6).value_or(kDinov3Theta);
  }
  if (model_type == "beit") {
    config.mean_pooling = members.flag("use_mean_pooling", true);
  }
  if (members.has("id2label")) {
    config.class_names = class_name_list(members.at("id2label"));
  }
  if (preprocessor.empty()) {
    config.notes.push_back(
        fmt::format("there is no preprocessor_config.json; images are prepared as {}'s usually are",
                    model_type));
  }
  const json object = preprocessor.empty()
                          ? json::object()
                          : parse_object(preprocessor, where + "/preprocessor_config.json");
  const Members processor(object, where + "/preprocessor_config.json");
  config.preprocessing = transformers_preprocessing(processor, model_type);
  if (!preprocessor.empty()) {
    note_assumptions(processor, model_type, config);
  }
  if (!has_sizes(processor) && config.img_size) {
    config.preprocessing = preprocessing_at(config, *config.img_size);
  }
  config.img_size = static_cast<std::size_t>(config.preprocessing->crop);
  return config;
}

}  // namespace

LibraryConfig parse_library_config(std::string_view config, std::string_view preprocessor,
                                   const std::string& where) {
  const json object = parse_object(config, where + "/config.json");
  const Members members(object, where + "/config.json");
  if (members.has("architecture") || members.has("pretrained_cfg")) {
    return parse_timm(members);
  }
  if (members.has("model_type")) {
    return parse_transformers(members, preprocessor, where);
  }
  members.fail("neither timm's nor transformers': it has no 'architecture' and no 'model_type'");
}

Preprocessing preprocessing_at(const LibraryConfig& config, std::size_t img_size) {
  Preprocessing result = *config.preprocessing;
  if (static_cast<std::size_t>(result.crop) == img_size) {
    return result;
  }
  const std::size_t resize =
      config.resize_by_crop_pct
          ? static_cast<std::size_t>(preprocessing_for(img_size, config.crop_pct).resize)
          : static_cast<std::size_t>(result.resize) * img_size /
                static_cast<std::size_t>(result.crop);
  result.resize = static_cast<int>(resize);
  result.crop = static_cast<int>(img_size);
  return result;
}

}  // namespace bitlog2
