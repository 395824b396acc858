#include "model/names/checkpoint_names.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <span>

#include "model/names/naming_rules.h"

namespace bitlog2 {
namespace {

/// What wrappers put before a model's names: data parallelism, torch.compile, Lightning modules,
/// averaged weights, and transformers' own models around a backbone.
constexpr auto kWrappers = std::to_array<std::string_view>(
    {"module.",       "model.",     "_orig_mod.", "backbone.",     "vit.",
     "deit.",         "swin.",      "beit.",      "dinov2.",       "dinov2_with_registers.",
     "vision_model.", "clip.",      "siglip.",    "vision_tower.", "trunk.",
     "net.",          "network.",   "encoder.",   "state_dict.",   "model_state_dict.",
     "model_ema.",    "ema_model.", "ema.",       "online_model.", "student.",
     "teacher."});

/// The length of the wrapper that `name` begins with, or 0.
std::size_t wrapper_length(std::string_view name) {
  const auto* found = std::ranges::find_if(
      kWrappers, [&](std::string_view wrapper) { return name.starts_with(wrapper); });
  return found == kWrappers.end() ? 0 : found->size();
}

std::size_t all_wrappers_length(std::string_view name) {
  std::size_t length = 0;
  while (const std::size_t more = wrapper_length(name.substr(length))) {
    length += more;
  }
  return length;
}

/// What a pattern's letters stand for.
struct Match {
  std::vector<std::size_t> numbers;
  std::string_view rest;  ///< behind the pattern, or what its * is
};

/// Takes the digits that `text` begins with off it; nothing without any, or for too many.
std::optional<std::size_t> take_number(std::string_view& text) {
  constexpr std::size_t kMostDigits = 6;
  std::size_t value = 0;
  std::size_t digits = 0;
  while (digits < text.size() && text[digits] >= '0' && text[digits] <= '9') {
    if (++digits > kMostDigits) {
      return std::nullopt;
    }
    value = 10 * value + static_cast<std::size_t>(text[digits - 1] - '0');
  }
  text.remove_prefix(digits);
  return digits == 0 ? std::nullopt : std::optional(value);
}

std::optional<Match> match(std::string_view pattern, std::string_view text) {
  Match result;
  for (const char letter : pattern) {
    if (letter == '*') {
      break;
    }
    if (letter != '#' && letter != '%' && letter != '~') {
      if (!text.starts_with(letter)) {
        return std::nullopt;
      }
      text.remove_prefix(1);
      continue;
    }
    const std::optional<std::size_t> number = take_number(text);
    if (!number || (letter == '%' && *number == 0)) {
      return std::nullopt;
    }
    if (letter != '~') {
      result.numbers.push_back(letter == '%' ? (*number - 1) / 2 : *number);
    }
  }
  result.rest = text;
  return result;
}

std::string fill(std::string_view pattern, const Match& match) {
  std::string text;
  std::size_t number = 0;
  for (const char letter : pattern) {
    if (letter == '#') {
      text += std::to_string(match.numbers[number++]);
    } else if (letter == '*') {
      text += match.rest;
    } else {
      text += letter;
    }
  }
  return text;
}

/// The name here; an empty one for what is not needed; nothing if no rule knows the name.
std::optional<std::string> find_rule(std::span<const Rule> rules, std::string_view name) {
  for (const Rule& rule : rules) {
    const std::optional<Match> found = match(rule.from, name);
    if (found && found->rest.empty() != rule.from.ends_with('*')) {
      return fill(rule.to, *found);
    }
  }
  return std::nullopt;
}

std::optional<std::string> name_here(const Naming& naming, std::string_view name) {
  if (auto found = find_rule(naming.others, name)) {
    return found;
  }
  for (const Rule& block : naming.blocks) {
    if (const std::optional<Match> begin = match(block.from, name)) {
      if (const auto part = find_rule(naming.parts, begin->rest)) {
        return part->empty() ? *part : fill(block.to, *begin) + *part;
      }
    }
  }
  return std::nullopt;
}

struct Renamed {
  std::string prefix;  ///< what was left out
  std::string name;    ///< here; empty: not needed
};

/// Leaves out as little as makes a rule fit.
std::optional<Renamed> rename(const Naming& naming, const std::string& name) {
  std::size_t length = 0;
  while (true) {
    const std::string_view rest = std::string_view(name).substr(length);
    if (auto found = name_here(naming, rest)) {
      return Renamed{name.substr(0, length), std::move(*found)};
    }
    const std::size_t more = wrapper_length(rest);
    if (more == 0) {
      return std::nullopt;
    }
    length += more;
  }
}

const Naming& best_naming(const TensorFile& file) {
  const auto known_names = [&](const Naming& naming) {
    return std::ranges::count_if(file.tensors(), [&](const auto& entry) {
      const auto renamed = rename(naming, entry.first);
      return renamed && !renamed->name.empty();
    });
  };
  return *std::ranges::max_element(kNamings, {}, known_names);
}

/// Indices that a model works out itself.
bool is_computed_buffer(std::string_view name) {
  return name.ends_with("relative_position_index") || name.ends_with("attn_mask") ||
         name.ends_with("position_ids");
}

}  // namespace

std::string library_name(Library library) {
  return library == Library::timm           ? "timm"
         : library == Library::transformers ? "transformers"
                                            : "torchvision";
}

std::string last_part(const std::string& name) {
  return name.substr(name.rfind('.') + 1);  // npos + 1 is 0
}

bool is_counter(const std::string& name, const TensorView& tensor) {
  constexpr auto kCounters = std::to_array<std::string_view>(
      {"total_ops", "total_params", "n_averaged", "num_batches_tracked", "initted", "step", "steps",
       "global_step", "num_updates", "epoch", "decay"});
  if (tensor.element_count != 1) {
    return false;
  }
  const bool is_integer = tensor.dtype_name.starts_with('I') || tensor.dtype_name == "BOOL" ||
                          (tensor.dtype_name.starts_with('U') && tensor.dtype_name.size() <= 3);
  return is_integer || std::ranges::find(kCounters, last_part(name)) != kCounters.end();
}

CheckpointNames::CheckpointNames(const TensorFile& file) : file_(file) {
  const Naming& naming = best_naming(file);
  library_ = naming.library;
  std::map<std::string, std::string> prefix_of;
  for (const auto& [name, tensor] : file.tensors()) {
    const std::optional<Renamed> renamed = rename(naming, name);
    const std::string prefix =
        renamed ? renamed->prefix : name.substr(0, all_wrappers_length(name));
    if (!prefix.empty() && std::ranges::find(naming.prefixes, prefix) == naming.prefixes.end()) {
      prefixes_.insert(prefix);
    }
    if (!renamed) {
      strangers_.push_back(name);
    } else if (renamed->name.empty()) {
      if (!is_computed_buffer(name)) {
        const std::string rest = name.substr(prefix.size());
        unused_parts_.insert(rest.substr(0, rest.find('.')));
      }
    } else {
      const auto [entry, is_new] = in_file_.emplace(renamed->name, name);
      const auto [other, ignored] = prefix_of.emplace(renamed->name, prefix);
      if (!is_new && !twice_) {
        twice_ = std::pair(other->second, prefix);
      }
    }
  }
  move_downsample();
}

/// Swin's downsample stood at the end of a stage; in timm, since 0.9, it stands at the start of the
/// next, so that the first stage has none.
void CheckpointNames::move_downsample() {
  if (contains_prefix("layers.0.downsample.") || !contains_prefix("layers.1.downsample.")) {
    return;
  }
  downsample_moved_ = true;
  std::map<std::string, std::string> moved;
  for (auto& [name, in_file] : in_file_) {
    const std::optional<Match> found = match("layers.#.downsample.*", name);
    moved.emplace(found && found->numbers[0] > 0
                      ? fmt::format("layers.{}.downsample.{}", found->numbers[0] - 1, found->rest)
                      : name,
                  in_file);
  }
  in_file_ = std::move(moved);
}

bool CheckpointNames::contains_prefix(const std::string& prefix) const {
  const auto entry = in_file_.lower_bound(prefix);
  return entry != in_file_.end() && entry->first.starts_with(prefix);
}

bool CheckpointNames::contains_part(std::string_view part) const {
  return std::ranges::any_of(file_.tensors(), [&](const auto& entry) {
    return entry.first.find(part) != std::string::npos;
  });
}

std::string CheckpointNames::in_file(const std::string& name) const {
  if (const auto entry = in_file_.find(name); entry != in_file_.end()) {
    return entry->second;
  }
  const auto found = downsample_moved_ ? match("layers.#.downsample.*", name) : std::nullopt;
  return found ? fmt::format("layers.{}.downsample.{}", found->numbers[0] + 1, found->rest) : name;
}

const TensorView* CheckpointNames::find(const std::string& name) const {
  const auto entry = in_file_.find(name);
  return entry == in_file_.end() ? nullptr : file_.find(entry->second);
}

}  // namespace bitlog2
